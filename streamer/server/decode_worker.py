"""Run by `decode_pool`: a process that decodes one picture at a time, and may be killed while it does.

It imports neither torch nor the method. A request is a msgpack map on a pipe, the payload lies in the
anonymous file that both processes hold; the answer goes the same way, the pixels in the payload's place.
"""

import contextlib
import os
import resource
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import msgpack
import numpy as np

from streamer import images
from streamer.errors import WireError
from streamer.wire.frame import FrameMessage, Limits

_PER_PIXEL = 32
"""Bytes: 16-bit BGRA as read, unfiltered, as 8 bits, and without alpha; a progressive JPEG takes no more."""
_PER_PAYLOAD = 4
_BESIDE = 256 * 2**20


def main(connection_fd: int, shared: int, options: dict[str, Any]) -> None:
    """Answer requests until the service closes its end of the pipe, by dying too."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the service, which ends its workers itself
    limits = Limits(**options["limits"])
    _bound_memory(limits)
    cv2.setNumThreads(1)
    connection = Connection(connection_fd)
    connection.send_bytes(b"ready")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libpng tells stderr what the answer says as well
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            request = msgpack.unpackb(connection.recv_bytes())
            # A service that was killed kills nobody: then this ends what takes too long.
            signal.setitimer(signal.ITIMER_REAL, 2 * options["decode_s"] + 1)
            answer = _answer(request, shared, limits)
            signal.setitimer(signal.ITIMER_REAL, 0)
            connection.send_bytes(msgpack.packb(answer))


def _answer(request: dict[str, Any], shared: int, limits: Limits) -> dict[str, Any]:
    try:
        fields = request["message"]
        fields["shape"] = None if fields["shape"] is None else tuple(fields["shape"])
        payload = os.pread(shared, request["n_bytes"], 0)
        decoded = images.read(FrameMessage(**fields, payload=payload), limits, request["bit_depth"])
        write_all(shared, buffer_of(np.ascontiguousarray(decoded.frame)))
    except WireError as error:
        return {"code": error.code, "text": error.text}
    except MemoryError:
        text = "payload: decoding it takes more memory than limits.pixels and limits.payload_bytes allow for"
        return {"code": "undecodable", "text": text}
    return {"shape": list(decoded.frame.shape), "warnings": decoded.warnings}


def buffer_of(frame: images.Frame) -> memoryview:
    """The bytes of a contiguous frame, not copied."""
    return memoryview(frame.reshape(-1).data)


def write_all(file: int, data: memoryview) -> None:
    """Write bytes to the start of a file; one call of the system writes 2 GB at most."""
    done = 0
    while done < len(data):
        done += os.pwrite(file, data[done:], done)


def _bound_memory(limits: Limits) -> None:
    """A picture that takes more than any within the limits costs this process, and nobody else."""
    budget = _PER_PIXEL * limits.pixels + _PER_PAYLOAD * limits.payload_bytes + _BESIDE
    # Systems without /proc or this limit go without: there `decode_s` alone bounds a picture.
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + budget
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), msgpack.unpackb(bytes.fromhex(sys.argv[3])))
