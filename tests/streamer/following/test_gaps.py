"""Filling gaps: against a real history, whatever is dropped and whoever restarts, and without one."""

import hypothesis.strategies as st
from hypothesis import given
from store_support import verdict

from streamer.following.gaps import Gaps, Hole
from streamer.following.numbers import digest_of
from streamer.server.history import Entry, History
from streamer.wire.frame import pack
from streamer.wire.published import unpack_message

TOPIC = "line/score"
PLENTY = 10**9


class Detector:
    """Numbers messages and keeps them, as the service's publishing does; `all` are those of every count."""

    def __init__(self, most=PLENTY):
        self.most, self.number, self.all, self.begun = most, 0, [], 0
        self.restart(keeps=False)

    def restart(self, *, keeps):
        if not keeps:
            self.history = History(None, max_messages=self.most, max_bytes=PLENTY)
            self.number, self.begun = 0, len(self.all)

    def publish(self):
        header = {**verdict(f"p{len(self.all)}"), "pub_seq": self.number}
        header.pop("v")
        body = pack({"v": 1, **header})
        self.history.add([Entry(TOPIC, self.number, body, None)])
        message = unpack_message([TOPIC.encode(), body])
        self.all.append(message)
        self.number += 1
        return message

    def fetch(self, topic, first):
        found, more = self.history.fetch(topic, first, 2**62, limit=3, max_bytes=PLENTY)
        return [(one.pub_seq, unpack_message([topic.encode(), one.header])) for one in found], more

    def kept(self):
        return [message["frame_id"] for _, message in _everything(self)]


def _everything(detector):
    found, _ = detector.history.fetch(TOPIC, 0, 2**62, limit=PLENTY, max_bytes=PLENTY)
    return [(one.pub_seq, unpack_message([TOPIC.encode(), one.header])) for one in found]


class Page:
    """A subscriber with what it has kept, which outlives its restarts."""

    def __init__(self, detector):
        self.detector, self.taken, self.holes, self.anew = detector, [], [], 0
        self.gaps = Gaps({})

    def keep(self, taken):
        self.anew += len(taken.anew)
        self.taken += taken.messages
        self.holes += taken.holes

    def hear(self, message):
        self.keep(self.gaps.live(message, message["pub_seq"]))

    def ask(self, times=10**6):
        while times and (request := self.gaps.next_request()) is not None:
            topic, first = request
            self.keep(self.gaps.answer(topic, *self.detector.fetch(topic, first)))
            times -= 1

    def connect(self):
        self.gaps.check_all([TOPIC])

    def restart(self):
        last = self.taken[-1] if self.taken else None
        self.gaps = Gaps({} if last is None else {TOPIC: (last["pub_seq"], digest_of(last))})
        self.connect()

    def ids(self):
        return [message["frame_id"] for message in self.taken]


STEPS = st.lists(
    st.sampled_from(["hear", "hear", "hear", "drop", "drop", "ask", "ask some", "page", "detector", "anew"]),
    max_size=60,
)


@given(STEPS)
def test_nothing_is_lost_that_the_history_has(steps):
    detector = Detector()
    page = Page(detector)
    page.connect()
    for step in steps:
        match step:
            case "hear":
                page.hear(detector.publish())
            case "drop":
                detector.publish()
            case "ask":
                page.ask()
            case "ask some":
                page.ask(1)
            case "page":
                page.restart()
            case "detector":
                page.connect()
            case "anew":
                page.ask()  # what a history in memory had and nobody fetched dies with it
                detector.restart(keeps=False)
                page.connect()
    page.connect()
    page.ask()
    assert set(detector.kept()) <= set(page.ids())
    counted = [message["frame_id"] for message in detector.all[detector.begun :]]
    assert [one for one in dict.fromkeys(page.ids()) if one in set(counted)] == counted  # in their order
    assert sum(hole.lost for hole in page.holes) == 0 or "anew" in steps


@given(STEPS, st.integers(1, 8))
def test_what_a_small_history_no_longer_has_is_counted(steps, most):
    detector = Detector(most)
    page = Page(detector)
    first = detector.publish()
    page.hear(first)
    page.connect()
    for step in steps:
        if step in {"hear", "drop"}:
            message = detector.publish()
            if step == "hear":
                page.hear(message)
        elif step.startswith("ask"):
            page.ask()
        elif step == "page":
            page.ask()
            page.restart()
    page.connect()
    page.ask()
    ids = page.ids()
    assert len(ids) == len(set(ids))
    assert set(detector.kept()) <= set(ids)
    assert sum(hole.lost for hole in page.holes) == len(detector.all) - len(ids)


