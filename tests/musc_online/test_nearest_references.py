"""`nearest`: a frame against the K that look most like it. Batch, stream, table, retrieval, snapshot."""

import time

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from stream_support import detector, images

from musc_online import msm, revision, snapshot
from musc_online.errors import CapacityError, FrameError
from musc_online.retrieval import LENGTH, Retrieval
from musc_online.ring_nearest import NearestRing
from musc_online.table import SparseTable


def alike(rng, n_images, width):
    """Class tokens that point about the same way, some of them twice."""
    tokens = rng.normal(size=(n_images, width)) * 0.2 + 1.0
    tokens[n_images // 2] = tokens[0]
    return tokens.astype(np.float32)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 99),
    n_images=st.integers(2, 9),
    nearest=st.integers(1, 10),
    degrees=st.sampled_from([(1,), (1, 3)]),
    matcher=st.sampled_from(["gemm", "faiss"]),
)
def test_the_batch_is_the_oracles(seed, n_images, nearest, degrees, matcher):
    rng = np.random.default_rng(seed)
    tokens = rng.normal(size=(2, n_images, 9, 12)).astype(np.float32)
    class_tokens = alike(rng, n_images, 5)
    options = {"nearest": nearest, "class_tokens": class_tokens, "matcher": matcher}
    expected = naive.mutual_scores(tokens, degrees, nearest=nearest, class_tokens=class_tokens)
    assert np.abs(msm.mutual_scores(tokens, degrees, **options) - expected).max() <= 1e-4
    little = msm.mutual_scores(tokens, degrees, **options, max_bytes=1)
    assert np.abs(little - expected).max() <= 1e-4


def test_as_many_as_there_are_is_all():
    tokens, class_tokens = images(1, 7)
    everyone = msm.mutual_scores(tokens, (1, 3))
    assert np.array_equal(msm.mutual_scores(tokens, (1, 3), nearest=6, class_tokens=class_tokens), everyone)
    assert np.array_equal(msm.mutual_scores(tokens, (1, 3), nearest=99, class_tokens=class_tokens), everyone)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"nearest": 2}, r"class_tokens: got none, expected \[5, D\]"),
        ({"nearest": 2, "class_tokens": np.ones((4, 3))}, r"got \(4, 3\), expected \[5, D\]"),
        ({"nearest": 2, "class_tokens": np.full((5, 3), np.nan)}, "finite"),
        ({"nearest": 0, "class_tokens": np.ones((5, 3))}, "nearest: got 0, expected at least 1"),
    ],
)
def test_what_cannot_be_retrieved_is_told(options, says):
    tokens, _ = images(0, 5)
    with pytest.raises(FrameError, match=says):
        msm.mutual_scores(tokens, (1,), **options)


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 99),
    n_images=st.integers(2, 12),
    nearest=st.integers(1, 6),
    spares=st.integers(0, 3),
    matcher=st.sampled_from(["gemm", "faiss"]),
    every=st.integers(1, 5),
)
def test_a_stream_ends_in_its_batch_in_any_order(seed, n_images, nearest, spares, matcher, every):
    tokens, class_tokens = images(seed, n_images)
    stream = detector(
        max(2, n_images),
        matcher,
        ring={"nearest": nearest, "keep": nearest + spares},
        revise={"every": every},
        warmup=1,
        method={"degrees": [1, 3]},
    )
    order = np.random.default_rng(seed).permutation(n_images)
    for image in order:
        stream.step_tokens(tokens[:, image], class_tokens[image], int(image))
        stream.check_invariants()
        if stream.revise_due:
            stream.revise()
    expected = msm.mutual_scores(tokens, (1, 3), nearest=nearest, class_tokens=class_tokens)
    for score in stream.flush():
        assert np.abs(score.patch_scores - expected[score.frame_id]).max() <= 1e-4
        assert score.n_references == min(nearest, n_images - 1)


@pytest.mark.parametrize("admit", ["all", "quarantine"])
def test_a_long_stream_knows_what_a_new_one_would(admit):
    """Frames leave all the time; after it the ring scores as one that saw only those that are left."""
    rng = np.random.default_rng(5)
    tokens = rng.normal(size=(2, 90, 16, 24)).astype(np.float32)
    class_tokens = rng.normal(size=(90, 6)).astype(np.float32)
    stream = detector(
        20, ring={"nearest": 4, "keep": 6, "admit": admit, "quarantine": 5}, revise={"every": 7}, warmup=2
    )
    for image in range(90):
        stream.step_tokens(tokens[:, image], class_tokens[image], image)
        stream.check_invariants()
        if stream.revise_due:
            stream.revise()
        stream.take_finals()
    ring = stream.ring
    there = [known for known, slot in ring.slot_of.items() if slot not in ring.quarantined]
    table = naive.nearest_table(tokens[:, :, :, :].astype(np.float64)[:, there], (1, 3, 5))
    for image in there[::4]:
        others = naive.most_alike(class_tokens, image, [one for one in there if one != image], 4)
        at = there.index(image)
        expected = naive.patch_scores(table, at, [there.index(other) for other in others])
        assert np.abs(ring.patch_scores(ring.slot(image)) - expected).max() <= 1e-4


