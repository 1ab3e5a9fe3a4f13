"""A line tells what the service of one process publishes of the same frames, to the last bit and in order."""

import gc
import threading
import weakref

import cv2
import faiss
import pytest
import torch
from journal_support import frames
from line_actor_support import KINDS, Gate, in_one_process, published, tiled
from sharded_support import local_maker
from streamer_support import PATIENCE_S

from streamer.wire.requests import Word

N_FRAMES = 36
WORDS = {
    9: ("pin", {"frame_id": "f5"}),
    13: ("false_alarm", {"frame_id": "f12", "who": "anna"}),
    17: ("confirm", {"frame_id": "f16", "verdict": "defect", "name": "scratch"}),
    20: ("threshold", {"rule": "mad", "preview": True}),
    23: ("threshold", {"rule": "quantile"}),
    27: ("forget", {"frame_id": "f26"}),
    31: ("flush",),
    33: ("reset",),
}


@pytest.fixture(autouse=True)
def threads_as_before():
    before = torch.get_num_threads(), cv2.getNumThreads(), faiss.omp_get_max_threads()
    yield
    libraries = (torch.set_num_threads, cv2.setNumThreads, faiss.omp_set_num_threads)
    for restore, number in zip(libraries, before, strict=True):
        restore(number)


def parts_of(kind):
    parts = frames(3, N_FRAMES, another_after=24 if kind == "accepting" else None)
    return tiled(parts) if kind == "tiles" else parts


def script(kind):
    steps = []
    for number in range(N_FRAMES):
        steps.append(("frame", number))
        if number in WORDS and kind != "accepting":
            steps.append(WORDS[number])
    return [*steps, ("flush",)]


