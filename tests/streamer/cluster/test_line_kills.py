"""Lines that die between any two steps: in all they tell what one process publishes without kills."""

from collections import Counter

import numpy as np
import pytest
from journal_support import frames, journals
from line_actor_support import KINDS, Gate, in_one_process, let_go, published, tiled
from sharded_support import local_maker

N_FRAMES = 26
WORDS = {
    6: ("pin", {"frame_id": "f5"}),
    9: ("false_alarm", {"frame_id": "f8", "who": "anna"}),
    12: ("confirm", {"frame_id": "f11", "verdict": "defect", "name": "scratch"}),
    14: ("threshold", {"rule": "quantile"}),
    16: ("forget", {"frame_id": "f15"}),
    18: ("flush",),
    21: ("reset",),
}


def script(kind):
    steps = []
    for number in range(N_FRAMES):
        steps.append(("frame", number))
        if number in WORDS and kind != "accepting":
            steps.append(WORDS[number])
    return [*steps, ("flush",)]


def parts_of(kind):
    parts = frames(3, N_FRAMES, another_after=14 if kind == "accepting" else None)
    return tiled(parts) if kind == "tiles" else parts


def expected_of(kind):
    steps, parts = script(kind), parts_of(kind)
    line, answers = in_one_process(steps, parts, kind)
    return steps, parts, line, answers


