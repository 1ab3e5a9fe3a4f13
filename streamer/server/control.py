"""The control socket: one msgpack map each way. Whatever is asked, an answer goes back.

Requests: `{"kind": "status"}`, `{"kind": "flush" | "reset", "stream": name?}`, `{"kind": "history", "topic":
"stream/kind", "first": pub_seq, "last": pub_seq?}`, `{"kind": "snapshot"}`, `{"kind": "shutdown"}`, and the
words of operators (`streamer.wire.requests`).
Answers: `{"ok": true, ...}` or `{"ok": false, "code", "text"}`.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import structlog
import zmq

from streamer.errors import WireError
from streamer.progress import Progress
from streamer.server.handlers import Handler
from streamer.server.threads import Worker
from streamer.server.waiting import Waiters, Waiting
from streamer.sockets import MessageReader, Socket
from streamer.wire.checks import shown
from streamer.wire.frame import VERSION, pack, unpack

log = structlog.get_logger()

AT_ONCE = frozenset({"status", "history", "shutdown"})
"""Requests that wait for no frame, and are answered while others wait."""

_POLL_MS = 100
_AFTER_STOP = 100
# Requests answered that wait when the service is asked to stop, at most.
_MAX_REQUEST = 64 * 1024
_MAX_PARTS = 16
_MAX_ADDRESS = 256
# Bytes of one part of an envelope: peers have names of at most 255.


class Control(Worker):
    """Owns the control socket and answers requests until stopped: some at once, the others in their turn.

    To its peers it is a REP socket. In truth it is a ROUTER: after a request without an envelope libzmq's REP
    can lose the answer to somebody else's.

    Args:
        socket: bound ROUTER socket; closed when the thread ends.
        handlers: what to do for each `kind`; a handler's `WireError` becomes its answer. Those of `AT_ONCE`
            are called in this thread, the others one after the other in a second one.
        failed: called if a thread dies.
        progress: of the part whose work requests are; handlers renew it while they wait for another thread.
    """

    def __init__(
        self,
        socket: Socket,
        handlers: Mapping[str, Handler],
        failed: Callable[[BaseException], None],
        progress: Progress,
    ) -> None:
        super().__init__("control", failed, progress)
        self._socket, self._handlers = socket, handlers
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Answer what is being answered, give up what waits behind it (`busy`), then end."""
        self._stopping.set()
        self.join()

    def work(self) -> None:
        """Answer requests until stopped, and those that wait then."""
        try:
            self._waiters = Waiters(self._socket.context, self._failed, self.progress)
            self._waiters.start()
            try:
                self._answer_all()
            finally:
                self._waiters.stop()
                self._send_made()
                self._waiters.answers.close()
        finally:
            self._socket.close()

    def _answer_all(self) -> None:
        reader = MessageReader(self._socket, _MAX_PARTS + 1)
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._waiters.answers, zmq.POLLIN)
        after_stop = 0
        while after_stop < _AFTER_STOP:
            stopping = self._stopping.is_set()
            ready = dict(poller.poll(0 if stopping else _POLL_MS))
            if stopping and self._socket not in ready:
                break
            after_stop += stopping
            self._send_made()
            if self._socket in ready:
                with suppress(zmq.Again), self.progress.step("answer"):
                    self._serve([part.bytes for part in reader.read() or ()])

    def _send_made(self) -> None:
        while self._waiters.answers.poll(0):
            self._send(self._waiters.take())

    def _serve(self, parts: list[bytes]) -> None:
        if b"" not in parts[1:]:  # it is no request, and nobody waits for an answer
            return
        body = parts.index(b"", 1) + 1
        if len(parts) > _MAX_PARTS or max(map(len, parts[:body])) > _MAX_ADDRESS:
            return
        envelope = tuple(parts[:body])
        kind: str | None = None
        try:
            request = _read(parts[body:])
            kind = request["kind"] if isinstance(request.get("kind"), str) else None
            if kind is None or kind not in self._handlers:
                known = ", ".join(sorted(self._handlers))
                got = type(request.get("kind")).__name__ if kind is None else shown(kind)
                raise WireError("unknown_kind", f"kind: got {got}, expected one of {known}")
            if kind in AT_ONCE:
                self._send([*envelope, self._answer(kind, request)])
                return
            ending = WireError("busy", f"{kind}: not done, the detector is ending")
            waiting = Waiting(envelope, partial(self._answer, kind, request), partial(_refusal, kind, ending))
            if not self._waiters.offer(waiting):
                raise WireError("busy", f"{kind}: too many requests wait; ask again when they are done")
        except WireError as error:
            self._send([*envelope, _refusal(kind, error)])

    def _send(self, parts: list[bytes]) -> None:
        # Who asked may be gone, or read nothing: its answer is lost, and nobody waits for it.
        with suppress(zmq.ZMQError):
            self._socket.send_multipart(parts, zmq.DONTWAIT)

    def _answer(self, kind: str, request: Mapping[str, Any]) -> bytes:
        try:
            return _packed(kind, {"ok": True, **self._handlers[kind](request)})
        except WireError as error:
            return _refusal(kind, error)
        except Exception as error:
            log.exception("control_failed", kind=kind)
            return _refusal(kind, WireError("internal", f"{type(error).__name__}: {error}"))


def _read(parts: list[bytes]) -> dict[str, Any]:
    if len(parts) != 1:
        raise WireError("bad_parts", f"request: got {len(parts)} parts, expected 1")
    return unpack(parts[0], _MAX_REQUEST)


def _refusal(kind: str | None, error: WireError) -> bytes:
    return _packed(kind, {"ok": False, "code": error.code, "text": error.text})


def _packed(kind: str | None, answer: dict[str, Any]) -> bytes:
    return pack({"v": VERSION, "kind": kind, **answer})
