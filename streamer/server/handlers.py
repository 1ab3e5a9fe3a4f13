"""What each request to the control socket does; `streamer.server.control` reads them and answers."""

import sqlite3
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, TypeVar

import structlog

from streamer.errors import WireError
from streamer.server.engine import Engine, Frames, Keeper, Rings
from streamer.server.history import History
from streamer.server.outcomes import Ledger
from streamer.server.stream import Stream
from streamer.server.streams import Streams
from streamer.server.threads import run_there
from streamer.wire.checks import shown
from streamer.wire.requests import WORDS, check_word

log = structlog.get_logger()

Result = TypeVar("Result")
Handler = Callable[[Mapping[str, Any]], dict[str, Any]]

_FETCH_MESSAGES = 1000
_FETCH_BYTES = 1024 * 1024
# What one answer holds at most, but for a single larger message: libzmq keeps a few a connection.
_PATIENCE_S = 600.0


class Requested(Protocol):
    """What requests need of a service."""

    failure: BaseException | None
    history: History
    ledger: Ledger
    engine: Engine
    pipeline: Frames
    scoring: Rings
    snapshots: Keeper
    streams: Streams

    def status(self) -> dict[str, Any]:
        """What an operator asks."""
        ...

    def ask_to_stop(self) -> None:
        """Score what was accepted, then end."""
        ...


def handlers(service: Requested) -> dict[str, Handler]:
    """A handler for every kind of request."""
    requests = _Requests(service)
    return {
        "status": lambda _: service.status(),
        "flush": requests.flush,
        "reset": requests.reset,
        "history": requests.history,
        "snapshot": requests.snapshot,
        **{kind: partial(requests.operate, kind) for kind in WORDS},
        "move": requests.move,
        "drain": requests.drain,
        "shutdown": requests.shutdown,
    }


class _Requests:
    def __init__(self, service: Requested) -> None:
        self._service = service

    def flush(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Score what was received before this request, then make every score in the rings final.

        A sleeping stream is woken for it if it is named. Of all streams those asleep are left so, and named
        in the answer. What goes wrong with one does not keep the others from it, and is told at the end.
        """
        streams, named = self._streams(request), request.get("stream") is not None
        service = self._service
        before = [(stream, stream.in_flight()) for stream in streams]
        self._wait(
            lambda seconds: service.ledger.wait_for(
                lambda: all(stream.has_settled(frames) for stream, frames in before), seconds
            )
        )
        flushed, asleep, failed = 0, list[str](), list[str]()

        def flush(stream: Stream) -> int:
            if stream.asleep and not named:
                asleep.append(stream.name)
                return 0
            try:
                return service.scoring.flush(stream)
            except WireError:
                raise
            except Exception as error:  # no memory for one ring, perhaps
                log.exception("flush_failed", stream=stream.name)
                failed.append(f"stream '{stream.name}' ({type(error).__name__}: {error})")
                return 0

        for stream in streams:  # a job each: frames are scored in between
            flushed += self._between_frames(partial(flush, stream))
        if failed:
            raise WireError(
                "internal", f"flush: not done for {', '.join(failed)}; {flushed} scores are final"
            )
        return {"flushed": flushed, **({"asleep": asleep} if asleep else {})}

    def reset(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Empty the rings, the last scores of the frames in them being final; counters go on."""
        streams = self._streams(request)

        def reset_all() -> None:
            for stream in streams:
                self._service.scoring.reset(stream)

        self._between_frames(reset_all)
        for stream in streams:
            self._service.snapshots.forget(stream)
        if request.get("stream") is None:
            try:
                self._service.history.known.forget_earlier()  # of streams, too, that are not open yet
            except sqlite3.Error as error:
                log.warning("known_ids_failed", error=str(error))
        return {"reset": len(streams)}

    def history(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Published messages of a topic, by `pub_seq`."""
        topic, first, last = request.get("topic"), request.get("first", 0), request.get("last", 2**62)
        if not isinstance(topic, str) or not isinstance(first, int) or not isinstance(last, int):
            raise WireError(
                "bad_value", "history: expected {topic: 'stream/kind', first: pub_seq, last: pub_seq}"
            )
        if max(abs(first), abs(last)) >= 2**63:
            raise WireError("bad_value", "history: first and last are below 2^63")
        # Before it is read: what is published meanwhile is not missing.
        following = self._service.history.next_number(topic)
        found, more = self._service.history.fetch(
            topic, first, last, limit=_FETCH_MESSAGES, max_bytes=_FETCH_BYTES
        )
        messages = [
            {"topic": entry.topic, "pub_seq": entry.pub_seq, "header": entry.header, "map": entry.payload}
            for entry in found
        ]
        return {"messages": messages, "more": more, "next": following}

    def snapshot(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """Write the rings to disk."""
        return {"written": self._service.snapshots.save_now()}

    def operate(self, kind: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """An operator's word on a frame, a group of frames or the threshold."""
        word = check_word(kind, request)
        (stream,) = self._streams(request)
        return self._between_frames(lambda: self._service.scoring.operate(stream, word))

    def move(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Have a stream's ring go on on a node, or on any other than it is on."""
        (stream,) = self._streams({"stream": "", **request})
        node = request.get("node")
        if node is not None and not isinstance(node, str):
            raise WireError(
                "bad_value", f"node: got {shown(node)}, expected an id as `status` says it, or null"
            )
        return self._service.engine.move(stream.name, node)

    def drain(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Move everything off a node that is to go."""
        node = request.get("node")
        if not isinstance(node, str):
            raise WireError("bad_value", f"node: got {shown(node)}, expected an id as `status` says it")
        return self._service.engine.drain(node)

    def shutdown(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """Score what was accepted, then exit, as on SIGTERM."""
        self._service.ask_to_stop()
        return {}

    def _wait(self, wait: Callable[[float], bool]) -> None:
        gives_up = self._patience()
        while not wait(0.2):
            if gives_up():
                raise self._given_up()

    def _patience(self) -> Callable[[], bool]:
        """Asked now and then: whether to wait no longer."""
        end = time.monotonic() + _PATIENCE_S

        def gives_up() -> bool:
            self._service.snapshots.progress.renew()  # who is waited for is watched by itself
            return self._service.failure is not None or time.monotonic() > end

        return gives_up

    def _given_up(self) -> WireError:
        if self._service.failure is not None:
            return WireError("internal", "the service is dying; its log has the details")
        text = f"the detector did not get to it within {_PATIENCE_S:g} s; what had not begun is not done"
        return WireError("busy", text)

    def _streams(self, request: Mapping[str, Any]) -> list[Stream]:
        name = request.get("stream")
        if name is None:
            return self._service.streams.known()
        stream = self._service.streams.get(name) if isinstance(name, str) else None
        if stream is None:
            known = ", ".join(stream.name for stream in self._service.streams.known()) or "none"
            raise WireError("bad_value", f"stream: got {str(name)[:80]!r}, open streams: {known}")
        return [stream]

    def _between_frames(self, work: Callable[[], Result]) -> Result:
        """Have the matching thread do something. What is given up is not done later either."""
        done = run_there(self._service.pipeline.run_between_frames, lambda: [work()], self._patience())
        if done is None:
            raise self._given_up()
        return done[0]
