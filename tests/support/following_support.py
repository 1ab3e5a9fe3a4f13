"""What tests of a follower's order share: a detector with a real history, and a subscriber that checks."""

from store_support import message as a_message
from store_support import verdict

from streamer.following.gaps import Gaps
from streamer.following.numbers import digest_of
from streamer.following.taken import Came
from streamer.server.history import Entry, History
from streamer.wire.frame import pack
from streamer.wire.published import topic_of, unpack_message

PLENTY = 10**9
STREAMS = ("line", "left")
TOPICS = [topic_of(stream, kind) for stream in STREAMS for kind in ("score", "revision", "event")]


class Detector:
    """Scores frames and revises the last few of them, each message in the history before it goes out."""

    def __init__(self, most=PLENTY):
        self.history = History(None, max_messages=most, max_bytes=PLENTY)
        self.frames = {stream: [] for stream in STREAMS}
        self.said = {topic: [] for topic in TOPICS}

    def score(self, stream="line", at=0, again=False):
        """The score of one more frame, `again` under the id of the last one."""
        frames = self.frames[stream]
        name = frames[-1]["frame_id"] if again and frames else f"p{len(frames)}"
        fields = {"frame_id": name, "seq": len(frames), "at": at}
        frames.append(fields)
        return self._publish(verdict(stream=stream, **fields))

    def revise(self, back=0, stream="line"):
        fields = self.frames[stream][max(0, len(self.frames[stream]) - 1 - back)]
        number = len(self.said[topic_of(stream, "revision")]) + 1
        return self._publish(verdict(kind="revision", stream=stream, revision=number, **fields))

    def say(self, what, stream, at, back):
        if what == "event":
            return self._publish(a_message("event", stream, event="repeat"))
        if what == "revise" and self.frames[stream]:
            return self.revise(back, stream)
        return self.score(stream, at, again=what == "again")

    def fetch(self, topic, first):
        following = self.history.next_number(topic)
        found, more = self.history.fetch(topic, first, 2**62, limit=2, max_bytes=PLENTY)
        return [(one.pub_seq, _message(topic, one.header)) for one in found], more, following

    def _publish(self, message):
        number = len(self.said[message.topic])
        header = {key: value for key, value in message.items() if key != "v"}
        body = pack({"v": 1, **header, "pub_seq": number})
        self.history.add([Entry(message.topic, number, body, None)])
        self.said[message.topic].append(_message(message.topic, body))
        return self.said[message.topic][-1]


def _message(topic, body):
    return unpack_message([topic.encode(), body])


def frame_of(message):
    return message["stream"], message["seq"]


class Subscriber:
    """One who asks now and then; an answer may come late, after what was published meanwhile.

    Checks what it is handed: each number of a topic once, in order, or told as lost before what follows it,
    and only if the history does not have it; no revision before its score.
    """

    def __init__(self, detector, says_next=True):
        self.detector, self.says_next, self.answer = detector, says_next, None
        self.taken, self.holes, self.kept, self.ends = [], [], {}, {}
        self.revised = set()
        self.restart()

    def restart(self):
        self.gaps, self.answer = Gaps(self.kept, scores_first=True, look_up=self.kept.get), None
        self.gaps.check_all(TOPICS)

    def keep(self, taken):
        assert not taken.anew
        for step in taken.steps:
            if isinstance(step, Came):
                self._follows(step.message.topic, step.message["pub_seq"])
                self._take(step.message)
            elif step.lost:
                assert step.lost == step.last - step.first + 1
                self._follows(step.topic, step.first)
                assert not self.detector.history.fetch(
                    step.topic, step.first, step.last, limit=1, max_bytes=1
                )[0]
                self.holes.append(step)
                self.kept[step.topic] = step.last, None
            elif not step.filled:
                assert (step.topic not in self.kept, step.first) == (True, 0)
                self.kept[step.topic] = step.last, None

    def _follows(self, topic, number):
        if topic in self.kept:  # else all that the history no longer has was never missed
            assert number == self.kept[topic][0] + 1

    def _take(self, message):
        self.taken.append(message)
        self.kept[message.topic] = message["pub_seq"], digest_of(message)
        if message.kind == "score":
            assert frame_of(message) not in self.revised
        elif message.kind == "revision":
            self.revised.add(frame_of(message))

    def hear(self, message):
        self.keep(self.gaps.live(message, message["pub_seq"]))

    def ask(self):
        """Send a question; its answer is of this moment."""
        if self.answer is None and (request := self.gaps.next_request()) is not None:
            messages, more, following = self.detector.fetch(*request)
            self.answer = request[0], messages, more, following if self.says_next else None

    def read(self):
        if self.answer is not None:
            answer, self.answer = self.answer, None
            self.keep(self.gaps.answer(*answer))

    def catch_up(self):
        for _ in range(10_000):
            self.read()
            self.ask()
            if self.answer is None:
                assert all(
                    topic.is_idle for _, topic in self.gaps._topics.in_order()
                )  # nothing waits in vain
                return
        raise AssertionError("it asks for ever")

    def connect(self):
        self.answer = None
        self.gaps.check_all([*TOPICS, *self.kept])

    def forget(self):
        self.gaps.forget(())

    def beat(self, times=1):
        for _ in range(times):
            self.gaps.tails.beat()

    def kinds(self):
        return [one.kind for one in self.taken]
