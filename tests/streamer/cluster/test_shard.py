"""Shards as real actors: the stream is that of one process, and what is lost with one of them is told."""

import gc
import os
import signal
from copy import deepcopy
from dataclasses import replace

import numpy as np
import psutil
import pytest
import ray
from line_support import Product
from sharded_support import Twins
from streamer_support import until

from musc_online import snapshot
from musc_online.config import load
from musc_online.config_service import Engine
from musc_online.detector import Detector
from streamer.cluster import shard as shards
from streamer.cluster.shard import ShardLostError, ShardsWanted, store_maker
from streamer.cluster.start import connect


@pytest.fixture(scope="module")
def cluster():
    """Of our own, as `serve --engine ray` starts it."""
    failures = []
    cluster = connect(Engine(name="ray"), failures.append)
    yield cluster
    cluster.close()
    assert not failures


@pytest.fixture(scope="module")
def three(cluster):
    maker = store_maker(ShardsWanted.of(cluster, 3, 1.0))
    yield maker
    maker.close()


def pids(maker):
    return [one["pid"] for one in maker.status()]


def is_gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def settings(**sections):
    ring = {"capacity": 7, **sections.pop("ring", {})}
    return load({"ring": ring, "revise": {"every": 3}, "warmup": 4, "output": {"map_size": 16}, **sections})


def play(twins, n_frames=40, side=4, n_channels=24):
    """A stream with defects, revised when due, with an operator's words; every step compared by `twins`."""
    product = Product(0) if (side, n_channels) == (4, 24) else None
    rng = np.random.default_rng(7)
    for number in range(n_frames):
        if product is None:
            tokens = rng.normal(size=(2, side * side, n_channels)).astype(np.float32)
        else:
            tokens = product.damaged(product.defect(0)) if number % 9 == 8 else product.part()
        twins.step_tokens(tokens, np.abs(rng.normal(size=6)).astype(np.float32), number)
        twins.take_events()
        if number == 12:
            twins.operators.pin(number)
            twins.operators.confirm(number - 1, "good")
        if number % 11 == 10:
            twins.operators.forget(next(iter(twins.ring.slot_of)))
        if twins.revise_due:
            twins.revise()
        twins.take_finals()
        twins.check_invariants()


QUARANTINE = {"admit": "quarantine", "quarantine": 3}
STREAMS = {
    "coarse features": ({"method": {"degrees": [1, 3]}}, 11, 70),
    "quarantine": ({"ring": QUARANTINE}, 4, 24),
    "faiss": ({"ring": {"matcher": "faiss", **QUARANTINE}}, 4, 24),
    "nearest": ({"warmup": 2, "ring": {"nearest": 2, "keep": 2, **QUARANTINE}}, 4, 24),
    "subsets and position": (
        {"ring": {"subsets": 3, "score_against": 2}, "method": {"position": 1}, "ignore": [
            [[0.0, 0.0], [0.5, 0.0], [0.5, 0.5], [0.0, 0.5]]]}, 4, 24),
}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
def test_every_step_is_that_of_one_process(three, name):
    sections, side, n_channels = STREAMS[name]
    backbone = {"image_size": 14 * side}
    twins = Twins(settings(backbone=backbone, **sections), three)
    play(twins, 25, side, n_channels)
    twins.flush()
    twins.assert_same_state()
    assert len(set(pids(three)) - {os.getpid()}) == 3


@pytest.mark.slow
def test_a_snapshot_of_three_shards_is_restored_to_none_and_to_two(cluster, three):
    wanted = settings(ring=QUARANTINE)
    twins = Twins(wanted, three)
    play(twins, 20)
    saved = snapshot.capture(twins)
    two = store_maker(ShardsWanted.of(cluster, 2, 1.0))
    again, alone = Twins(wanted, two), Detector(wanted)
    for one in (again, again.plain, alone):
        snapshot.restore(one, deepcopy(saved))
    product = Product(1)
    for number in range(100, 110):
        part = product.part()
        score = twins.step_tokens(part, np.ones(6, np.float32), number)
        for other in (again, alone):
            assert other.step_tokens(part, np.ones(6, np.float32), number).raw_score == score.raw_score
    again.assert_same_state()
    ended = pids(two)
    two.close()
    until(lambda: all(map(is_gone, ended)))