def test_memory_is_linear_in_capacity():
    bytes_of = {}
    for capacity in (100, 200, 400):
        stream = detector(capacity, ring={"nearest": 8, "keep": 16}, warmup=1)
        tokens, class_tokens = images(0, 1)
        stream.step_tokens(tokens[:, 0], class_tokens[0], 0)
        bytes_of[capacity] = stream.status()["bytes"] - stream.ring._forward.nbytes * 2
    assert bytes_of[400] - bytes_of[200] == 2 * (bytes_of[200] - bytes_of[100])
    assert isinstance(stream.ring, NearestRing)


def test_a_small_ring_has_no_room_for_more_partners_than_there_are():
    tokens, class_tokens = images(0, 1)
    sizes = []
    for keep in (9, 64):
        stream = detector(8, ring={"nearest": 4, "keep": keep}, warmup=1)
        stream.step_tokens(tokens[:, 0], class_tokens[0], 0)
        sizes.append(stream.status()["bytes"])
    assert sizes[0] == sizes[1]


def test_a_snapshot_goes_on_to_the_same_bytes(tmp_path):
    tokens, class_tokens = images(3, 40)
    options = {
        "ring": {"nearest": 4, "keep": 5, "admit": "quarantine", "quarantine": 4},
        "revise": {"every": 3},
        "warmup": 2,
    }

    def run(stream, some):
        said = []
        for image in some:
            said.append(stream.step_tokens(tokens[:, image], class_tokens[image], image))
            said += stream.revise() if stream.revise_due else []
        return said

    whole, first = detector(12, **options), detector(12, **options)
    run(whole, range(25))
    run(first, range(25))
    snapshot.write(snapshot.capture(first), tmp_path / "line.safetensors")
    second = detector(12, **options)
    snapshot.restore(second, snapshot.read(tmp_path / "line.safetensors"))
    second.check_invariants()
    for one, other in zip(run(whole, range(25, 40)), run(second, range(25, 40)), strict=True):
        assert one.raw_score == other.raw_score
        assert np.array_equal(one.patch_scores, other.patch_scores)
    fewer = detector(12, **{**options, "ring": {**options["ring"], "nearest": 3}})
    with pytest.raises(snapshot.SnapshotError, match="ring: got"):
        snapshot.restore(fewer, snapshot.read(tmp_path / "line.safetensors"))


def test_identical_frames_are_no_one_elses_burden():
    """300 of a kind: each is scored against K of them, the oldest, and the table stays small."""
    tokens, class_tokens = images(0, 1)
    stream = detector(300, ring={"nearest": 3, "keep": 4}, warmup=1)
    for number in range(60):
        score = stream.step_tokens(tokens[:, 0], class_tokens[0], number)
    assert score.n_references == 3
    assert score.raw_score == 0.0
    assert stream.ring.references(stream.ring.slot(59)).tolist() == [0, 1, 2]


def test_a_ring_that_was_emptied_still_knows_how_wide_class_tokens_are():
    tokens, class_tokens = images(0, 2)
    stream = detector(4, ring={"nearest": 2}, warmup=1)
    stream.step_tokens(tokens[:, 0], class_tokens[0], 0)
    stream.operators.forget(0)
    with pytest.raises(FrameError, match=r"and \(9,\), expected \(2, 16, 24\) and \(6,\) as in the ring"):
        stream.step_tokens(tokens[:, 1], np.ones(9, np.float32), 1)
    assert stream.step_tokens(tokens[:, 1], class_tokens[1], 1).raw_score is None


def test_what_would_fit_names_what_is_remembered_too():
    with pytest.raises(CapacityError, match=r"ring.keep \(1000000\) nearer to ring.nearest \(2\)"):
        detector(500, ring={"nearest": 2, "keep": 1_000_000, "max_bytes": "1MiB"}, warmup=1)


