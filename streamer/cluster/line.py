"""A line: one stream's ring, window, verdict, events, snapshot and journal, for a gate that asks.

It hosts what the service of one process does in its matching thread, for a single stream, and hands back as
data what that would publish. Made a Ray actor by whoever starts it; nothing here knows of Ray.
"""

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, cast

from musc_online.config import Config
from musc_online.errors import FrameError
from musc_online.ring_setup import MakeStore
from musc_online.snapshot import Snapshot
from streamer.cluster.compute import Threads
from streamer.cluster.exchange import BackboneIdentity, Frame, Opened, Redone, Reply, Settled, Tokens, Told
from streamer.cluster.fence import Fence
from streamer.cluster.hosted import Hosted
from streamer.cluster.settling import LineFrame
from streamer.errors import WireError
from streamer.server.logs import RateLimitedLog
from streamer.server.replays import Again, Untold
from streamer.server.saving import copied
from streamer.server.stream import Stream
from streamer.server.telling import Telling
from streamer.wire.requests import Word

_TEXT = 200


class Line:
    """One stream. Every method may be called from any thread; all but `write` and `status` take turns.

    Nothing that is wrong with a frame, a word or a file is raised: it comes back in `Reply.error`.

    Args:
        name: of the stream.
        config: its own, `Streams.config_of(name)` of the gate.
        identity: of the backbone whose tokens come.
        threads: for what computes; scores do not depend on it.
        make_store: of the ring's features, in the place of the configured matcher's own.
        fatal: errors of that store after which the line has to be made anew: they are raised.
        patience_s: how long to wait for a line of before, that is about to die, to let go of the files.
        signed: `fence.signature` of the snapshots' folder as the gate has it; None does not compare.
    """

    def __init__(
        self,
        name: str,
        config: Config,
        identity: BackboneIdentity,
        threads: int,
        *,
        make_store: MakeStore | None = None,
        fatal: tuple[type[Exception], ...] = (),
        patience_s: float = 30.0,
        signed: bytes | None = None,
    ) -> None:
        self._threads = Threads(threads)
        self._threads.here()
        self._folder, self._journals = config.snapshot.path, config.snapshot.journal
        self._fatal, self._patience_s, self._signed = fatal, patience_s, signed
        self._turn, self._writing = threading.RLock(), threading.Lock()
        self._parts = parts = Hosted(name, config, identity, make_store, fatal)
        self._stream, self._books, self._scoring = parts.stream, parts.books, parts.scoring
        self._recorder, self._saver = parts.recorder, parts.saver
        self._log = RateLimitedLog()
        self._fence: Fence | None = None
        self._is_open = self._forget_due = False
        self._since: int | None = None
        self._redone: list[Redone] = []
        self._copy: Callable[[], Snapshot | None] | None = None

    def open(
        self,
        room: int,
        told: int | None = None,
        settled: Sequence[Settled] = (),
        tally: dict[str, Any] | None = None,
        *,
        asleep: bool = False,
    ) -> Opened:
        """Put the ring back as its files hold it. Of a line that is open only the room is renewed.

        Args:
            room: bytes for the ring.
            told: number of the change that the gate expects next: what comes from there on in the journal
                was not told, and is told now; None where all was, or nobody knows.
            settled: frames whose scores are out, of which a line of before may not have heard.
            tally: the gate's of the stream, if it has one; else that of the files goes on.
            asleep: whether the ring is known to be on disk only: if it is not there, that is told.
        """
        with self._turn:
            self._parts.streams.room = room
            if not self._is_open:
                self._since, self._stream.asleep = told, asleep
                self._books.begin(settled, tally)
            found: list[dict[str, Any] | None] = [None]

            def work() -> None:
                found[0] = self._open()

            reply = self._done(work)
            redone, self._redone = self._redone, []
            scored, waiting, unpublished = self._books.known()
            return Opened(reply, found[0], scored, unpublished, waiting, redone)

    def score(self, frame: Frame, tokens: Tokens) -> Reply:
        """Take a frame in; its score, and what came of it.

        Args:
            frame: facts of it, and times by the gate's clock.
            tokens: patch tokens `[S, P, C]` float32, with tiles `[T, S, P, C]`, and class token `[D]`.
        """
        with self._turn:
            queued = LineFrame.made(frame, self._stream)
            reply = self._done(lambda: self._score(queued, frame, tokens))
            if reply.error is not None:
                self._stream.release(queued)
            return replace(reply, told=queued.timed(reply.told))

    def flush(self) -> Reply:
        """Make every score in the ring final; `answer` says how many there were."""
        with self._turn:
            return self._done(lambda: self._scoring.flush(self._opened()))

    def operate(self, word: Word) -> Reply:
        """An operator's word; `answer` is what whoever said it is told."""
        with self._turn:
            return self._done(lambda: self._scoring.operate(self._opened(), word))

    def reset(self) -> Reply:
        """Forget the ring and the ids, of a line that is not open, too; the last scores are final.

        Once the gate has the reply it calls `forget`.
        """
        with self._turn:
            return self._done(self._reset)

    def forget(self) -> None:
        """Delete what the files hold of before a reset, which everybody has heard of."""
        with self._turn:
            if self._forget_due:
                self._forget_due = False
                with self._writing:
                    self._saver.forget(self._stream)

    def settle(self, settled: Sequence[Settled], tally: dict[str, Any]) -> None:
        """These scores are out.

        Args:
            settled: in the order in which they went out.
            tally: the gate's of the stream; what it dropped, refused and warned of goes into the snapshot.
        """
        with self._turn:
            self._books.settle(settled, tally)

    def copy(self, asleep: bool = False) -> bool:
        """Copy the state, for `write`; false where there is none. `asleep`: whether the stream will be."""
        with self._turn:
            self.forget()
            try:
                copy = copied(self._stream, self._books.tally(), asleep=asleep)
            except self._fatal:
                raise
            except Exception as error:  # no room for the copy: `write` tells that it failed
                self._copy = partial(_failed, error)
            else:
                self._copy = None if copy is None else lambda: copy
            return self._copy is not None

    def write(self) -> dict[str, Any] | None:
        """Write what `copy` copied; scoring does not wait for the disk.

        Returns:
            Stream, file name, bytes and arrivals; None where nothing was written: `troubles` say why.
        """
        with self._writing:
            copy, self._copy = self._copy, None
            return None if copy is None else self._saver.write(self._stream, lambda _: copy())

    def troubles(self) -> list[Told]:
        """What went wrong with files since the last reply."""
        self._saver.tell_trouble(self._stream)
        return self._parts.troubles.take()

    def status(self) -> dict[str, Any]:
        """Counters of its files, as `status` of the service has them; whether they are behind the ring."""
        journal = self._stream.journal
        return {
            **self._parts.tally.status(),
            "journal_bytes": 0 if journal is None else journal.size,
            "unsaved": self._stream.unsaved,
            "wants_snapshot": journal is not None and journal.wants_snapshot,
            "pid": os.getpid(),
        }

    def close(self) -> None:
        """Let go of the files; nothing may be asked after that."""
        self.forget()
        with self._turn, self._writing:
            if self._stream.journal is not None:
                self._stream.journal.close()
            if self._fence is not None:
                self._fence.release()
            self._fence, self._is_open = None, False

    def _done(self, work: Callable[[], Any]) -> Reply:
        """Do something, and say what came of it, as the service would have told it."""
        answer, error = None, None
        self._threads.here()
        try:
            answer = work()
        except self._fatal:
            raise
        except WireError as refused:
            error = refused.code, refused.text
        except FrameError as refused:
            error = "bad_frame", str(refused)
        except Exception as failed:
            self._log.warning("line_failed", "internal", stream=self._stream.name, exc_info=True)
            error = "internal", f"{type(failed).__name__}: {' '.join(str(failed).split())[:_TEXT]}"
        told = self._recorder.take()
        if error is not None and told and told[0].kind == "score":
            # It has its score, whatever came after that.
            self._parts.outcomes.trouble(self._stream, error[1])
            told, error = [*told, *self._recorder.take()], None
        journal, detector = self._stream.journal, self._stream.detector
        ring = None if detector is None else detector.ring
        return Reply(
            told=[*told, *self.troubles()],
            state=dict(self._stream.state),
            held=() if ring is None else tuple(ring.slot_of),
            change=None if journal is None else journal.number,
            wants_snapshot=journal is not None and journal.wants_snapshot,
            journal_bytes=0 if journal is None else journal.size,
            answer=answer,
            error=error,
        )

    def _open(self) -> dict[str, Any] | None:
        if self._is_open:
            return None
        self._hold()
        self._redone = []
        if self._since is not None:
            self._parts.restorer.untold = Untold(self._since, Telling(self._parts.outcomes), self._tell_again)
        try:
            tally = self._scoring.open(self._stream)
        finally:
            self._parts.restorer.untold = None
            self._recorder.take()  # of a change that could not be done again, which is told by its file
        self._books.opened(tally)
        self._is_open, self._since = True, None
        return tally

    def _opened(self) -> Stream:
        """The stream, opened if that could not be done before; what nobody was told comes with the reply."""
        self.forget()
        if not self._is_open:
            self._open()
            redone, self._redone = self._redone, []
            self._recorder.put_again([told for one in redone for told in one.told])
        return self._stream

    def _hold(self) -> None:
        if self._folder is not None and self._fence is None:
            self._fence = Fence(self._folder, self._stream.name, self._patience_s, self._signed)

    def _tell_again(self, again: Again) -> None:
        told = self._recorder.take()
        kind = cast(Literal["frame", "word", "flush"], again.kind)
        self._redone.append(Redone(again.number, kind, again.frame_id, told, again.answer))

    def _score(self, queued: LineFrame, frame: Frame, given: Tokens) -> None:
        self._opened()
        self._stream.claim(queued)
        work = queued.work(frame, given)
        work.lap("wait")
        self._scoring.score(work)

    def _reset(self) -> None:
        self.forget()
        if not self._is_open:
            self._hold()
            self._parts.restorer.restore_asleep(self._stream)  # for the number of the next change
        self._scoring.reset(self._stream)
        self._is_open, self._forget_due = True, True
        journal = self._stream.journal
        if journal is None or not self._journals or journal.wants_snapshot:
            self.forget()  # a kill would bring it all back


def _failed(error: Exception) -> Snapshot | None:
    raise error