def test_a_store_that_was_given_up_leaves_the_shards_when_another_is_made(three):
    def kept():
        return [ray.get(one.kept.remote()) for one in three._shards]

    gc.collect()
    first = Twins(settings(), three)
    play(first, 10)
    second = Twins(settings(), three)  # of a reset, or of a snapshot that may yet be refused
    play(second, 10)
    play_on = first.step_tokens(Product(3).part(), np.ones(6, np.float32), "more")
    assert play_on.raw_score is not None
    assert all(len(numbers) == 2 for numbers in kept())
    first.ring = second.ring = None
    third = Twins(settings(), three)
    play(third, 5)
    assert all(len(numbers) == 1 for numbers in kept())


@pytest.mark.slow
def test_a_shard_that_is_killed_fails_the_step_and_every_later_one(cluster):
    wanted = settings(ring=QUARANTINE)
    maker = store_maker(ShardsWanted.of(cluster, 2, 1.0))
    twins = Twins(wanted, maker)
    play(twins, 10)
    saved = snapshot.capture(twins)
    victim, other = pids(maker)
    os.kill(victim, signal.SIGKILL)
    product = Product(5)
    for number in range(3):
        with pytest.raises(ShardLostError, match=r"^engine.shards: a shard is gone \(\w+\)$"):
            Detector.step_tokens(twins, product.part(), np.ones(6, np.float32), f"lost-{number}")
    with pytest.raises(ShardLostError, match="a shard is gone"):
        snapshot.capture(twins)
    fresh = Detector(wanted, make_store=maker)
    with pytest.raises(ShardLostError, match="a shard is gone"):  # and not that the snapshot is of no use
        snapshot.restore(fresh, saved)
    maker.close()
    until(lambda: is_gone(other))
    again = store_maker(ShardsWanted.of(cluster, 2, 1.0))
    back = Twins(wanted, again)
    for one in (back, back.plain):
        snapshot.restore(one, deepcopy(saved))
    back.step_tokens(product.part(), np.ones(6, np.float32), "back")
    back.assert_same_state()
    again.close()


def test_an_image_that_was_not_kept_is_told_before_any_result(three):
    detector = Detector(settings(), make_store=three)
    product = Product(2)
    for number in range(4):
        detector.step_tokens(product.part(), np.ones(6, np.float32), number)
    store = detector.ring.store
    with pytest.raises(KeyError, match="nothing of this name"):
        store._parts[0].read("nothing of this name", 0, 1)()
    detector.step_tokens(
        product.part(), np.ones(6, np.float32), 4
    )  # an error of one call is that call's alone
    store.put(0, ray.put("no features"))
    for _ in range(2):
        with pytest.raises(ShardLostError, match="an image was not kept"):
            detector.step_tokens(product.part(), np.ones(6, np.float32), "new")


@pytest.mark.slow
def test_no_room_for_a_shard_is_one_line(cluster, monkeypatch):
    monkeypatch.setattr(shards, "_START_S", 3.0)

    wanted = ShardsWanted.of(cluster, 2, 512.0)
    maker = store_maker(replace(wanted, options={**wanted.options, "num_cpus": 512.0}))
    detector = Detector(settings(), make_store=maker)
    with pytest.raises(
        ShardLostError, match="no node had room for 2 shards of 512 CPUs within 3 s; add a node"
    ):
        detector.step_tokens(Product(0).part(), np.ones(6, np.float32), 0)
    maker.close()


def line_class():
    """Of a line as far as its shards go; made here, so that it goes to a worker that knows no tests."""

    class Line:
        def __init__(self, config, wanted):
            self.maker = store_maker(wanted)
            self.detector = Detector(config, make_store=self.maker)

        def show(self, tokens):
            self.detector.step_tokens(tokens, np.ones(6, np.float32), "one")
            return os.getpid(), self.maker.status()

    return Line


@pytest.mark.parametrize("end", ["killed", pytest.param("let go", marks=pytest.mark.slow)])
def test_shards_end_with_their_line(cluster, end):
    line = (
        ray.remote(line_class())
        .options(**cluster.options(1.0))
        .remote(settings(), ShardsWanted.of(cluster, 2, 1.0))
    )
    pid, status = ray.get(line.show.remote(Product(0).part()))
    of_shards = [one["pid"] for one in status]
    assert len({pid, os.getpid(), *of_shards}) == 4
    assert {one["node"] for one in status} == {ray.get_runtime_context().get_node_id()}
    assert not any(map(is_gone, of_shards))
    if end == "killed":
        os.kill(pid, signal.SIGKILL)
    else:
        del line
    until(lambda: all(map(is_gone, [pid, *of_shards])))
