"""The pool of backbones on real Ray: the same tokens from whichever actor, and what becomes of dead ones."""

import os
import signal
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import numpy as np
import pytest
import ray
from ray._private.worker import global_worker
from streamer_support import backbone, picture, png, small_config, until
from structlog.testing import capture_logs

from musc_online import backbones
from musc_online.errors import WeightsError
from streamer.cluster import beginning, start
from streamer.cluster.exchange import Extracted
from streamer.cluster.member import Member
from streamer.cluster.pool import BackboneLostError, Pool, PoolClosedError
from streamer.errors import StreamerError
from streamer.server.stream import QueuedFrame, Stream
from streamer.wire.frame import FrameMessage

__all__ = ["backbone"]

BATCH = 2
FILL = 2 * BATCH


def config_of(**sections):
    return small_config(transport={"batch": BATCH}, **sections)


@pytest.fixture(scope="module")
def cluster():
    made = start.connect(config_of().engine, pytest.fail)
    yield made
    made.close()


@contextmanager
def started(cluster, **sections):
    pool = Pool(cluster, config_of(**sections), pytest.fail)
    try:
        yield pool, pool.start()
    finally:
        pool.stop()


@pytest.fixture(scope="module")
def one(cluster):
    with started(cluster) as (pool, identity):
        yield pool, identity


@pytest.fixture(scope="module")
def two(cluster):
    with started(cluster, engine={"backbones": 2}) as (pool, _):
        until(lambda: len(pids(pool)) == 2)
        yield pool


def queued(number, stream="line", payload=None):
    payload = png(picture(number)) if payload is None else payload
    return QueuedFrame(FrameMessage(stream, number, "png", payload), Stream(stream, config_of()), 0)


def pids(pool):
    """Of the actors that take frames."""
    return [member.pid for member in pool._members.up()]


def in_flight(pool):
    return sum(one["in_flight"] for one in pool.status())


def restarts(pool):
    return sum(one["restarts"] for one in pool.status())