@given(STEPS)
def test_without_a_history_what_comes_goes_on(steps):
    detector = Detector()
    page = Page(detector)
    heard = []
    for step in steps:
        if step == "hear":
            heard.append(detector.publish())
            page.hear(heard[-1])
            page.keep(page.gaps.unanswered())
        elif step == "drop":
            detector.publish()
        elif step == "anew":
            detector.restart(keeps=False)
    assert page.ids() == [message["frame_id"] for message in heard]


def test_a_hole_is_told_with_its_numbers():
    detector = Detector(3)
    page = Page(detector)
    page.hear(detector.publish())
    for _ in range(8):
        detector.publish()
    page.hear(detector.publish())
    assert page.ids() == ["p0"]  # 9 waits for what is before it
    page.ask()
    assert page.ids() == ["p0", "p7", "p8", "p9"]
    (hole,) = page.holes
    assert (hole.topic, hole.first, hole.last, hole.lost, hole.filled) == (TOPIC, 1, 9, 6, 3)


def test_a_detector_that_counts_anew_is_noticed_before_it_is_heard():
    detector = Detector()
    page = Page(detector)
    page.connect()
    for _ in range(5):
        page.hear(detector.publish())
    page.ask()
    detector.restart(keeps=False)
    detector.publish()
    detector.publish()
    page.connect()
    page.ask()
    assert page.ids() == [f"p{number}" for number in range(7)]
    assert (page.anew, page.holes) == (1, [Hole(TOPIC, 0, 1, lost=0, filled=2)])


def test_a_detector_that_counts_anew_and_is_past_the_last_number():
    detector = Detector()
    page = Page(detector)
    page.hear(detector.publish())
    page.hear(detector.publish())
    detector.restart(keeps=False)
    for _ in range(4):
        detector.publish()
    page.connect()
    page.hear(detector.publish())  # 4, which might follow a gap of two
    page.ask()
    assert page.ids() == [f"p{number}" for number in range(7)]
    assert page.anew == 1


def test_what_waited_when_the_detector_began_anew_is_kept_before_what_is_new():
    detector = Detector()
    page = Page(detector)
    page.hear(detector.publish())
    detector.publish()
    page.hear(detector.publish())  # 2 waits for 1, which dies with its detector
    detector.restart(keeps=False)
    detector.publish()
    page.connect()
    page.hear(detector.publish())
    page.ask()
    assert page.ids() == ["p0", "p2", "p3", "p4"]
    assert page.anew == 1


def test_what_came_live_and_has_left_the_history_is_not_lost():
    detector = Detector(1)
    page = Page(detector)
    page.hear(detector.publish())
    detector.publish()
    page.hear(detector.publish())
    detector.publish()
    page.ask()
    assert page.ids() == ["p0", "p2", "p3"]
    assert [hole.lost for hole in page.holes] == [1]


def test_a_page_that_is_new_has_missed_nothing():
    detector = Detector(3)
    for _ in range(10):
        detector.publish()
    page = Page(detector)
    page.connect()
    page.ask()
    assert page.ids() == ["p7", "p8", "p9"]
    assert page.holes == []


def test_what_waits_is_bounded_by_its_bytes_without_a_map_too(monkeypatch):
    detector = Detector()
    page = Page(detector)
    page.hear(detector.publish())
    size = len(detector.publish().packed)
    monkeypatch.setattr("streamer.following.gaps._BUFFERED_BYTES", 10 * size)
    for _ in range(40):
        page.hear(detector.publish())
    assert len(page.gaps._topics.get(TOPIC).waiting) in {9, 10}
    page.ask()
    assert page.ids() == [f"p{number}" for number in range(42)]


def test_what_waits_is_bounded():
    detector = Detector()
    page = Page(detector)
    page.hear(detector.publish())
    detector.publish()
    for _ in range(3000):
        page.hear(detector.publish())
    assert len(page.gaps._topics.get(TOPIC).waiting) == 2000
    page.ask()
    assert page.ids() == [f"p{number}" for number in range(3002)]
    assert sum(hole.lost for hole in page.holes) == 0
