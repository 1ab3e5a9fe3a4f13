"""The lines of a gate: which there are, how they are opened, and what they know of their streams then."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import structlog

from musc_online.config import Config
from musc_online.ring_setup import expected_geometry, ring_bytes
from streamer.cluster.exchange import Opened, Reply
from streamer.cluster.published import Published
from streamer.cluster.remote_line import Asked, Given, RemoteLine
from streamer.errors import WireError
from streamer.progress import Progress
from streamer.server.ledger import LastFrame
from streamer.server.restoring import Restorer
from streamer.server.stream import Stream
from streamer.server.streams import Streams

log = structlog.get_logger()

_TOGETHER = 8
"""Lines that come up at a time as the gate starts."""
_OPEN_S = 600.0
"""Beyond what any step may take: a large ring comes from a slow disk, and its journal is done again."""


class Lines:
    """Opens lines; whoever asks one holds its `turn`.

    Args:
        streams: the open ones.
        given: what lines are made with.
        published: where goes what they tell.
        restorer: finds what is on disk; the lines themselves read it.
        progress: of the steps that lines are waited for in.
    """

    def __init__(
        self, streams: Streams, given: Given, published: Published, restorer: Restorer, progress: Progress
    ) -> None:
        self._streams, self._given, self._published = streams, given, published
        self._restorer, self._progress = restorer, progress
        self._lines: dict[str, RemoteLine] = {}
        self._lock = threading.Lock()
        self._reserved: dict[str, int] = {}
        """Bytes of rings that are being made, by stream."""

    def of(self, stream: Stream) -> RemoteLine:
        """A stream's line, open or not."""
        with self._lock:
            line = self._lines.get(stream.name)
            if line is not None and line.stream is stream:
                return line
            # Of a stream that lost its place, and was opened anew, the line is another.
            line = RemoteLine(stream, self._given)
            if self._streams.get(stream.name) is stream:
                self._forget_closed()
                self._lines[stream.name] = line
            return line

    def open(self) -> dict[str, RemoteLine]:
        """The open lines, by stream."""
        return {name: line for name, line in list(self._lines.items()) if line.is_open}

    def close(self) -> None:
        """End every line; no score goes out any more."""
        for line in self.every_line():
            with line.turn:
                line.end()

    def every_line(self) -> list[RemoteLine]:
        """Those that are not open, too."""
        return list(self._lines.values())

    def look_at_files(self, stream: Stream, line: RemoteLine) -> None:
        """Hear what became of a line's files, and publish what it tells of them."""
        for told in line.look_at_files():
            self._published.put(stream, told)

    def resume(self) -> None:
        """Open the streams that have a snapshot, the newest first; those that find no place sleep on."""
        opening = []
        for name, asleep in self._restorer.streams():
            stream = None if asleep else self._admitted(name)
            if stream is not None:
                opening.append(stream)
            else:
                self._leave_asleep(name)
        with ThreadPoolExecutor(_TOGETHER, "resume") as pool:
            list(pool.map(self._resume, opening))

    def has_ring(self, stream: Stream, line: RemoteLine, *, wake: bool = True) -> bool:
        """Whether there is a ring; one whose line died is opened, and with `wake` one that sleeps."""
        if (stream.asleep and wake) or (not stream.asleep and stream.state.get("images")):
            self.opened(stream, line)
        return stream.line is not None

    def opened(self, stream: Stream, line: RemoteLine) -> None:
        """Open a line that is not.

        Raises:
            WireError: `no_line`, `no_room`, `snapshot_unreadable`, `too_many_streams`.
        """
        if stream.line is None:
            self._open(stream, line)
            for told in line.take_redone():
                self._published.put(stream, told)

    def ask(self, stream: Stream, line: RemoteLine, asked: Asked) -> Reply:
        """The reply of a line, or of the one that took its place.

        Raises:
            WireError: it refuses; see `opened`, too.
        """

        reply = line.ask(asked, lambda: self._open(stream, line))
        if reply.error is not None:
            self._published.take(stream, line, reply)
            for told in reply.told:
                self._published.put(stream, told)
            raise WireError(*reply.error)
        return reply

    def move(self, stream: Stream, line: RemoteLine, node: str | None, avoid: frozenset[str]) -> None:
        """Have a line whose ring is on disk end, and come up elsewhere."""
        if line.call("status") is not None:  # of one that died, it is yet to be told what it did
            line.end()
        stream.line = None
        self._open(stream, line, node, avoid)

    def _forget_closed(self) -> None:
        """Of streams that lost their places; whoever sends must not make this grow."""
        for name, line in list(self._lines.items()):
            if not line.is_open and self._streams.get(name) is not line.stream:
                self._lines.pop(name, None)

    def _admitted(self, name: str) -> Stream | None:
        try:
            return self._streams.admit(name) if self._streams.has_place() else None
        except WireError:
            return None

    def _leave_asleep(self, name: str) -> None:
        stream = self._streams.put_to_sleep(name)
        if stream is None:
            text = "its ring stays on disk: limits.streams streams are open, and limits.sleeping asleep"
            log.warning("snapshot_left", stream=name, code="too_many_streams", text=text)
            return
        tally = self._restorer.restore_asleep(stream)
        stream.journal = None  # its line writes it
        stream.asleep = tally is not None
        if tally is not None:
            self._published.outcomes.ledger.resume(name, tally)

    def _resume(self, stream: Stream) -> None:
        line = self.of(stream)
        with line.turn:
            try:
                tally = self._open(stream, line).tally
            except WireError as error:
                log.warning("snapshot_left", stream=stream.name, code=error.code, text=error.text)
                self._leave_asleep(stream.name)
                return
            if tally is not None:
                self._published.outcomes.ledger.resume(stream.name, tally)
            else:  # a file that was set aside: nothing is known of it
                line.end()
                stream.line = None

    def _open(
        self, stream: Stream, line: RemoteLine, node: str | None = None, avoid: frozenset[str] = frozenset()
    ) -> Opened:
        was_asleep, before = stream.asleep, int(stream.state.get("arrivals", 0))
        with self._streams.opening(stream), self._progress.step("open a line", allowed_s=_OPEN_S):
            opened = self._opened_in(stream, line, node, avoid)
            if was_asleep and opened.tally is None:  # its files came to harm: ids go with the ring
                stream.forget_scored()
            stream.line = line
            self._know(stream, line, opened)
        self.look_at_files(stream, line)
        if not was_asleep:  # else whoever read the files has told
            self._tell_lost(stream, before)
        else:
            log.info("stream_awake", stream=stream.name, images=stream.state["images"])
        return opened

    def _opened_in(self, stream: Stream, line: RemoteLine, node: str | None, avoid: frozenset[str]) -> Opened:
        try:
            return line.open(self._room(stream), node=node, avoid=avoid)
        except BaseException:
            with self._lock:
                self._reserved.pop(stream.name, None)
            raise

    def _know(self, stream: Stream, line: RemoteLine, opened: Opened) -> None:
        """Take over what a line knows of its frames, and tell it which scores are out."""
        stream.resume(opened.scored, opened.unpublished, ())
        self._published.take(stream, line, opened.reply)
        for told in opened.reply.told:
            self._published.put(stream, told)
        under_way = {queued.message.frame_id for queued in stream.in_flight()}
        for frame_id in (*opened.waiting, *opened.unpublished):
            if frame_id not in under_way and stream.was_scored(frame_id):
                line.settle(LastFrame(frame_id, time.time_ns(), None), late=False)

    def _tell_lost(self, stream: Stream, before: int) -> None:
        now = int(stream.state.get("arrivals", 0))
        if now < before:
            text = (
                f"stream '{stream.name}': its line died, and of {before} frames {now} were on disk; "
                "set snapshot.path and snapshot.journal: true to lose none"
            )
            log.error("ring_lost", stream=stream.name, text=text)
            self._published.error(stream, "ring_lost", text)

    def _room(self, stream: Stream) -> int:
        """Bytes for a ring, which are its own from now on: those opened beside it find less."""
        with self._lock:
            empty = {
                one.name
                for one in self._streams.known()
                if one is not stream and (one.line is not None or one.opening) and not one.state.get("bytes")
            }
            coming = {name: size for name, size in self._reserved.items() if name in empty}
            room = self._streams.room_for(stream) - sum(coming.values())
            if room < 1:
                text = f"stream '{stream.name}': limits.total_bytes is used up by other streams"
                raise WireError("no_room", text)
            self._reserved = {**coming, stream.name: min(room, _ring_bytes(stream.config))}
            return room


def _ring_bytes(config: Config) -> int:
    """What a ring of its own takes, as it is known before its first frame."""
    return ring_bytes(config, expected_geometry(config))
