"""A ring's features in parts: the stream is that of one store to the last bit, whatever is configured."""

import tracemalloc

import numpy as np
import pytest
from crossed_support import CrossedOptions
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from sharded_support import Twins, assert_same_bits, local_maker, local_store
from stream_support import detector, images

from musc_online import nearest, snapshot
from musc_online.arrays import Geometry
from musc_online.codes import encode
from musc_online.nearest import sharded
from musc_online.nearest.sharded import LocalPart, ShardedStore, divide
from musc_online.ring_setup import StoreWanted

N_PARTS = st.integers(1, 5)


class ShardedCrossedOptions(CrossedOptions):
    """The oracle's stream, in parts and in one store; at a restart each begins from the other's snapshot."""

    @initialize(n_parts=N_PARTS)
    def parts(self, n_parts):
        self.n_parts = n_parts

    def new_detector(self):
        twins = Twins(self.config, self.make_store)
        twins.clock = self.clock
        return twins

    def make_store(self, config, geometry):
        return local_maker(self.n_parts)(config, geometry)

    def a_second_a_subset(self):
        super().a_second_a_subset()
        store = self.detector.plain.ring.store
        match = type(store).match

        def timed(*arguments):
            match(store, *arguments)
            self.clock.now += 1.0

        store.match = timed

    @invariant()
    def the_same_is_there(self):
        super().the_same_is_there()
        if hasattr(self, "detector") and self.detector.ring is not None:
            ring = self.detector.plain.ring  # whoever is asked for references may look for them first
            for slot in ring.slot_of.values():
                ring.references(slot)

    @precondition(lambda self: hasattr(self, "detector"))
    @rule()
    def compare_state(self):
        self.detector.assert_same_state()

    @precondition(lambda self: self.detector.ring is not None)
    @rule(n_parts=N_PARTS)
    def restart(self, n_parts):
        self.detector.take_finals()
        self.detector.assert_same_state()
        of_parts, of_one = snapshot.capture(self.detector), snapshot.capture(self.detector.plain)
        self.n_parts = n_parts
        self.detector = self.new_detector()
        snapshot.restore(self.detector, of_one)
        snapshot.restore(self.detector.plain, of_parts)
        self.a_second_a_subset()


TestShardedCrossedOptions = ShardedCrossedOptions.TestCase
TestShardedCrossedOptions.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


class TestManyShardedCrossedOptions(ShardedCrossedOptions.TestCase):
    """The same, far longer."""

    settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
    pytestmark = pytest.mark.slow


@settings(max_examples=40)
@given(data=st.data())
def test_a_store_in_parts_is_one_store(data):
    """Any matcher, shape, mask, slots, size of blocks; overwritten, gathered, scattered elsewhere."""
    side = data.draw(st.sampled_from([3, 4, 11]), "side")  # the last: patches enough for coarse features
    n_slots = data.draw(st.integers(1, 9), "slots")
    geometry = Geometry(2, (1, 3), side * side, data.draw(st.sampled_from([7, 24, 64]), "channels"),
                        position=data.draw(st.sampled_from([None, None, 1]), "position"))  # fmt: skip
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), "seed"))
    ignored = rng.random((2, side * side)) < 0.2 if data.draw(st.booleans(), "masked") else None
    matcher = data.draw(st.sampled_from(["gemm", "faiss", "auto"]), "matcher")
    wanted = StoreWanted(matcher, n_slots, data.draw(st.integers(1, n_slots), "subsets"), geometry, ignored)
    one = nearest.create(matcher, n_slots, geometry, ignored=ignored)
    other = local_store(wanted, data.draw(N_PARTS, "parts"), queued=data.draw(st.booleans(), "queued"))
    assert (other.name, other.nbytes) == (one.name, one.nbytes)
    tokens = rng.normal(size=(n_slots + 2, 2, side * side, geometry.n_channels)).astype(np.float32)
    for image in rng.permutation(n_slots + 2).tolist():
        for store in (one, other):
            store.put(image % n_slots, store.prepare(tokens[image]))
    slots = rng.permutation(n_slots)[: data.draw(st.integers(0, n_slots), "matched")]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sharded, "BLOCK_BYTES", data.draw(st.sampled_from([1, 5000, 2**25]), "block"))
        state = other.state()
        again = local_store(wanted, data.draw(N_PARTS, "parts again"), queued=False)
        again.restore(state)
    assert list(state) == list(one.state())
    for name, array in one.state().items():
        assert_same_bits(state[name], array)
    arrival = data.draw(st.integers(0, n_slots - 1), "arrival")
    shape = (len(slots), *geometry.shape)
    for features in ("prepared", "kept"):
        found = []
        for store in (one, other, again):
            of = store.prepare(tokens[0]) if features == "prepared" else store.features(arrival)
            ways = [np.full(shape, np.nan, np.float32) for _ in range(2)]
            store.match(of, slots, *ways)
            found.append(ways)
        for way in range(2):
            assert_same_bits(encode(found[1][way]), encode(found[0][way]))
            assert_same_bits(encode(found[2][way]), encode(found[0][way]))
            np.testing.assert_allclose(found[1][way], found[0][way], atol=1.6e-5)