class Lists(RuleBasedStateMachine):
    """Frames come, go and change places; each list is what a search by plain arithmetic finds."""

    @initialize(seed=st.integers(0, 9), n_slots=st.integers(2, 9), keep=st.integers(1, 5))
    def start(self, seed, n_slots, keep):
        self.rng, self.n_slots, self.keep = np.random.default_rng(seed), n_slots, keep
        self.retrieval, self.held, self.arrivals = Retrieval(n_slots, keep), {}, 0

    @precondition(lambda self: len(self.held) < self.n_slots)
    @rule(eligible=st.booleans(), again=st.booleans(), count=st.integers(1, 3))
    def put(self, eligible, again, count):
        slot = next(slot for slot in range(self.n_slots) if slot not in self.held)
        token = self.rng.normal(size=4).astype(np.float32)
        if again and self.held:
            token = next(iter(self.held.values()))[0] * np.float32(2.0)
        count = min(count, self.keep)
        before = {other: set(self.expected(other, count)) for other in self.held}
        entered = self.retrieval.put(
            slot, self.retrieval.look(token), self.arrivals, eligible=eligible, count=count
        )
        self.held[slot] = [token, self.arrivals, eligible]
        self.arrivals += 1
        now = [other for other in before if slot in self.expected(other, count)]
        # Where a list has run short it is not known: what is missing is matched when it is asked for.
        short = [other for other in now if self.retrieval.depths[other] < count]
        assert set(entered.tolist()) <= set(now)
        assert set(now) - set(entered.tolist()) <= set(short)

    @precondition(lambda self: self.held)
    @rule(pick=st.integers(0, 8), drop=st.booleans())
    def change(self, pick, drop):
        slot = list(self.held)[pick % len(self.held)]
        if drop:
            self.retrieval.drop(slot)
            del self.held[slot]
        else:
            self.held[slot][2] = not self.held[slot][2]
            self.retrieval.change(slot, eligible=self.held[slot][2])

    @precondition(lambda self: self.held)
    @rule(pick=st.integers(0, 8), count=st.integers(1, 5))
    def ask(self, pick, count):
        slot = list(self.held)[pick % len(self.held)]
        count = min(count, self.keep)
        assert self.retrieval.nearest(slot, count).tolist() == self.expected(slot, count)

    @invariant()
    def lists_are_right(self):
        if hasattr(self, "retrieval"):
            self.retrieval.check_invariants()

    def expected(self, slot, count):
        def whole(token):
            norm = np.sqrt((token.astype(np.float64) ** 2).sum())
            return [int(value) for value in np.rint(token.astype(np.float64) * (LENGTH / norm))]

        mine = whole(self.held[slot][0])
        ranked = [
            (-sum(a * b for a, b in zip(mine, whole(token), strict=True)), arrival, other)
            for other, (token, arrival, eligible) in self.held.items()
            if other != slot and eligible
        ]
        return [other for _, _, other in sorted(ranked)[:count]]


TestLists = Lists.TestCase
TestLists.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_full_table_forgets_who_looks_least_like_the_frame():
    table = SparseTable(6, 2, 1, 4)
    held, arrivals = np.array([False, False, False, False, True, True]), np.arange(6)

    def put(other, likeness):
        one = np.array([0])
        table.put(
            one, np.array([other]), np.full((1, 4), other, np.uint16), np.array([likeness]), held, arrivals
        )

    put(1, 0.5)
    put(2, 0.7)
    put(4, 0.1)
    assert table.missing(0, np.array([1, 2, 3, 4])).tolist() == [3]
    put(3, 0.4)  # less alike than both
    put(5, 0.05)
    assert table.missing(0, np.arange(1, 6)).tolist() == [3, 5]
    put(3, 0.6)
    assert table.missing(0, np.arange(1, 6)).tolist() == [1, 5]
    codes, rows = table.rows(0, np.array([4, 3]))
    assert codes[rows, 0].tolist() == [4, 3]
    table.forget(3)
    assert table.missing(0, np.arange(1, 6)).tolist() == [1, 3, 5]


def test_frames_without_room_in_the_table_are_matched_by_one_thread_and_once():
    """What is matched goes through one piece of memory: two threads in it would mix two frames' distances."""
    stream = detector(
        6,
        ring={"nearest": 2, "keep": 2, "admit": "quarantine", "quarantine": 8},
        revise={"every": 99},
        warmup=1,
    )
    tokens, _ = images(0, 14)
    for image in range(14):
        stream.step_tokens(tokens[:, image], np.ones(3, np.float32), image)
    ring = stream.ring
    # As after frames changed their kind: more is asked for than there is room.
    wanted = {
        slot: np.array([other for other in ring.slot_of.values() if other != slot], np.intp)
        for slot in ring.slot_of.values()
    }
    alone = {slot: ring.patch_scores(slot, others) for slot, others in wanted.items()}
    ring.table.partners[:] = -1
    matched, inside, match = [], [], ring.store.match

    def watched(features, slots, forward, backward):
        assert not inside
        inside.append(True)
        time.sleep(0.002)
        match(features, slots, forward, backward)
        matched.extend(slots.tolist())
        inside.pop()

    ring.store.match = watched
    found = dict(zip(wanted, revision._patch_scores(ring, wanted), strict=True))
    assert len(matched) == len(wanted) * (len(wanted) - 1) // 2
    for slot, scores in alone.items():
        assert np.array_equal(found[slot], scores)
