"""A verdict comes before those that revise it, whatever is dropped and whoever restarts."""

import hypothesis.strategies as st
from hypothesis import given, settings
from store_support import verdict

from streamer.following.gaps import Gaps
from streamer.following.numbers import digest_of
from streamer.server.history import Entry, History
from streamer.wire.frame import pack
from streamer.wire.published import topic_of, unpack_message

PLENTY = 10**9
TOPICS = [topic_of("line", kind) for kind in ("score", "revision", "event")]


class Detector:
    """Scores frames and revises the last few of them, each message in the history before it goes out."""

    def __init__(self):
        self.history = History(None, max_messages=PLENTY, max_bytes=PLENTY)
        self.numbers = dict.fromkeys(TOPICS, 0)
        self.n_frames = 0
        self.said = []

    def score(self):
        self.n_frames += 1
        return self._publish(verdict(f"p{self.n_frames}", at=self.n_frames))

    def revise(self, back):
        frame = max(1, self.n_frames - back)
        return self._publish(verdict(f"p{frame}", "revision", at=frame, revision=len(self.said) + 1))

    def fetch(self, topic, first):
        found, more = self.history.fetch(topic, first, 2**62, limit=2, max_bytes=PLENTY)
        return [(one.pub_seq, unpack_message([topic.encode(), one.header])) for one in found], more

    def _publish(self, message):
        number = self.numbers[message.topic]
        self.numbers[message.topic] += 1
        header = {key: value for key, value in message.items() if key != "v"}
        body = pack({"v": 1, **header, "pub_seq": number})
        self.history.add([Entry(message.topic, number, body, None)])
        self.said.append(unpack_message([message.topic.encode(), body]))
        return self.said[-1]


class Subscriber:
    """One who asks now and then; an answer may come late, after what was published meanwhile."""

    def __init__(self, detector):
        self.detector, self.taken, self.answer = detector, [], None
        self.kept = {}
        self.restart()

    def restart(self):
        self.gaps, self.answer = Gaps(self.kept, scores_first=True), None
        self.gaps.check_all(TOPICS)

    def keep(self, taken):
        assert not taken.anew
        self.taken += taken.messages
        self.kept |= {one.topic: (one["pub_seq"], digest_of(one)) for one in taken.messages}

    def hear(self, message):
        self.keep(self.gaps.live(message, message["pub_seq"]))

    def ask(self):
        """Send a question; its answer is of this moment."""
        if self.answer is None and (request := self.gaps.next_request()) is not None:
            self.answer = request[0], self.detector.fetch(*request)

    def read(self):
        if self.answer is not None:
            (topic, (messages, more)), self.answer = self.answer, None
            self.keep(self.gaps.answer(topic, messages, more))

    def catch_up(self):
        for _ in range(10_000):
            self.read()
            self.ask()
            if self.answer is None:
                return
        raise AssertionError("it asks for ever")


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["score", "score", "revise", "revise", "ask", "read", "settle", "restart", "connect"]
        ),
        st.booleans(),
        st.integers(0, 3),
    ),
    max_size=80,
)


@settings(max_examples=100)
@given(STEPS)
def test_no_revision_comes_before_its_score(steps):
    detector = Detector()
    subscriber = Subscriber(detector)
    for step, is_heard, back in steps:
        match step:
            case "score" | "revise":
                if step == "revise" and not detector.n_frames:
                    continue
                message = detector.score() if step == "score" else detector.revise(back)
                if is_heard:
                    subscriber.hear(message)
            case "ask":
                subscriber.ask()
            case "read":
                subscriber.read()
            case "settle":
                subscriber.catch_up()
            case "restart":
                subscriber.restart()
            case "connect":
                subscriber.answer = None
                subscriber.gaps.check_all(TOPICS)
    subscriber.gaps.check_all(TOPICS)
    subscriber.answer = None
    subscriber.catch_up()
    for kind in ("score", "revision"):
        said = [one["frame_id"] for one in detector.said if one.kind == kind]
        assert [one["frame_id"] for one in subscriber.taken if one.kind == kind] == said
    scored = set()
    for one in subscriber.taken:
        if one.kind == "score":
            scored.add(one["frame_id"])
        assert one["frame_id"] in scored


def test_a_dropped_score_is_noticed_by_the_revision_behind_it():
    detector = Detector()
    subscriber = Subscriber(detector)
    subscriber.hear(detector.score())
    subscriber.catch_up()
    detector.score()
    subscriber.hear(detector.revise(0))
    assert [one.kind for one in subscriber.taken] == ["score"]
    subscriber.catch_up()
    assert [one.kind for one in subscriber.taken] == ["score", "score", "revision"]
    subscriber.hear(detector.revise(1))
    assert subscriber.gaps.next_request() is None
    assert len(subscriber.taken) == 4
