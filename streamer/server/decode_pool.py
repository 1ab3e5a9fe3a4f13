"""Pictures are decoded in processes that can be killed: what one costs, in time or memory, no other pays.

Payload and pixels go by an anonymous file in memory: nothing is left of it once the last process that holds
it is gone, however it ended. It is read and written, not mapped: no worker can cut it off under the service.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict
from multiprocessing import Pipe
from typing import Any, BinaryIO

import msgpack
import numpy as np

from streamer import child, images
from streamer.errors import StreamerError, WireError
from streamer.server.decode_worker import buffer_of, write_all
from streamer.wire.checks import BitDepth
from streamer.wire.frame import FrameMessage, Limits, check_size

WORKERS = 2
"""One for streams that are new or send what runs into `limits.decode_s`, and one that such never get."""

_MODULE = "streamer.server.decode_worker"
_START_S = 120.0
_TRIES = 2
"""Starts of a worker: one that is still importing does not ignore signals yet."""
_DAY_S = 86_400.0
"""The system counts milliseconds in 32 bits: longer waits are errors."""
_KEPT_BYTES = 32 * 2**20
"""Of the shared file, between frames."""
_KEPT_HERE = ("payload", "meta")
"""Fields of a message that decoding does not need, or gets another way."""


class DecodeTimeoutError(WireError):
    """`decode_timeout`: the picture took longer than `limits.decode_s`."""


class _WorkerDiedError(StreamerError):
    """Of a picture, or because something killed it."""

    def __init__(self, *, killed: bool) -> None:
        super().__init__("decode worker: died")
        self.killed = killed


class DecodePool:
    """The workers; each `Decoder` is used by one thread.

    Args:
        limits: of payloads and pictures.
        decode_s: seconds after which a picture is given up, and its worker killed.
    """

    def __init__(self, limits: Limits, decode_s: float) -> None:
        self.decoders = [Decoder(limits, decode_s) for _ in range(WORKERS)]

    def start(self) -> None:
        """Start the workers, and wait until they can work.

        Raises:
            StreamerError: they cannot be started.
        """
        try:
            for decoder in self.decoders:
                decoder.spawn()
            for decoder in self.decoders:
                decoder.wait_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the workers, whatever they do."""
        for decoder in self.decoders:
            decoder.close()


class Decoder:
    """One worker process, replaced when it died or had to be killed."""

    def __init__(self, limits: Limits, decode_s: float) -> None:
        self._limits, self._decode_s = limits, min(decode_s, _DAY_S)
        self._options = msgpack.packb({"limits": asdict(limits), "decode_s": self._decode_s}).hex()
        self._worker: _Worker | None = None
        self._turn = threading.Lock()
        """Held while `_worker` is set: `close` may come from another thread."""
        self._closed = False

    @property
    def longest_s(self) -> float:
        """Seconds that `decode` may take with a worker that is up: two tries."""
        return 2 * self._decode_s

    @property
    def pid(self) -> int | None:
        """Of the worker; None while there is none."""
        worker = self._worker
        return None if worker is None else worker.process.pid

    def decode(self, message: FrameMessage, bit_depth: BitDepth = "auto") -> images.Decoded:
        """`streamer.images.read` in the worker; raw pixels need no decoding, and no worker.

        Raises:
            DecodeTimeoutError: it took too long.
            WireError: what `images.read` raises; `undecodable` where the worker died of it.
            StreamerError: no worker can be started.
        """
        if message.encoding == "raw":
            return images.read(message, self._limits, bit_depth)
        try:
            return self._decode(message, bit_depth)
        except _WorkerDiedError as died:
            if died.killed:  # the system is short of memory, or somebody is: no picture does that
                with contextlib.suppress(_WorkerDiedError):
                    return self._decode(message, bit_depth)
        raise WireError("undecodable", "payload: the process that decoded it died of it")

    def _decode(self, message: FrameMessage, bit_depth: BitDepth) -> images.Decoded:
        worker = self.wait_ready()
        try:
            worker.ask(message, bit_depth)
            if not worker.pipe.poll(self._decode_s):
                raise DecodeTimeoutError(
                    "decode_timeout",
                    f"payload: not decoded within {self._decode_s:g} s (limits.decode_s); send a smaller "
                    "picture, or set it higher",
                )
            answer: dict[str, Any] = msgpack.unpackb(worker.pipe.recv_bytes())
            if "code" in answer:
                raise WireError(answer["code"], answer["text"])
            warnings = tuple((code, text) for code, text in answer["warnings"])
            return images.Decoded(worker.pixels(answer["shape"], self._limits), warnings)
        except DecodeTimeoutError:
            self._replace()
            raise
        except (EOFError, OSError):
            self._replace()
            raise _WorkerDiedError(killed=worker.process.returncode == -signal.SIGKILL) from None
        finally:
            worker.shrink()

    def spawn(self) -> "_Worker":
        """Start a worker without waiting for it.

        Raises:
            StreamerError: the system starts no process, or the pool is closed.
        """
        with self._turn:
            if self._closed:
                raise StreamerError("decode worker: the pool is closed")
            try:
                self._worker = _Worker(self._options)
            except OSError as error:
                raise StreamerError(f"decode worker: cannot be started ({error.strerror})") from None
            return self._worker

    def wait_ready(self) -> "_Worker":
        """The worker, started where there is none, once it has imported what it needs.

        Raises:
            StreamerError: it does not come up.
        """
        for _ in range(_TRIES):
            worker = self._worker or self.spawn()
            if worker.is_ready():
                return worker
            self._end()
        raise StreamerError(
            f"decode worker: does not come up; stderr has what it said, as has {sys.executable} -m {_MODULE}"
        )

    def close(self) -> None:
        """End the worker; none is started any more."""
        with self._turn:
            self._closed = True
        self._end()

    def _replace(self) -> None:
        """End the worker and start another; if that fails now, the next frame tries again."""
        self._end()
        with contextlib.suppress(StreamerError):
            self.spawn()

    def _end(self) -> None:
        with self._turn:
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()


