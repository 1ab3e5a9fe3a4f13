"""The thread that listens to a detector: what comes is handed on in order; what is missing is asked for."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, ClassVar

import structlog
import zmq
from zmq.utils.monitor import recv_monitor_message

from streamer.auth import ClientKeys
from streamer.errors import WireError
from streamer.following.answers import MAX_ANSWER, read_answer
from streamer.following.gaps import Gaps
from streamer.following.numbers import KEPT_BY_HISTORY, check_pub_seq
from streamer.following.patience import Patience
from streamer.following.presence import Endpoints, Heard
from streamer.following.taken import Came, Taken
from streamer.following.topic import Cursor
from streamer.sockets import Context, Socket, connect
from streamer.wire.checks import NO_STREAM
from streamer.wire.frame import pack
from streamer.wire.published import Message, topic_of, unpack_message

log = structlog.get_logger()

_BATCH_S, _NEXT_S = 0.2, 0.02
# Revisions wait for those that come with them. Somebody waits for a score, which waits for its picture alone.
_TOGETHER = 400
_POLL_MS = 200
_QUEUE, _QUESTIONS = 2000, 10
_MAX_PART = 64 * 2**20
_PROBE_S = 10.0
_MANY = 50
# Messages of one answer of the history beyond which they are no news.
_PROBE = (topic_of(NO_STREAM, "error"), 2**62)
# What is asked to see whether anybody answers: for messages that there are not.
_BEAT = topic_of(NO_STREAM, "status")


class Follower(threading.Thread, ABC):
    """Follows one detector, whether it is there, comes later, or comes again; ends when `stop` is called.

    What a subclass does runs in this thread, `_gaps` and the sockets are its alone.

    Args:
        endpoints: where the detector is.
        keys: CURVE keys where it asks for them.
        heard: is told of everything.
        known: of each topic the last number kept and the digest of its message.
        scores_first: of a stream whose scores have a gap, nothing else is handed on until it is filled, and
            what is lost is told before what follows it.
        patience_s: that a history which does not answer, of a detector that is heard, is waited for beyond
            the first few seconds; then what comes goes on, and what is missing is lost.

    Raises:
        StreamerError: an endpoint is malformed.
    """

    whose: ClassVar[str]
    """Of its lines in the log."""
    turned_at: float
    """When it last waited for messages: `time.monotonic`."""

    def __init__(
        self,
        endpoints: Endpoints,
        keys: ClientKeys | None,
        heard: Heard,
        known: Mapping[str, Cursor],
        *,
        scores_first: bool = False,
        patience_s: float = 0.0,
    ) -> None:
        super().__init__(name="follow", daemon=True)
        self._heard, self._patience = heard, Patience(patience_s)
        self.turned_at = time.monotonic()
        self._stopping = threading.Event()
        self._gaps = Gaps(known, scores_first=scores_first, look_up=self._cursor, was_whole=self._was_whole)
        self._context = Context()
        self._asked: tuple[str, int] | None = None
        self._asked_at = 0.0
        self._number = 0
        self._probe_at = 0.0
        try:
            self._scores = connect(
                self._context,
                zmq.SUB,
                endpoints.scores,
                keys=keys,
                hwm=_QUEUE,
                max_part=_MAX_PART,
                events=zmq.EVENT_HANDSHAKE_SUCCEEDED,
            )
            self._scores.subscribe(b"")
            self._monitor: Socket = self._scores.get_monitor_socket()
            # No REQ socket: one that asks again before it is answered throws its connection away.
            self._control = connect(
                self._context, zmq.DEALER, endpoints.control, keys=keys, hwm=_QUESTIONS, max_part=MAX_ANSWER
            )
        except BaseException:
            self._context.destroy(linger=0)
            raise

    @abstractmethod
    def _known(self) -> Mapping[str, Cursor]:
        """Of each topic the last number kept and the digest of its message."""

    def _cursor(self, topic: str) -> Cursor | None:
        """The same of one topic; None where nothing of it is kept."""
        return self._known().get(topic)

    def _was_whole(self) -> bool:
        """Whether all that the detector had was once caught up with; else what is gone was never missed."""
        return True

    def _is_whole(self) -> None:
        """It is caught up with; said again and again."""

    def _unkept(self) -> Collection[str] | None:
        """Streams of which something that was handed on is not kept yet; None where that may be all."""
        return ()

    @abstractmethod
    def _keep(self, taken: Taken, *, quiet: bool = False) -> None:
        """Keep what came, if anything, pictures among it, in its order.

        `quiet`: so many came at once that they are no news.
        """

    @abstractmethod
    def _bad(self) -> None:
        """Something came that no detector sends."""

    @abstractmethod
    def _look(self) -> None:
        """Done at least every `_POLL_MS`."""

    def _beat(self) -> None:
        """A heartbeat came, or a word on a camera."""

    def _answering(self, answers: bool) -> None:
        """The history answers, or does not."""

    def _gave_up(self, topic: str | None = None) -> None:
        """What is missing is no longer waited for, of all topics or of one that the history cannot read."""

    def gets_on(self, longest_s: float) -> bool:
        """Whether its thread runs, and took no longer than `longest_s` for what came last."""
        return self.is_alive() and time.monotonic() - self.turned_at <= longest_s

    def stop(self) -> None:
        """End, once what has come is kept."""
        self._stopping.set()
        if self.is_alive():
            self.join()
        else:
            self._context.destroy(linger=0)

    def run(self) -> None:
        """Follow until stopped."""
        poller = zmq.Poller()
        for socket in (self._scores, self._control, self._monitor):
            poller.register(socket, zmq.POLLIN)
        try:
            again = False
            while not self._stopping.is_set():
                self.turned_at = time.monotonic()
                try:
                    if again:
                        self._begin_again()
                        again = False
                    self._turn(dict(poller.poll(_POLL_MS)))
                except Exception:  # whatever a message brings about: it is one message, and told
                    log.exception(f"{self.whose}_follow_failed")
                    again = True
                    self._stopping.wait(1.0)
        finally:
            with suppress(zmq.ZMQError):
                self._scores.disable_monitor()
            self._monitor.close()
            self._context.destroy(linger=0)

    def _begin_again(self) -> None:
        """Ask for what follows what is kept: something that came was not."""
        self._asked = None  # of what was taken then
        known = self._known()
        self._gaps.restart(known)
        self._gaps.check_all(self._topics(known))

    def _turn(self, ready: dict[Any, int]) -> None:
        if self._monitor in ready:
            recv_monitor_message(self._monitor)
            self._connected()
        if self._control in ready:
            self._take_answer()
        if self._scores in ready:
            self._take_live()
        self._ask()
        self._look()
        if self._gaps.are_many and (unkept := self._unkept()) is not None:
            self._gaps.forget(unkept)

    def _take_live(self) -> None:
        """What the socket has ready, and what comes within a moment, is one transaction."""
        messages: list[Message] = []
        begun, patience = time.monotonic(), _BATCH_S
        while len(messages) < _TOGETHER:
            wait = begun + patience - time.monotonic() if messages else 0.0
            if not self._scores.poll(max(0, round(1000 * wait))):
                break
            with suppress(WireError):
                messages.append(unpack_message(self._scores.recv_multipart()))
                if messages[-1].kind != "revision":
                    patience = _NEXT_S
        kept = Taken()
        beat = False
        for message in messages:
            try:
                self._heard.heard(message, live=True)
                if message.kind in {"status", "source"}:
                    beat = True
                    if message.topic == _BEAT:
                        self._gaps.tails.beat()
                elif message.kind in KEPT_BY_HISTORY:
                    kept.add(self._gaps.live(message, check_pub_seq(message)))
                elif message.kind == "picture":
                    kept.steps.append(Came(message, live=True))
            except WireError:
                self._bad()
        self._keep(kept)
        if beat:
            self._gaps.check_new(self._topics())
            self._beat()

    def _connected(self) -> None:
        """A detector is there, perhaps another one than before: what it was asked before is not answered."""
        self._asked = None
        self._patience.begin()
        self._gaps.check_all(self._topics(self._known()))

    def _topics(self, known: Collection[str] = ()) -> list[str]:
        """Topics that there may be, of all streams heard of and of those that are known."""
        streams = dict.fromkeys([*self._heard.streams(), *(topic.rpartition("/")[0] for topic in known)])
        streams.pop(NO_STREAM, None)
        return [
            topic_of(NO_STREAM, "error"),
            *(topic_of(stream, kind) for stream in streams for kind in KEPT_BY_HISTORY),
        ]

    def _ask(self) -> None:
        """Ask the history for what is missing, one question at a time, and see whether it answers."""
        now = time.monotonic()
        if self._asked is not None:
            if now - self._asked_at < self._patience.answer_s:
                return
            self._asked = None
            if self._patience.miss(now, is_up=self._heard.is_up):
                self._probe_at = now + _PROBE_S
                self._answering(False)
        if self._patience.is_over(now, is_up=self._heard.is_up):
            if not self._patience.gave_up:
                self._patience.gave_up = True
                self._gave_up()
            self._keep(self._gaps.unanswered())  # what comes goes on, and what is missing is lost
        if now < self._patience.ask_at:
            return
        request = self._gaps.next_request()
        if request is None and not self._patience.answers and self._heard.is_up and now >= self._probe_at:
            request = _PROBE
            self._probe_at = now + _PROBE_S
        if request is None:
            if self._patience.answers and self._gaps.tails.are_over:
                self._is_whole()
            return
        topic, first = request
        if request != _PROBE and self._patience.is_given_up(topic, now):
            self._gave_up(topic)
            self._keep(self._gaps.refused(topic))
            return
        body = pack({"kind": "history", "topic": topic, "first": first})
        self._number, self._asked, self._asked_at = self._number + 1, request, now
        # What cannot be sent, to a detector that is not there or refuses our key, is not answered either.
        with suppress(zmq.ZMQError):
            self._control.send_multipart([b"%d" % self._number, b"", body], zmq.DONTWAIT)

    def _take_answer(self) -> None:
        parts = self._control.recv_multipart(zmq.DONTWAIT)
        if self._asked is None or len(parts) != 3 or parts[0] != b"%d" % self._number:
            return  # of a question that was given up
        (topic, first), self._asked = self._asked, None
        answer = read_answer(parts[2], topic)
        if answer is None:
            is_away = self._patience.refuse_topic(topic, now := time.monotonic())
            self._probe_at = now + _PROBE_S
            if self._patience.seconds and is_away:
                self._answering(False)
            return
        if self._patience.answered(topic):  # what was given up meanwhile may be there
            self._gaps.check_all(self._topics(self._known()))
        self._answering(True)
        if (topic, first) == _PROBE:
            return
        for _, message in answer.messages:
            self._heard.heard(message, live=False)
        kept = self._gaps.answer(topic, answer.messages, answer.more, answer.following)
        self._keep(kept, quiet=len(kept.messages) > _MANY)
