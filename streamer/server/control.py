"""The control socket: one msgpack map each way. Whatever is asked, an answer goes back.

Requests: `{"kind": "status"}`, `{"kind": "flush" | "reset", "stream": name?}`, `{"kind": "history", "topic":
"stream/kind", "first": pub_seq, "last": pub_seq?}`, `{"kind": "snapshot"}`, `{"kind": "shutdown"}`,
`{"kind": "pin" | "unpin" | "forget" | "false_alarm", "stream": name, "frame_id": of a frame in the ring}`.
Answers: `{"ok": true, ...}` or `{"ok": false, "code", "text"}`.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import structlog
import zmq

from streamer.ask import ask
from streamer.errors import WireError
from streamer.server.threads import Worker
from streamer.sockets import Socket
from streamer.wire.frame import VERSION, pack, unpack

__all__ = ["Control", "Handler", "ask"]

log = structlog.get_logger()

Handler = Callable[[Mapping[str, Any]], dict[str, Any]]

_POLL_MS = 100
_MAX_REQUEST = 64 * 1024


class Control(Worker):
    """Owns the control socket and answers requests, one at a time, until stopped.

    To its peers it is a REP socket. In truth it is a ROUTER: after a request without an envelope libzmq's REP
    can lose the answer to somebody else's.

    Args:
        socket: bound ROUTER socket; closed when the thread ends.
        handlers: what to do for each `kind`; a handler's `WireError` becomes its answer.
    """

    def __init__(
        self, socket: Socket, handlers: Mapping[str, Handler], failed: Callable[[BaseException], None]
    ) -> None:
        super().__init__("control", failed)
        self._socket, self._handlers = socket, handlers
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Answer what is being answered, then end."""
        self._stopping.set()
        self.join()

    def work(self) -> None:
        """Answer requests until stopped."""
        try:
            while not self._stopping.is_set():
                if not self._socket.poll(_POLL_MS):
                    continue
                with suppress(zmq.ZMQError):  # the one who asked may be gone
                    self._serve(self._socket.recv_multipart(zmq.DONTWAIT))
        finally:
            self._socket.close()

    def _serve(self, parts: list[bytes]) -> None:
        if b"" in parts[1:]:  # else it is no request, and nobody waits for an answer
            body = parts.index(b"", 1) + 1
            self._socket.send_multipart([*parts[:body], self._answer(parts[body:])], zmq.DONTWAIT)

    def _answer(self, parts: list[bytes]) -> bytes:
        kind = None
        try:
            if len(parts) != 1:
                raise WireError("bad_parts", f"request: got {len(parts)} parts, expected 1")
            request = unpack(parts[0], _MAX_REQUEST)
            kind = request.get("kind")
            handler = self._handlers.get(kind) if isinstance(kind, str) else None
            if handler is None:
                known = ", ".join(sorted(self._handlers))
                raise WireError("unknown_kind", f"kind: got {str(kind)[:80]!r}, expected one of {known}")
            answer = {"ok": True, **handler(request)}
        except WireError as error:
            answer = {"ok": False, "code": error.code, "text": error.text}
        except Exception as error:
            log.exception("control_failed", kind=str(kind)[:80])
            answer = {"ok": False, "code": "internal", "text": f"{type(error).__name__}: {error}"}
        return pack({"v": VERSION, "kind": kind if isinstance(kind, str) else None, **answer})