class _Worker:
    """A process that runs `decode_worker`, the pipe to it and the file shared with it.

    Raises:
        OSError: the system has no room for another.
    """

    def __init__(self, options: str) -> None:
        self.pipe, theirs = Pipe()
        self._shared = _anonymous_file()
        self._ready = False
        fds = (theirs.fileno(), self._shared.fileno())
        # No threads beside the one that works.
        environment = child.environment(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
        try:
            # In a session of its own: what a terminal sends is meant for the service.
            self.process = subprocess.Popen(
                child.command(_MODULE, *map(str, fds), options),
                env=environment,
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
            self.pipe.close()
            self._shared.close()
            raise
        finally:
            theirs.close()

    def is_ready(self) -> bool:
        """Wait until it can work; False if it never will."""
        try:
            if not self._ready and self.pipe.poll(_START_S):
                self._ready = bool(self.pipe.recv_bytes(64))
        except (EOFError, OSError):
            pass
        return self._ready

    def ask(self, message: FrameMessage, bit_depth: BitDepth) -> None:
        """Have a frame decoded; the answer comes by `pipe`."""
        write_all(self._shared.fileno(), memoryview(message.payload))
        fields = {name: value for name, value in vars(message).items() if name not in _KEPT_HERE}
        request = {"message": fields, "n_bytes": len(message.payload), "bit_depth": bit_depth}
        self.pipe.send_bytes(msgpack.packb(request))

    def pixels(self, shape: list[int], limits: Limits) -> images.Frame:
        """`[H, W, 3]` uint8 of the shared file.

        Raises:
            EOFError: it holds fewer.
        """
        height, width, _ = shape
        check_size(height, width, limits)
        frame = np.empty((height, width, 3), np.uint8)
        view, done = buffer_of(frame), 0
        while done < len(view):
            n_read = os.preadv(self._shared.fileno(), [view[done:]], done)
            if not n_read:
                raise EOFError
            done += n_read
        return frame

    def shrink(self) -> None:
        """Give back the memory of a large frame."""
        if not self._shared.closed and os.fstat(self._shared.fileno()).st_size > _KEPT_BYTES:
            self._shared.truncate(0)

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()
        self.pipe.close()
        self._shared.close()


def _anonymous_file() -> BinaryIO:
    """A file without a name, in memory where the system has such."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("musc-decode"), "r+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)