@given(n_slots=st.integers(1, 60), n_parts=st.integers(1, 9), n_subsets=st.integers(1, 9))
def test_parts_have_as_many_slots_of_the_ring_and_of_each_subset(n_slots, n_parts, n_subsets):
    n_subsets = min(n_subsets, n_slots)
    divided = divide(n_slots, n_parts, n_subsets)
    assert len(divided) == min(n_parts, n_slots)
    assert sorted(np.concatenate(divided).tolist()) == list(range(n_slots))
    for mask in ([True] * n_subsets, *np.eye(n_subsets, dtype=bool).tolist()):
        sizes = [sum(mask[slot % n_subsets] for slot in slots.tolist()) for slots in divided]
        assert max(sizes) - min(sizes) <= 1
    if n_subsets == 1:
        assert [slots.tolist() for slots in divided] == [
            list(range(part, n_slots, n_parts)) for part in range(len(divided))
        ]


WANTED = StoreWanted("gemm", 5, 1, Geometry(1, (1,), 121, 8), None)


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        (lambda state: state.pop("norms"), r"got \['residuals', 'tokens'\], expected"),
        (lambda state: state.update(more=np.zeros(5)), "got .*more.*, expected"),
        (lambda state: state.update(tokens=state["tokens"][:-1]), r"int16 \(4, .*expected int16 \(5,"),
        (lambda state: state.update(norms=state["norms"].astype(float)), "float64.*expected float32"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, refused):
    store = local_store(WANTED, 2, queued=True)
    store.put(3, store.prepare(np.random.default_rng(0).normal(size=(1, 121, 8)).astype(np.float32)))
    before = store.state()
    assert before["tokens"][3].any()
    wrong = {name: np.zeros_like(array) for name, array in before.items()}
    change(wrong)
    with pytest.raises(ValueError, match=refused):
        store.restore(wrong)
    for name, array in store.state().items():
        assert_same_bits(array, before[name])


class Watched:
    """A part that says what it is asked in which order."""

    def __init__(self, number, log):
        self.number, self.log = number, log

    def match(self, features, slots):
        self.log.append(("begin", self.number, slots.tolist()))

        def found():
            self.log.append(("collect", self.number))
            # Of which slot a code is, can be seen in it.
            codes = (
                np.asarray(slots)[:, None, None, None] * 10 + self.number + np.zeros(WANTED.geometry.shape)
            )
            return np.stack([codes, codes + 100]).astype(np.uint16)

        return found


def test_all_parts_begin_before_one_is_waited_for_and_answers_come_in_the_order_asked():
    log = []
    divided = divide(7, 3)
    store = ShardedStore("gemm", WANTED.geometry, divided, [Watched(number, log) for number in range(3)])
    ways = [np.zeros((5, *WANTED.geometry.shape), np.float32) for _ in range(2)]
    store.match(None, [6, 1, 4, 0, 3], *ways)
    assert log == [("begin", 0, [2, 0, 1]), ("begin", 1, [0, 1]), ("collect", 0), ("collect", 1)]
    assert encode(ways[0])[:, 0, 0, 0].tolist() == [20, 1, 11, 0, 10]
    assert encode(ways[1])[:, 0, 0, 0].tolist() == [120, 101, 111, 100, 110]


def test_an_error_in_a_part_is_raised_where_it_is_asked():
    store = local_store(WANTED, 2, queued=True)
    store.put(1, lambda: (_ for _ in ()).throw(MemoryError("no room")))
    ways = [np.zeros((1, *WANTED.geometry.shape), np.float32) for _ in range(2)]
    features = store.prepare(np.ones((1, 121, 8), np.float32))
    store.match(features, [0], *ways)  # the other part
    with pytest.raises(MemoryError, match="no room"):
        store.match(features, [1], *ways)


def test_features_of_parts_are_nowhere_else():
    geometry = Geometry(4, (1, 3, 5), 256, 384)
    divided = divide(200, 3)
    tracemalloc.start()
    try:
        store = ShardedStore("gemm", geometry, divided, [Watched(number, []) for number in range(3)])
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert store.nbytes == nearest.price("gemm", 200, geometry) > 100 * 2**20
    assert held < 8 * 2**20  # a thread's working memory


def test_features_on_a_device_are_not_divided():
    class Elsewhere:
        def state(self):
            return {"maps": np.zeros(3)}

    with pytest.raises(ValueError, match="store on a device"):
        LocalPart(Elsewhere(), WANTED.geometry)


def test_what_was_gathered_is_not_copied_once_more():
    tokens, class_tokens = images(0, 3)
    made = detector(3)
    made.make_store = local_maker(2)
    plain = detector(3)
    for image in range(3):
        for one in (made, plain):
            one.step_tokens(tokens[:, image], class_tokens[image], image)
    gathered = made.ring.store.state()
    made.ring.store.state = lambda: gathered
    assert snapshot.capture(made).arrays["store.tokens"] is gathered["tokens"]
    kept = plain.ring.store.state()["tokens"]
    assert not np.shares_memory(snapshot.capture(plain).arrays["store.tokens"], kept)
