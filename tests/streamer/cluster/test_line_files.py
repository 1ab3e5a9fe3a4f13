"""A line's files are those of one process, both ways; what is wrong with them is told, and set aside."""

import pytest
from journal_support import Line as OneProcess
from journal_support import frames, journals
from line_actor_support import (
    KINDS,
    Gate,
    in_one_process,
    let_go,
    plain,
    published,
    sections_of,
    tiled,
)
from snapshot_support import cut, files, tampered

from musc_online import snapshot
from musc_online.errors import SnapshotError, UnreadableError
from musc_online.snapshot_file import read_state
from streamer.server import journals as server_journals
from streamer.server.snapshot_files import file_name

STEPS = [("frame", number) for number in range(20)]


def parts_of(kind):
    parts = frames(3, 20, another_after=10 if kind == "accepting" else None)
    return tiled(parts) if kind == "tiles" else parts


def state(path):
    """What a file says but for times."""
    kept = read_state(path)
    kept.pop("saved_ns")
    tally = kept["extra"]["tally"]
    kept["extra"]["tally"] = {
        name: tally[name] for name in ("scored", "anomalous", "late", "refused", "events")
    }
    return without_times(kept)


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(one) for key, one in value.items() if key != "latency_ms"}
    return [without_times(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("saves", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_line_goes_on_where_one_process_was_and_the_other_way_round(tmp_path, kind, saves):
    parts, given = parts_of(kind), sections_of(kind)
    expected, _ = in_one_process(STEPS, parts, kind)
    heard = []
    for begin in range(0, 20, 10):
        one = OneProcess(tmp_path, parts, **given)
        for number in range(begin, begin + 5):
            one.frame(number)
        if saves:
            one.snapshots.save_now()
        heard += published(one, one.stream.config.transport.map_encoding)
        gate = Gate(tmp_path, parts, kind=kind)
        assert gate.opened.scored == [f"f{number}" for number in range(begin + 5)][-len(gate.opened.scored) :]
        for number in range(begin + 5, begin + 10):
            gate.do(("frame", number))
        if saves:
            assert gate.save()
        heard += gate.said
        let_go(gate.line)
    assert heard == published(expected, expected.stream.config.transport.map_encoding)


@pytest.mark.parametrize("kind", KINDS)
def test_their_snapshots_say_the_same(tmp_path, kind):
    parts, there = parts_of(kind), tmp_path / "there"
    there.mkdir()
    one, _ = in_one_process(STEPS, parts, kind, there)
    one.snapshots.save_now()
    gate = Gate(tmp_path, parts, kind=kind)
    for step in STEPS:
        gate.do(step)
    assert gate.save() is not None
    ours, theirs = (state(folder / file_name("line")) for folder in (tmp_path, there))
    assert ours == theirs
    arrays = [snapshot.read(folder / file_name("line"), 2**30).arrays for folder in (tmp_path, there)]
    assert {name: array.tobytes() for name, array in arrays[0].items()} == {
        name: array.tobytes() for name, array in arrays[1].items()
    }


def test_what_the_gate_counts_is_in_the_snapshot(tmp_path):
    gate = Gate(tmp_path, frames(3, 6))
    for number in range(4):
        gate.do(("frame", number))
    gate.ledger.receive("line")
    gate.ledger.drop("line", "queue_full")
    gate.ledger.receive("line")
    gate.ledger.refuse("line", "bad_frame")
    gate.ledger.warn("line", "frozen")
    gate.line.settle([], gate.ledger.streams()["line"])
    gate.save()
    tally = read_state(tmp_path / file_name("line"))["extra"]["tally"]
    ours = gate.ledger.streams()["line"]
    for name in ("scored", "anomalous", "dropped", "refused", "warned", "last_frame"):
        assert tally[name] == ours[name]
    let_go(gate.line)
    again = Gate(tmp_path, gate.parts)
    assert again.opened.tally["dropped"] == {"queue_full": 1}
    let_go(again.line)
    gate.open(told=gate.next)  # a line that is made anew is told what the gate counted since
    gate.do(("frame", 4))
    gate.save()
    assert read_state(tmp_path / file_name("line"))["extra"]["tally"]["scored"] == 5


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (cut, "damaged"),
        (lambda path: path.write_bytes(b"no snapshot"), "damaged"),
        (lambda path: tampered(path, lambda state: state["fingerprint"].update(model_id="x")), "model_id"),
        (lambda path: tampered(path, lambda state: state["extra"].pop("origins")), "the service's part"),
    ],
)
def test_what_cannot_be_restored_is_told_and_set_aside(tmp_path, damage, text):
    gate = Gate(tmp_path, frames(3, 8))
    for number in range(4):
        gate.do(("frame", number))
    gate.save()
    gate.do(("frame", 4))
    gate.line.close()
    path = tmp_path / file_name("line")
    damage(path)
    gate.open(told=gate.next)
    assert gate.opened.reply.error is None
    assert [error["code"] for error in gate.errors] == ["snapshot_refused", "snapshot_refused"]
    assert text in gate.errors[0]["text"]
    assert "follows a snapshot that" in gate.errors[1]["text"]
    assert gate.line.status()["refused"] == 2
    assert not path.exists()
    assert sum(".refused-" in one.name for one in files(tmp_path)) == 2
    assert gate.do(("frame", 5)).told[0].header["n_references"] == 0


def test_what_cannot_be_read_just_now_is_left_and_read_later(tmp_path, monkeypatch):
    gate = Gate(tmp_path, frames(3, 8))
    for number in range(4):
        gate.do(("frame", number))
    gate.save()
    gate.begin("frame", 4)
    let_go(gate.line)

    def no_permission(*_):
        raise UnreadableError("cannot be read just now")

    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "read", no_permission)
        opened = gate.open(told=gate.next)
        assert opened.reply.error[0] == "snapshot_unreadable"
        assert gate.begin("frame", 5).error[0] == "snapshot_unreadable"
        assert gate.line.flush().error[0] == "snapshot_unreadable"
    assert gate.errors == []
    reply = gate.begin("frame", 5)  # opened meanwhile, what was not told told with it
    assert (reply.error, len(reply.held)) == (None, 6)
    assert gate.begin("frame", 4).told[0].header["frame_id"] == "f4"