@pytest.mark.parametrize("shards", [0, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_told_is_what_one_process_publishes(kind, shards):
    steps, parts = script(kind), parts_of(kind)
    line, answers = in_one_process(steps, parts, kind)
    gate = Gate(None, parts, kind=kind, make={"make_store": local_maker(shards) if shards else None})
    for step in steps:
        reply = gate.do(step)
        assert reply.change is None
    expected = published(line, gate.config.transport.map_encoding)
    assert gate.said == expected
    assert gate.answers == answers
    kinds = {said[0] for said in expected}
    assert {"score", "revision", "operator"} <= kinds
    assert "event" in kinds or kind != "accepting"
    # Parts keep as much as one store does, and little beside it.
    assert {**reply.state, "bytes": 0} == {**line.stream.state, "bytes": 0}
    assert set(reply.held) == set(line.detector.ring.slot_of)


@pytest.mark.parametrize("matcher", ["gemm", "faiss"])
def test_scores_do_not_depend_on_threads(matcher):
    parts, said = frames(3, 16), []
    for threads in (1, 2, 3):
        gate = Gate(None, parts, threads=threads, ring={"capacity": 12, "matcher": matcher})
        assert torch.get_num_threads() == threads
        for number in range(16):
            gate.do(("frame", number))
        gate.do(("flush",))
        said.append(gate.said)
    assert said[0] == said[1] == said[2]


def test_whichever_thread_asks_computes_with_as_many():
    gate, found = Gate(None, frames(3, 2), threads=3), []

    def ask():
        gate.do(("frame", 0))
        found.extend((torch.get_num_threads(), cv2.getNumThreads(), faiss.omp_get_max_threads()))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PATIENCE_S)
    assert found == [3, 3, 3]


def test_times_are_those_of_the_gate_and_what_was_spent_here():
    gate = Gate(None, frames(3, 3), deadline_ms=1000.0)
    early = gate.line.score(gate.frame_of(0, age_ms=20.0, waited_ms=15.0), gate.parts[0]).told[0]
    late = gate.line.score(gate.frame_of(1, age_ms=5000.0, waited_ms=15.0), gate.parts[1]).told[0]
    assert (early.header["late"], late.header["late"]) == (False, True)
    assert 20.0 <= early.spent_ms < 1000.0
    assert late.spent_ms >= 5000.0
    phases = dict(early.header["latency_ms"])
    total = phases.pop("total")
    assert total >= 15.0
    # What is not of the phases so far is the wait for the line.
    assert phases["wait"] >= 15.0 - 2.5
    assert early.header["capture_ns"] == 1000


def test_what_cannot_be_used_is_refused_with_the_codes_of_one_process():
    gate = Gate(None, frames(3, 4))
    assert gate.line.operate(Word("pin", frame_id="f0")).error[0] == "unknown_frame"
    assert gate.line.flush().answer == 0
    for number in range(3):
        gate.do(("frame", number))
    held = gate.reply.held
    part, token = gate.parts[3]
    reply = gate.line.score(gate.frame_of(3), (part[:, :9], token))
    assert (reply.error[0], reply.told, reply.held) == ("bad_frame", [], held)
    assert gate.line.operate(Word("accept", group=7)).error[0] == "unknown_group"
    assert gate.line.operate(Word("pin", frame_id="f9")).error[0] == "unknown_frame"
    gate.do(("frame", 3))
    assert len(gate.reply.held) == 4


def test_a_frame_that_got_into_the_ring_before_an_error_has_its_score_when_it_comes_again(monkeypatch):
    gate = Gate(None, frames(3, 4))
    gate.do(("frame", 0))

    def full(*_):
        raise MemoryError("no room for the header")

    with monkeypatch.context() as patch:
        patch.setattr("streamer.server.scoring.score_header", full)
        reply = gate.begin("frame", 1)
    assert reply.error == ("internal", "MemoryError: no room for the header")
    assert "f1" in reply.held
    again = gate.do(("frame", 1))
    assert again.told[0].header["n_references"] == 1
    assert again.held == ("f0", "f1")


def test_an_error_after_the_score_is_told_beside_it(monkeypatch):
    gate = Gate(None, frames(3, 4))
    monkeypatch.setattr(
        "streamer.server.telling.Telling.happened", lambda *_: (_ for _ in ()).throw(MemoryError("full"))
    )
    reply = gate.begin("frame", 0)
    assert reply.error is None
    assert [told.kind for told in reply.told] == ["score", "error"]
    assert "MemoryError: full" in reply.told[1].header["text"]


def test_a_ring_without_room_is_refused():
    gate = Gate(None, frames(3, 4), opened=False)
    line = gate.new()
    assert line.open(0).reply.error == (
        "no_room", "stream 'line': limits.total_bytes is used up by other streams",
    )  # fmt: skip
    assert line.open(1).reply.error[0] == "no_room"
    assert "ring.capacity" in line.score(gate.frame_of(0), gate.parts[0]).error[1]
    assert line.open(2**40).reply.error is None
    assert line.score(gate.frame_of(0), gate.parts[0]).error is None


class GoneError(Exception):
    """A shard is."""


def gone(*_, **__):
    raise GoneError


def test_a_lost_store_ends_the_line_whatever_was_being_done(monkeypatch):
    gate = Gate(None, frames(3, 8), make={"fatal": (GoneError,)})
    for number in range(4):
        gate.do(("frame", number))
    with monkeypatch.context() as patch:
        patch.setattr("musc_online.ring.Ring.measure", gone)
        with pytest.raises(GoneError):
            gate.begin("frame", 4)
    with monkeypatch.context() as patch:
        patch.setattr("musc_online.detector.Detector.revise", gone)
        with pytest.raises(GoneError):
            gate.begin("threshold", {"rule": "quantile"})
    monkeypatch.setattr("musc_online.snapshot.capture", gone)
    with pytest.raises(GoneError):
        gate.line.copy()


def test_a_revision_that_fails_otherwise_is_told(monkeypatch):
    gate = Gate(None, frames(3, 8))
    with monkeypatch.context() as patch:
        patch.setattr("musc_online.detector.Detector.revise", gone)
        for number in range(6):
            gate.do(("frame", number))
    assert "revision: not done (GoneError" in gate.errors[0]["text"]


def test_what_came_with_the_frames_is_not_held_on_to():
    """An object store's memory would fill with what the ring has copied long since."""
    gate = Gate(None, frames(3, 1))
    part, token = (array.copy() for array in gate.parts[0])
    alive = [weakref.ref(part), weakref.ref(token)]
    gate.settle(gate.line.score(gate.frame_of(0), (part, token)).told[0])
    del part, token
    gc.collect()
    assert [one() for one in alive] == [None, None]