@contextmanager
def stopped(pid):
    """An actor that does nothing, and is not dead."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def settle(pool):
    """Wait until nothing is under way: no frame, and nobody that is only being made."""
    pool.settle()
    until(lambda: in_flight(pool) == 0 and pids(pool) != [] and spare(pool) is not None)


def spare(pool):
    """Process id of an actor that has loaded all but weights; None while there is none."""
    found = pool._members._spare
    return found.pid if found is not None and found.step == "warm" else None


def assert_tokens(extraction, backbone, number):
    patch_tokens, class_tokens = backbone.extract(backbone.prepare(picture(number))[None])
    said = extraction.wait()
    assert (said.error, said.in_time, said.shape) == (None, True, (48, 64))
    found = ray.get(extraction.tokens)
    assert found[0].tobytes() == patch_tokens[:, 0].numpy().tobytes()
    assert found[1].tobytes() == class_tokens[0].numpy().tobytes()


def test_an_actor_gives_the_tokens_of_this_process(one, backbone):
    pool, identity = one
    assert (identity.fingerprint, identity.precision) == (backbone.fingerprint, backbone.precision)
    extractions = [pool.submit(queued(number)) for number in range(3 * FILL)]
    for number, extraction in enumerate(extractions):
        assert_tokens(extraction, backbone, number)
        assert extraction.node == pool.status()[0]["node"] == ray.get_runtime_context().get_node_id()
    assert in_flight(pool) == 0


def test_what_is_wrong_with_a_frame_comes_back_as_data(one):
    pool, _ = one
    bad, grey = queued(0, payload=b"no picture"), queued(1, payload=png(np.full((9, 9, 3), 7, np.uint8)))
    said = pool.submit(bad).wait()
    assert (said.error[0], said.in_time) == ("undecodable", True)
    said = pool.submit(queued(2, payload=b"")).wait()
    assert (said.error[0], said.in_time) == ("undecodable", True)
    said = pool.submit(grey).wait()
    assert (said.error, [code for code, _ in said.warnings]) == (None, ["constant_image"])


def test_raw_pixels_are_read_where_ray_has_them(one, backbone):
    pool, _ = one
    pixels = picture(3, 600, 800)
    message = FrameMessage("line", 3, "raw", pixels.tobytes(), shape=pixels.shape)
    extraction = pool.submit(QueuedFrame(message, Stream("line", config_of()), 0))
    assert (extraction.wait().error, extraction.wait().shape) == (None, (600, 800))
    expected = backbone.extract(backbone.prepare(pixels)[None])[0][:, 0].numpy()
    assert ray.get(extraction.tokens)[0].tobytes() == expected.tobytes()


def test_tokens_are_gone_once_nobody_holds_them(one):
    """Neither they nor the frame stay in the store of Ray, whose owner the gate is."""
    pool, _ = one

    def known():
        return set(global_worker.core_worker.get_all_reference_counts())

    settle(pool)
    large = queued(0, payload=png(np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)))
    assert len(large.message.payload) > 300_000
    before = known()
    extraction = pool.submit(large)
    tokens = extraction.tokens.hex().encode()
    said = extraction.wait()
    assert (said.error, said.shape) == (None, (400, 400))
    assert tokens in known() - before
    ray.get(extraction.tokens)
    del extraction
    until(lambda: known() <= before)


def test_a_killed_actor_loses_its_frames_to_be_tried_again_and_is_replaced(one, backbone):
    pool, identity = one
    settle(pool)
    (pid,), before, measured = pids(pool), restarts(pool), len(pool.recoveries_s())
    successor = spare(pool)
    frames = [queued(number) for number in range(FILL)]
    with stopped(pid), capture_logs() as logged:
        extractions = [pool.submit(frame) for frame in frames]
        assert pool.status()[0] == {
            "pid": pid, "node": extractions[0].node, "in_flight": FILL, "restarts": before,
        }  # fmt: skip
        os.kill(pid, signal.SIGKILL)
        for extraction in extractions:
            with pytest.raises(BackboneLostError, match="lost with the frame"):
                extraction.wait()
        # Tried again as they are told of, before anything else is up: they wait for it, and none is lost.
        for number, frame in enumerate(frames):
            assert_tokens(pool.submit(frame), backbone, number)
    (lost,) = [line for line in logged if line["event"] == "backbone_lost"]
    assert (lost["pid"], lost["log_level"]) == (pid, "warning")
    assert (restarts(pool), len(pool.recoveries_s())) == (before + 1, measured + 1)
    assert pool.recoveries_s()[-1] > 0
    assert pids(pool) == [successor] != [pid]
    assert pool._members.identity == identity


def test_an_idle_actor_that_is_killed_is_replaced_before_anybody_asks(one, backbone):
    pool, _ = one
    until(lambda: pids(pool) != [])
    (pid,), before = pids(pool), restarts(pool)
    os.kill(pid, signal.SIGKILL)
    until(lambda: restarts(pool) == before + 1 and pids(pool) != [])
    assert_tokens(pool.submit(queued(1)), backbone, 1)


def test_no_more_frames_are_handed_out_than_an_actor_may_have(one, backbone):
    pool, _ = one
    settle(pool)
    with ThreadPoolExecutor(1) as thread:
        with stopped(pids(pool)[0]):
            extractions = [pool.submit(queued(number)) for number in range(FILL)]
            waiting = thread.submit(pool.submit, queued(FILL))
            assert not waiting.done()
            assert in_flight(pool) == FILL
        # Nobody waits for the others' answers: whoever is slow with them holds up nobody.
        assert_tokens(waiting.result(), backbone, FILL)
        for number, extraction in enumerate(extractions):
            assert_tokens(extraction, backbone, number)


def test_a_frame_that_was_lost_is_tried_again_by_itself(one, backbone):
    """What killed the actor may be among them: no other frame shall share its fate a second time."""
    pool, _ = one
    settle(pool)
    doubtful = [queued(0), queued(1)]
    with stopped(pids(pool)[0]):
        lost = [pool.submit(frame) for frame in doubtful]
        os.kill(pids(pool)[0], signal.SIGKILL)
        for extraction in lost:
            with pytest.raises(BackboneLostError):
                extraction.wait()
    until(lambda: pids(pool) != [])
    with ThreadPoolExecutor(2) as threads:
        with stopped(pids(pool)[0]):
            first = pool.submit(doubtful[0])
            second = threads.submit(pool.submit, doubtful[1])
            third = threads.submit(pool.submit, queued(2))
            until(lambda: threads._work_queue.qsize() == 0)
            assert in_flight(pool) == 1
        assert_tokens(first, backbone, 0)
        assert_tokens(second.result(), backbone, 1)
        assert_tokens(third.result(), backbone, 2)
        # It is like any other now and then: others share the actor again.
        assert [one.alone_for for one in pool._members.up()] == [None]


@pytest.mark.slow
def test_two_actors_share_the_work_and_one_goes_on_alone(two, backbone):
    held, other = pids(two)
    with stopped(held):
        extractions = [two.submit(queued(number)) for number in range(FILL)]
        until(lambda: sorted(one["in_flight"] for one in two.status()) == [0, FILL // 2])
        for number in range(FILL, 3 * FILL):  # one that does nothing holds up no frame of the other
            assert_tokens(two.submit(queued(number, f"line {number % 3}")), backbone, number)
        os.kill(held, signal.SIGKILL)
        lost = 0
        for number, extraction in enumerate(extractions):
            try:
                assert_tokens(extraction, backbone, number)
            except BackboneLostError:
                lost += 1
                assert_tokens(two.submit(queued(number)), backbone, number)
        assert lost == FILL // 2
    assert other in pids(two)
    until(lambda: len(pids(two)) == 2)
    assert held not in pids(two)


def test_weights_that_cannot_be_used_end_the_start_as_in_one_process(cluster, tmp_path):
    wrong = tmp_path / "weights.pth"
    wrong.write_bytes(b"none")
    config = config_of(backbone={"weights": str(wrong)})
    with pytest.raises(WeightsError) as here:
        backbones.load_configured(config.backbone)
    with pytest.raises(WeightsError) as there:
        Pool(cluster, config, pytest.fail).start()
    assert str(there.value) == str(here.value)
    assert "\n" not in str(there.value)


def test_a_doubtful_frame_gets_an_actor_alone_however_many_wait():
    pool = Pool(SimpleNamespace(own=False), config_of(), pytest.fail)
    answers, waits, started = {}, [], []

    class Extract:
        def options(self, **_):
            return self

        def remote(self, job, payload):
            answers[job.message.frame_id] = Future()
            return SimpleNamespace(future=lambda: answers[job.message.frame_id]), None

    class Watched(threading.Condition):
        def wait(self, timeout=None):
            waits.append(timeout)
            return super().wait(timeout)

    def begin(frame):
        count = len(waits)
        started.append(threading.Thread(target=pool.submit, args=(frame,), daemon=True))
        started[-1].start()
        until(lambda: len(waits) > count)

    def end(number, woken):
        """A frame, and see all who waited go on or wait again."""
        count = len(waits) + len(answers)
        answers[number].set_result(Extracted())
        until(lambda: len(waits) + len(answers) == count + woken)

    members = pool._members
    members.changed = Watched()
    only = Member(step="up", actor=SimpleNamespace(extract=Extract()))
    members._members = [only]
    for number in range(FILL):
        pool.submit(queued(number, payload=b"-"))
    doubtful, later = queued(FILL, payload=b"-"), [FILL + 1, FILL + 2, FILL + 3]
    pool._doubtful.add(doubtful)
    begin(doubtful)
    for number in later:
        begin(queued(number, payload=b"-"))
    for number in range(FILL):  # each makes room, which is for the one
        assert only.alone_for is doubtful
        assert [*answers] == [*range(FILL)]
        end(number, 4)
    assert [*answers] == [*range(FILL + 1)]
    assert only.in_flight == 1
    end(FILL, 3)
    assert sorted(answers) == [*range(FILL + 1), *later]
    assert only.alone_for is None
    for one in started:
        one.join()


def test_a_start_ends_where_the_pools_thread_dies(cluster):
    config = config_of()
    engine = config.engine.model_copy(update={"backbone_gpus": 1.5})  # which Ray refuses with a ValueError
    told = []
    pool = Pool(cluster, config.model_copy(update={"engine": engine}), told.append)
    with pytest.raises(StreamerError, match=r"^engine.backbones: none comes up \(ValueError: [^\n]*\)$"):
        pool.start()
    assert [type(error) for error in told] == [ValueError]


@pytest.mark.parametrize("ended", ["head", "signal"])
def test_a_start_ends_where_nothing_is_to_be_waited_for(cluster, ended):
    pool = Pool(cluster, config_of(engine={"backbone_gpus": 3}), pytest.fail)
    told = []

    def wait():
        with pytest.raises(StreamerError) as caught:
            pool.start()
        told.append(str(caught.value))

    waiting = threading.Thread(target=wait)
    waiting.start()
    until(lambda: pool._members._members[0].step == "placing")
    gone = StreamerError("engine: Ray's head is gone")
    pool.fail(gone) if ended == "head" else pool.give_up()
    waiting.join(60)
    assert told == [str(gone) if ended == "head" else "engine.backbones: they were stopped before one was up"]


def test_a_start_ends_where_no_node_has_room(cluster, monkeypatch):
    monkeypatch.setattr(beginning, "_START_S", 1.0)
    pool = Pool(cluster, config_of(engine={"backbone_gpus": 3}), pytest.fail)
    there_is = r"engine.backbones: no node .* 3 GPUs each: .* there is 127.0.0.1: .* 0 GPUs; ask for less"
    with pytest.raises(StreamerError, match=there_is):
        pool.start()


def test_a_stop_wakes_who_waits_for_room(cluster):
    pool = Pool(cluster, config_of(), pytest.fail)  # of which none is up, and none ever will be
    told = []

    def wait():
        with pytest.raises(PoolClosedError) as caught:
            pool.submit(queued(0))
        told.append(str(caught.value))

    waiting = threading.Thread(target=wait)
    waiting.start()
    pool.stop()
    waiting.join(60)
    assert told == ["backbone: the pool is closed"]
    with pytest.raises(PoolClosedError):
        pool.submit(queued(1))
    pool.stop()
