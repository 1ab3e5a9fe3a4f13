"""A stream whose features lie in parts, held to the same stream in one store, to the last bit."""

from dataclasses import fields

import numpy as np

from musc_online import nearest, snapshot
from musc_online.detector import Detector
from musc_online.nearest.sharded import LocalPart, ShardedStore, divide
from musc_online.ring_setup import store_wanted


class Later:
    """What a queue of work will give; to ask for it works the queue off."""

    def __init__(self, queue, work):
        self.queue, self.work, self.found = queue, work, []

    def __call__(self):
        while not self.found:
            first = self.queue.pop(0)
            first.found.append(first.work())
        return self.found[0]


class QueuedPart:
    """A part that does nothing before a result is asked for, then everything in order; as an actor may."""

    def __init__(self, part):
        self.part, self.queue = part, []

    def _later(self, work):
        self.queue.append(Later(self.queue, work))
        return self.queue[-1]

    def put(self, slot, features):
        self._later(lambda: self.part.put(slot, features()))

    def features(self, slot):
        return self._later(lambda: self.part.features(slot))

    def match(self, features, slots):
        return self._later(lambda: self.part.match(features(), slots)())  # noqa: PLW0108

    def read(self, name, first, last):
        return self._later(lambda: self.part.read(name, first, last)().copy())

    def write(self, name, first, rows):
        rows = rows.copy()
        return self._later(lambda: self.part.write(name, first, rows)())  # noqa: PLW0108


def local_store(wanted, n_parts, *, queued):
    """A sharded store of parts in this process, of `store_wanted`."""
    divided = divide(wanted.n_slots, n_parts, wanted.n_subsets)
    parts = [
        LocalPart(
            nearest.create(wanted.matcher, len(slots), wanted.geometry, ignored=wanted.ignored),
            wanted.geometry,
        )
        for slots in divided
    ]
    if not queued:
        return ShardedStore(wanted.matcher, wanted.geometry, divided, parts)
    parts = [QueuedPart(part) for part in parts]
    return ShardedStore(
        wanted.matcher, wanted.geometry, divided, parts, share=lambda features: lambda: features
    )


def local_maker(n_parts, *, queued=True):
    return lambda config, geometry: local_store(store_wanted(config, geometry), n_parts, queued=queued)


class Twins(Detector):
    """A detector with a store of its own making, whose every step a plain one takes too."""

    clock = None
    """Of a test that stops the time; both see the same."""

    def __init__(self, config, make_store):
        super().__init__(config, make_store=make_store)
        self.plain = Detector(config)

    def step_tokens(self, *arguments, **named):
        return self._both(lambda one: Detector.step_tokens(one, *arguments, **named))

    def revise(self):
        return self._both(Detector.revise)

    def flush(self):
        return self._both(Detector.flush)

    def take_finals(self):
        return self._both(Detector.take_finals)

    def take_events(self):
        return self._both(Detector.take_events)

    @property
    def operators(self):
        return _Words(self)

    def assert_same_state(self):
        """What they keep is the same; what hangs on memory is said alike."""
        assert self.status() == self.plain.status()
        if self.ring is not None:
            assert_same_snapshot(snapshot.capture(self), snapshot.capture(self.plain))

    def _both(self, work):
        now = None if self.clock is None else self.clock.now
        plain = _outcome(work, self.plain)
        if self.clock is not None:
            self.clock.now = now
        own = _outcome(work, self)
        assert_same(own, plain)
        if isinstance(own, Exception):
            raise own
        return own


class _Words:
    def __init__(self, twins):
        self.twins = twins

    def __getattr__(self, name):
        def word(*arguments):
            return self.twins._both(lambda one: getattr(Detector.operators.fget(one), name)(*arguments))

        return word


def _outcome(work, detector):
    try:
        return work(detector)
    except Exception as error:
        return error


def assert_same(one, other):
    """Scores, or lists of them, alike to the last bit, but for how long they took; or alike refused."""
    assert type(one) is type(other), (one, other)
    if isinstance(one, Exception):
        assert str(one) == str(other)
    elif isinstance(one, list):
        assert len(one) == len(other)
        for ours, theirs in zip(one, other, strict=True):
            assert_same(ours, theirs)
    elif hasattr(one, "latency_ms"):
        for field in fields(one):
            if field.name != "latency_ms":
                assert_same_bits(getattr(one, field.name), getattr(other, field.name))
    else:
        assert one == other


def assert_same_bits(one, other):
    if isinstance(one, np.ndarray):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert one.tobytes() == other.tobytes()
    else:
        assert one == other


def assert_same_snapshot(one, other):
    assert list(one.arrays) == list(other.arrays)
    for name, array in one.arrays.items():
        assert_same_bits(array, other.arrays[name])
    assert {**one.state, "saved_ns": 0} == {**other.state, "saved_ns": 0}