def test_a_ring_without_room_is_left_on_disk(tmp_path):
    gate = Gate(tmp_path, frames(3, 8))
    for number in range(4):
        gate.do(("frame", number))
    gate.save()
    gate.line.close()
    line = gate.line = gate.new()
    assert line.open(1000).reply.error[0] == "no_room"
    assert (tmp_path / file_name("line")).exists()
    opened = line.open(2**40)
    assert (opened.reply.error, opened.reply.state["images"]) == (None, 4)


def test_a_file_that_slept_and_is_gone_is_told(tmp_path):
    gate = Gate(tmp_path, frames(3, 8))
    for number in range(4):
        gate.do(("frame", number))
    assert gate.save(asleep=True)
    path = tmp_path / file_name("line")
    assert read_state(path)["extra"]["asleep"] is True
    assert gate.line.status()["unsaved"] is False
    gate.line.close()
    opened = gate.open(asleep=True)
    assert (opened.reply.error, len(opened.reply.held), gate.errors) == (None, 4, [])
    gate.line.close()
    path.unlink()
    opened = gate.open(asleep=True)
    assert (opened.tally, opened.scored, opened.reply.error) == (None, [], None)
    assert [error["code"] for error in gate.errors] == ["snapshot_lost"]


def test_a_file_that_cannot_be_written_is_told_and_scoring_goes_on(tmp_path, monkeypatch):
    gate = Gate(tmp_path, frames(3, 8))
    for number in range(4):
        gate.do(("frame", number))

    def full(*_):
        raise SnapshotError("no space left")

    def no_memory(*_):
        raise MemoryError("no room for the copy")

    for name, error, text in (
        ("write", full, "no space left"),
        ("capture", no_memory, "no room for the copy"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(snapshot, name, error)
            assert gate.line.copy()
            assert gate.line.write() is None
        (told,) = gate.line.troubles()
        assert (told.kind, told.header["code"]) == ("error", "snapshot_failed")
        assert text in told.header["text"]
        assert text in gate.line.status()["failed"]
        assert gate.line.status()["unsaved"]
    assert gate.line.troubles() == []
    gate.do(("frame", 4))
    assert gate.save()["arrivals"] == 5
    status = gate.line.status()
    assert (status["written"], status["failures"], status["failed"], status["unsaved"]) == (1, 2, None, False)


def test_a_journal_as_large_as_the_ring_asks_for_a_snapshot(tmp_path, monkeypatch):
    gate = Gate(tmp_path, frames(3, 16))
    gate.do(("frame", 0))
    monkeypatch.setattr(server_journals, "LEAST", 0)
    monkeypatch.setattr(type(gate.detector.ring), "nbytes", property(lambda _: 30_000))
    wanted = [gate.do(("frame", number)).wants_snapshot for number in range(1, 12)]
    assert sorted(wanted) == wanted
    assert (wanted[0], wanted[-1]) == (False, True)
    assert gate.line.status()["wants_snapshot"]
    size = sum(path.stat().st_size for path in journals(tmp_path))
    assert abs(gate.line.status()["journal_bytes"] - size) < 2000
    gate.save()
    assert not gate.do(("frame", 12)).wants_snapshot


def test_a_journal_that_cannot_be_written_is_told_with_the_frame(tmp_path, monkeypatch):
    gate = Gate(tmp_path, frames(3, 8))
    gate.do(("frame", 0))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(server_journals.journal.Writer, "append", full)
        reply = gate.do(("frame", 1))
    assert [told.kind for told in reply.told] == ["score", "error"]
    assert "could not be written" in reply.told[1].header["text"]
    assert reply.wants_snapshot
    assert gate.save() is not None
    gate.do(("frame", 2))
    gate.kill()
    assert gate.reply.state["arrivals"] == 3


def test_writing_does_not_keep_frames_from_being_scored(tmp_path, monkeypatch):
    gate = Gate(tmp_path, frames(3, 8))
    gate.do(("frame", 0))
    scored = []

    def slow(copy, path, write=snapshot.write):
        scored.append(gate.do(("frame", 1)))
        write(copy, path)

    monkeypatch.setattr(snapshot, "write", slow)
    assert gate.save()["arrivals"] == 1
    assert len(scored) == 1
    gate.kill()
    assert gate.reply.state["arrivals"] == 2


def test_a_map_that_only_a_snapshot_kept_travels_as_numbers(tmp_path):
    gate = Gate(tmp_path, frames(3, 6), kind="tiles", journal=False)
    gate.parts = tiled(gate.parts)
    for number in range(3):
        gate.do(("frame", number))
    first = gate.begin("frame", 3).told[0]
    gate.save()
    gate.kill()
    again = gate.begin("frame", 3).told[0]
    assert first.header["anomaly_map"]["encoding"] == "grid"
    assert again.header["anomaly_map"]["encoding"] == "float32"
    same = {"anomaly_map": None, "late": False}
    assert plain("score", {**first.header, **same}, None) == plain("score", {**again.header, **same}, None)