@pytest.mark.parametrize("dies", ["unheard", "unsettled"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_line_that_dies_at_every_step_tells_everything_once(tmp_path, kind, dies):
    steps, parts, line, answers = expected_of(kind)
    gate = Gate(tmp_path, parts, kind=kind)
    for number, step in enumerate(steps):
        gate.do(step, dies)
        if number % 7 == 6:
            assert gate.save()["arrivals"] == gate.detector.ring.arrivals
    assert gate.deaths == len(steps)
    assert gate.said == published(line, gate.config.transport.map_encoding)
    assert gate.answers == answers
    assert gate.ledger.streams()["line"]["scored"] == N_FRAMES


@pytest.mark.parametrize("kind", ["quarantine and nearest", "subsets"])
def test_a_ring_in_parts_comes_back_from_the_files_of_any(tmp_path, kind):
    steps, parts, line, answers = expected_of(kind)
    gate = Gate(tmp_path, parts, kind=kind)
    for number, step in enumerate(steps):
        # As with `engine.shards` set anew at each restart: 2, 3 or none.
        gate.make["make_store"] = local_maker(2 + number % 3) if number % 3 < 2 else None
        gate.do(step, "unheard" if number % 2 else "unsettled")
        if number % 5 == 4:
            gate.save()
    assert gate.said == published(line)
    assert gate.answers == answers


@pytest.mark.parametrize("seed", range(3))
def test_deaths_between_copy_and_file_lose_nothing(tmp_path, seed):
    steps, parts, line, answers = expected_of("all")
    gate, rng, at = Gate(tmp_path, parts), np.random.default_rng(seed), Counter()
    for step in steps:
        gate.do(step, rng.choice([None, None, "unheard", "unsettled"]))
        chance = rng.random()
        if chance < 0.2:  # copied, and never written
            gate.line.copy()
            gate.kill()
            at["copied"] += 1
        elif chance < 0.4:  # written, and what it holds left in the journal
            old = {path: path.read_bytes() for path in journals(tmp_path)}
            gate.save()
            for path, content in old.items():
                path.write_bytes(content)
            gate.kill()
            at["written"] += 1
        elif chance < 0.6:  # scored on between the two
            gate.line.copy()
            continue
        gate.line.write()
    assert min(at.values()) > 1
    assert gate.said == published(line)
    assert gate.answers == answers


def test_a_change_cut_short_was_none_and_is_asked_for_again(tmp_path):
    parts = frames(3, 10)
    line, _ = in_one_process([("frame", number) for number in range(10)], parts, "all")
    gate = Gate(tmp_path, parts)
    for number in range(10):
        gate.begin("frame", number)
        path = journals(tmp_path)[-1]
        let_go(gate.line)
        path.write_bytes(path.read_bytes()[:-100])
        gate.open(told=gate.next)
        assert gate.opened.redone == []
        gate.do(("frame", number))
        gate.kill()
    assert gate.said == published(line)


def test_a_score_that_only_the_dead_line_told_waits_until_it_is_known_to_be_out(tmp_path):
    gate = Gate(tmp_path, frames(3, 6))
    for number in range(3):
        gate.do(("frame", number))
    assert gate.kill().waiting == []
    reply = gate.begin("frame", 3)
    assert gate.kill().waiting == ["f3"]
    assert gate.kill().waiting == ["f3"]
    assert gate.opened.scored == ["f0", "f1", "f2"]
    gate.hear(reply)
    gate.settle(reply.told[0])  # it had the reply all the same
    assert gate.kill().waiting == []
    assert gate.opened.scored == ["f0", "f1", "f2", "f3"]
    assert gate.save() is not None
    assert gate.kill().scored == ["f0", "f1", "f2", "f3"]


def test_a_score_that_was_out_before_its_line_died_is_known_to_be_from_then_on(tmp_path):
    gate = Gate(tmp_path, frames(3, 6))
    gate.do(("frame", 0))
    reply = gate.hear(gate.begin("frame", 1))
    gate.save()  # its snapshot has it waiting
    gate.settle(reply.told[0], heard=False)
    opened = gate.kill()
    assert (opened.scored, opened.waiting, opened.unpublished) == (["f0", "f1"], [], [])
    assert gate.unheard == []
    assert gate.kill().waiting == []
    assert sorted(gate.opened.scored) == ["f0", "f1"]


def test_what_a_snapshot_holds_unpublished_waits_too(tmp_path):
    gate = Gate(tmp_path, frames(3, 6), journal=False)
    gate.do(("frame", 0))
    first = gate.begin("frame", 1)
    assert gate.save()["arrivals"] == 2
    opened = gate.kill()
    assert (opened.scored, opened.waiting, opened.unpublished) == (["f0"], ["f1"], [])
    again = gate.do(("frame", 1))
    for name in ("raw_score", "rscin_score", "n_references", "regions", "meta", "seq"):
        assert again.told[0].header[name] == first.told[0].header[name]
    assert again.told[0].payload == first.told[0].payload
    assert again.held == ("f0", "f1")


def test_without_a_journal_the_ring_is_that_of_its_snapshot_and_the_gate_can_tell(tmp_path):
    gate = Gate(tmp_path, frames(3, 8), journal=False)
    for number in range(4):
        gate.do(("frame", number))
    gate.save()
    for number in range(4, 6):
        gate.do(("frame", number))
    expected = gate.next
    assert expected == 6
    opened = gate.kill()
    assert (opened.reply.change, opened.reply.state["arrivals"], opened.redone) == (4, 4, [])
    assert len(gate.do(("frame", 6)).held) == 5
    assert journals(tmp_path) == []


def test_without_a_folder_a_death_leaves_an_empty_ring():
    gate = Gate(None, frames(3, 4))
    for number in range(3):
        gate.do(("frame", number))
    opened = gate.kill()
    assert (opened.tally, opened.reply.change, opened.reply.state["images"]) == (None, None, 0)
    assert gate.do(("frame", 3)).told[0].header["n_references"] == 0
    assert gate.save() is not None or gate.line.status()["written"] == 0


@pytest.mark.parametrize("journal", [True, False])
def test_a_reset_that_was_heard_of_stays_done(tmp_path, journal):
    gate = Gate(tmp_path, frames(3, 8), journal=journal)
    for number in range(4):
        gate.do(("frame", number))
    gate.save()
    gate.hear(gate.line.reset())
    assert [said[0] for said in gate.said[-4:]] == ["revision"] * 4
    opened = gate.kill()  # before the files of before are deleted
    assert (opened.tally, opened.scored, opened.reply.state["images"]) == (None, [], 0)
    assert gate.do(("frame", 4)).told[0].header["n_references"] == 0
    gate.save()
    gate.kill()
    assert gate.reply.held == ("f4",)


def test_a_reset_of_a_line_that_is_not_open_leaves_nothing(tmp_path):
    gate = Gate(tmp_path, frames(3, 8))
    for number in range(4):
        gate.do(("frame", number))
    gate.save(asleep=True)
    gate.do(("frame", 4))
    gate.line.close()
    line = gate.line = gate.new()
    before = gate.next
    reply = gate.hear(line.reset())
    assert (reply.error, reply.told, reply.change) == (None, [], before + 1)
    line.forget()
    assert [path.name for path in tmp_path.glob("*.safetensors")] == []
    assert gate.do(("frame", 5)).told[0].header["n_references"] == 0
    gate.kill()
    assert gate.reply.held == ("f5",)


def test_ids_of_before_a_reset_are_free_again(tmp_path):
    gate = Gate(tmp_path, frames(3, 8))
    early = gate.begin("frame", 0)
    gate.hear(early)
    gate.do(("reset",))
    gate.settle(early.told[0])
    gate.do(("frame", 1))
    gate.save()
    assert gate.kill().scored == ["f1"]
    late = gate.begin("frame", 2)
    gate.kill()
    gate.hear(gate.begin("reset"))
    gate.settle(late.told[0])
    gate.line.forget()
    gate.do(("frame", 3))
    gate.save()
    assert gate.kill().scored == ["f3"]


def test_the_deadline_cuts_a_change_done_again_where_it_cut_the_first(tmp_path):
    parts = frames(3, 20)
    gate = Gate(tmp_path, parts, deadline_ms=0.001, ring={"capacity": 12, "matcher": "gemm", "subsets": 3})
    for number in range(16):
        gate.do(("frame", number))
    first = gate.begin("frame", 16)
    gate.kill()
    again = gate.begin("frame", 16)
    assert first.told[0].header["raw_score"] == again.told[0].header["raw_score"]
    assert first.told[0].header["n_references"] == again.told[0].header["n_references"]
    assert first.told[0].payload == again.told[0].payload
