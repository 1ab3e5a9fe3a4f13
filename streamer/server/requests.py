"""What the control socket can be asked, and how the service does it."""

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from streamer.errors import WireError
from streamer.server.control import Handler
from streamer.server.stream import Line
from streamer.wire.frame import check_frame_id

if TYPE_CHECKING:
    from streamer.server.service import Service

log = structlog.get_logger()

_FETCH_MESSAGES = 1000
_FETCH_BYTES = 32 * 1024 * 1024
_PATIENCE_S = 600.0
_OPERATIONS = ("pin", "unpin", "forget", "false_alarm")


def handlers(service: "Service") -> dict[str, Handler]:
    """A handler for every kind of request."""
    requests = _Requests(service)
    return {
        "status": lambda _: service.status(),
        "flush": requests.flush,
        "reset": requests.reset,
        "history": requests.history,
        "snapshot": requests.snapshot,
        **{kind: partial(requests.operate, kind) for kind in _OPERATIONS},
        "shutdown": requests.shutdown,
    }


class _Requests:
    def __init__(self, service: "Service") -> None:
        self._service = service

    def flush(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Score what was received before this request, then make every score in the rings final.

        A sleeping stream is woken for it if it is named. Of all streams those asleep are left so, and named
        in the answer. What goes wrong with one does not keep the others from it, and is told at the end.
        """
        lines, named = self._lines(request), request.get("stream") is not None
        names = {line.name for line in lines}
        service = self._service
        targets = {name: count for name, count in service.accounts.received().items() if name in names}
        self._wait(lambda seconds: service.accounts.wait_settled(targets, seconds))
        flushed, asleep, failed = 0, list[str](), list[str]()

        def flush(line: Line) -> list[int]:
            if line.asleep and not named:
                asleep.append(line.name)
                return []
            try:
                return [service.scoring.flush(line)]
            except WireError:
                raise
            except Exception as error:  # no memory for one ring, perhaps
                log.exception("flush_failed", stream=line.name)
                failed.append(f"stream '{line.name}' ({type(error).__name__}: {error})")
                return []

        for line in lines:  # a job each: frames are scored in between
            flushed += sum(self._between_frames(partial(flush, line)))
        if failed:
            raise WireError(
                "internal", f"flush: not done for {', '.join(failed)}; {flushed} scores are final"
            )
        return {"flushed": flushed, **({"asleep": asleep} if asleep else {})}

    def reset(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Empty the rings; counters go on."""
        lines = self._lines(request)

        def reset_all() -> list[None]:
            for line in lines:
                line.reset()
            return []

        self._between_frames(reset_all)
        for line in lines:
            self._service.snapshots.forget(line)
        return {"reset": len(lines)}

    def history(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Published messages of a topic, by `pub_seq`."""
        topic, first, last = request.get("topic"), request.get("first", 0), request.get("last", 2**62)
        if not isinstance(topic, str) or not isinstance(first, int) or not isinstance(last, int):
            raise WireError(
                "bad_value", "history: expected {topic: 'stream/kind', first: pub_seq, last: pub_seq}"
            )
        if max(abs(first), abs(last)) >= 2**63:
            raise WireError("bad_value", "history: first and last are below 2^63")
        found, more = self._service.history.fetch(
            topic, first, last, limit=_FETCH_MESSAGES, max_bytes=_FETCH_BYTES
        )
        messages = [
            {"topic": entry.topic, "pub_seq": entry.pub_seq, "header": entry.header, "map": entry.payload}
            for entry in found
        ]
        return {"messages": messages, "more": more}

    def snapshot(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """Write the rings to disk."""
        return {"written": self._service.snapshots.save_now()}

    def operate(self, kind: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Pin, unpin or forget a frame, or call its alarm false."""
        if request.get("stream") is None or "frame_id" not in request:
            raise WireError(
                "bad_value", f"{kind}: expected {{stream: name, frame_id: of a frame in the ring}}"
            )
        (line,) = self._lines(request)
        frame_id = check_frame_id(request["frame_id"])
        (counts,) = self._between_frames(lambda: [self._service.scoring.operate(line, kind, frame_id)])
        return {"stream": line.name, "frame_id": frame_id, **counts}

    def shutdown(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """Score what was accepted, then exit, as on SIGTERM."""
        self._service.ask_to_stop()
        return {}

    def _wait(self, wait: Callable[[float], bool]) -> None:
        patience = time.monotonic() + _PATIENCE_S
        while not wait(0.2):
            if self._service.failure is not None:
                raise WireError("internal", "the service is dying; its log has the details")
            if time.monotonic() > patience:
                raise WireError("busy", f"the detector did not get to it within {_PATIENCE_S:g} s")

    def _lines(self, request: Mapping[str, Any]) -> list[Line]:
        name = request.get("stream")
        if name is None:
            return self._service.lines.known()
        line = self._service.lines.get(name) if isinstance(name, str) else None
        if line is None:
            known = ", ".join(line.name for line in self._service.lines.known()) or "none"
            raise WireError("bad_value", f"stream: got {str(name)[:80]!r}, open streams: {known}")
        return [line]

    def _between_frames(self, work: Callable[[], list[Any]]) -> list[Any]:
        done = threading.Event()
        results: list[Any] = []
        failures: list[Exception] = []

        def job() -> None:
            try:
                results.extend(work())
            except Exception as error:
                failures.append(error)
            finally:
                done.set()

        self._service.pipeline.run_between_frames(job)
        self._wait(done.wait)
        if failures:
            raise failures[0]
        return results
