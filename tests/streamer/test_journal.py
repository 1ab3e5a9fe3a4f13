"""`snapshot.journal`: whatever a kill cuts off, after it is said what would have been said without."""

import resource

import numpy as np
import pytest
from journal_support import Line, copied, frames, journals
from streamer_support import one_thread

from bench.fuzz.journal import attack
from musc_online import journal, snapshot
from musc_online.config import load
from musc_online.errors import ConfigError, SnapshotError
from streamer.errors import WireError
from streamer.server import journals as server_journals
from streamer.server import stream as server_stream
from streamer.server.snapshot_files import file_name

__all__ = ["one_thread"]

KINDS = {
    "all": {},
    "quarantine": {"ring": {"capacity": 12, "matcher": "gemm", "admit": "quarantine", "quarantine": 4}},
    "nearest": {"ring": {"capacity": 12, "matcher": "gemm", "nearest": 3, "keep": 4}},
    "subsets": {"ring": {"capacity": 12, "matcher": "gemm", "subsets": 3, "score_against": 2}},
    "accepting": {
        "ring": {"capacity": 30, "admit": "quarantine", "quarantine": 20, "accept_after": 10},
    },
}
N_FRAMES = 36


def words(line, number):
    """What an operator says now and then, but where a line is left to itself."""
    if line.stream.config.ring.accept_after is not None:
        return
    if number == 9:
        line.word("pin", frame_id="f5")
    elif number == 13:
        line.word("false_alarm", frame_id="f12")
    elif number == 17:
        line.word("confirm", frame_id="f16", verdict="defect", name="scratch")
    elif number == 23:
        line.word("threshold", rule="quantile")
    elif number == 27:
        line.word("forget", frame_id="f26")
    elif number == 31:
        line.flush()


def undisturbed(parts, sections):
    line = Line(None, parts, **sections)
    said = {}
    for number in range(N_FRAMES):
        said[number] = line.frame(number)
        words(line, number)
    told = {header["what"] for header in line.outlet.of("operator")}
    assert ("accept" in told) == (line.stream.config.ring.accept_after is not None)
    return said, line.flush()


class Killed:
    """The same frames, with kills: at each the service begins anew from what is on disk."""

    def __init__(self, folder, parts, seed, sections):
        self.folder, self.parts, self.sections = folder, parts, sections
        self.rng = np.random.default_rng(seed)
        self.kills = 0
        self.said = {}
        folder.mkdir()
        self.line = Line(folder, parts, **sections)

    def run(self):
        for number in range(N_FRAMES):
            chance = self.rng.random()
            if chance < 0.15:
                self.kill_in_frame(number)
            self.said.setdefault(number, None)
            if self.said[number] is None:
                self.said[number] = self.line.frame(number)
            words(self.line, number)
            if chance > 0.85:
                self.snapshot()
            elif chance > 0.7:
                self.kill()
        return self.said, self.line.flush()

    def kill(self):
        self.kills += 1
        self.line = Line(self.folder, self.parts, **self.sections)
        assert self.line.outlet.said == []

    def kill_in_frame(self, number):
        """After the change was written, perhaps not to its end, and before the score was out."""
        self.line.outlet.held = True
        assert self.line.frame(number) is None
        if self.rng.random() < 0.5:
            path = journals(self.folder)[-1]
            whole = path.read_bytes()
            path.write_bytes(whole[: len(whole) - int(self.rng.integers(1, 3000))])
        self.kill()

    def snapshot(self):
        """Perhaps with a kill between its steps."""
        at = self.rng.integers(4)
        if at == 0:
            self.line.stream.journal.rotate()  # copied, and never written
            self.kill()
        elif at == 1:
            old = {path: path.read_bytes() for path in journals(self.folder)}
            self.line.snapshots.save_now()  # written, and the journal not deleted
            for path, content in old.items():
                path.write_bytes(content)
            self.kill()
        else:
            self.line.snapshots.save_now()
            if at == 2:
                self.kill()


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_with_kills_says_what_one_without_says(tmp_path, kind):
    sections = KINDS[kind]
    parts = frames(3, N_FRAMES, another_after=24 if kind == "accepting" else None)
    expected = undisturbed(parts, sections)
    kills = 0
    for seed in range(2):
        killed = Killed(tmp_path / f"{kind}-{seed}", parts, seed, sections)
        said, flushed = killed.run()
        assert said == expected[0]
        assert flushed == expected[1]
        killed.line.detector.check_invariants()
        kills += killed.kills
    assert kills > 10


def test_a_deadline_leaves_out_at_a_replay_what_it_left_out_then(tmp_path):
    parts = frames(3, 14)
    ring = {"capacity": 12, "matcher": "gemm", "subsets": 4, "admit": "quarantine", "quarantine": 4}
    line = Line(tmp_path, parts, ring=ring, deadline_ms=1e-4)
    for number in range(14):
        line.frame(number)
    assert {header["state"] for header in line.outlet.of("score")[6:]} == {"degraded"}
    again = Line(tmp_path, parts, ring=ring, deadline_ms=1e6)
    assert alike(again.detector, line.detector)


def alike(one, other):
    """Whether two detectors hold the same, to the last bit."""
    mine, theirs = snapshot.capture(one), snapshot.capture(other)
    times = {"saved_ns": 0}
    same = mine.state | times == theirs.state | times and mine.arrays.keys() == theirs.arrays.keys()
    return same and all(np.array_equal(mine.arrays[name], theirs.arrays[name]) for name in mine.arrays)


def test_frames_of_tiles_are_replayed(tmp_path):
    parts = [(np.stack([part, part[:, ::-1]]), token) for part, token in frames(3, 8)]
    sections = {"tiles": {"rows": 1, "cols": 2}, "backbone": {"image_size": 56}}
    line = Line(tmp_path, parts, **sections)
    for number in range(8):
        line.frame(number)
    assert alike(Line(tmp_path, parts, **sections).detector, line.detector)


@pytest.fixture
def line(tmp_path):
    """Six frames since the snapshot of two."""
    line = Line(tmp_path, frames(3, 20))
    for number in range(8):
        line.frame(number)
        if number == 1:
            line.snapshots.save_now()
    return line


def refusals(line):
    return [header["text"] for header in line.outlet.of("error") if header["code"] == "snapshot_refused"]


def test_a_record_cut_short_is_cut_off_without_a_word(line, tmp_path):
    (path,) = journals(tmp_path)
    whole = path.read_bytes()
    for cut, arrivals in ((1, 8), (1000, 7), (4000, 6)):  # the first is that the score was out
        path.write_bytes(whole[:-cut])
        again = Line(tmp_path, line.parts)
        assert again.detector.ring.arrivals == arrivals
        assert refusals(again) == []
        again.stream.journal.close()


def test_what_follows_damage_is_told_and_set_aside(line, tmp_path):
    (path,) = journals(tmp_path)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    again = Line(tmp_path, line.parts)
    assert 2 < again.detector.ring.arrivals < 8
    (text,) = refusals(again)
    assert "damaged" in text
    assert "set aside as" in text
    (aside,) = tmp_path.glob("*.journal.refused-*")
    assert aside.read_bytes() == damaged
    # What was good is good at the next start too, and what came since follows it.
    arrivals = again.detector.ring.arrivals
    again.frame(15)
    third = Line(tmp_path, line.parts)
    assert (third.detector.ring.arrivals, refusals(third)) == (arrivals + 1, [])


@pytest.mark.parametrize("what", ["older snapshot", "no snapshot", "damaged snapshot", "other backbone"])
def test_a_journal_that_follows_another_state_is_set_aside(line, tmp_path, monkeypatch, what):
    path = tmp_path / file_name("line")
    if what == "older snapshot":
        old = path.read_bytes()
        line.snapshots.save_now()
        line.frame(8)
        path.write_bytes(old)
    elif what == "no snapshot":
        path.unlink()
    elif what == "damaged snapshot":
        path.write_bytes(path.read_bytes()[:-50])
    else:
        path.unlink()
        (tmp_path / journals(tmp_path)[0].name).unlink()
        fresh = Line(tmp_path, line.parts)
        fresh.frame(0)
        monkeypatch.setattr("journal_support.BACKBONE.fingerprint", "another")
    again = Line(tmp_path, line.parts)
    assert any("journal" in text for text in refusals(again))
    assert again.detector is None or again.detector.ring is None or again.detector.ring.arrivals == 2
    assert again.frame(16) is not None
    assert Line(tmp_path, line.parts).outlet.said == []


def test_a_reset_stays_reset_wherever_it_is_killed(line, tmp_path):
    folder = tmp_path.with_name("killed")
    line.scoring.reset(line.stream)
    copied(tmp_path, folder)  # killed before the snapshot and what followed it were deleted
    again = Line(folder, line.parts)
    assert again.detector is None
    assert "('n_references': 0" in str(again.frame(3)).replace("{", "(") or again.detector.ring.arrivals == 1
    assert not (folder / file_name("line")).exists()
    line.snapshots.forget(line.stream)
    line.frame(3)
    assert alike(Line(tmp_path, line.parts).detector, line.detector)


def test_a_journal_as_large_as_the_ring_asks_for_a_snapshot(line, monkeypatch):
    monkeypatch.setattr(server_journals, "LEAST", 0)
    monkeypatch.setattr(type(line.detector.ring), "nbytes", property(lambda _: 30_000))
    assert not line.stream.journal.wants_snapshot
    for number in range(8, 13):
        line.frame(number)
    assert line.stream.journal.size > 30_000
    assert line.stream.journal.wants_snapshot
    line.snapshots.save_now()
    assert not line.stream.journal.wants_snapshot
    assert line.stream.journal.size == 0


def test_a_journal_is_given_up_where_no_snapshot_can_be_written(line, tmp_path, monkeypatch):
    def full(*_):
        raise SnapshotError("no room for a second ring")

    monkeypatch.setattr(server_journals, "LEAST", 0)
    monkeypatch.setattr(type(line.detector.ring), "nbytes", property(lambda _: 9_000))
    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "write", full)
        for number in range(8, 18):
            line.frame(number)
            if line.stream.journal.wants_snapshot:
                with pytest.raises(WireError, match="a second ring"):
                    line.snapshots.save_now()
            on_disk = sum(path.stat().st_size for path in journals(tmp_path))
            assert abs(line.snapshots.status()["journal_bytes"] - on_disk) < 2_000
    assert 4 * 9_000 < on_disk < 6 * 9_000
    line.snapshots._tell_troubles()
    line.snapshots._due.clear()
    line.frame(18)
    assert "no snapshot could be written" in line.outlet.of("error")[-1]["text"]
    assert not line.snapshots._due.is_set()  # else each frame would have the ring copied
    line.snapshots.save_now()
    line.frame(19)
    assert line.stream.journal.size < 9_000
    assert alike(Line(tmp_path, line.parts).detector, line.detector)


def test_a_full_disk_is_told_and_scoring_goes_on(line, tmp_path):
    (path,) = journals(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, hard))
    try:
        assert line.frame(8) is not None
        assert line.frame(9) is not None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    line.snapshots._tell_troubles()
    (error,) = line.outlet.of("error")
    assert (error["code"], "could not be written" in error["text"]) == ("snapshot_failed", True)
    killed = Line(copied(tmp_path, tmp_path.with_name("killed")), line.parts)
    assert killed.detector.ring.arrivals == 8
    assert refusals(killed) == []
    line.snapshots.save_now()
    line.frame(10)
    assert alike(Line(tmp_path, line.parts).detector, line.detector)


def test_a_journal_that_is_switched_off_is_replayed_once_more(line, tmp_path):
    again = Line(tmp_path, line.parts, journal=False)
    assert alike(again.detector, line.detector)
    again.frame(8)
    again.snapshots.save_now()
    assert journals(tmp_path) == []
    assert Line(tmp_path, line.parts).detector.ring.arrivals == 9


def test_what_the_history_knows_is_not_said_again(line, tmp_path):
    line.outlet.held = True
    line.frame(8)
    knows = Line(tmp_path, line.parts, history=("f8",))
    assert knows.stream.was_scored("f8")
    assert Line(tmp_path, line.parts).frame(8) is not None


def test_tallies_go_on_after_a_replay(line, tmp_path):
    again = Line(tmp_path, line.parts)
    (mine, theirs) = (one.ledger.streams()["line"] for one in (again, line))
    assert (mine["scored"], mine["anomalous"]) == (8, theirs["anomalous"])
    assert mine["last_frame"]["frame_id"] == "f7"


def test_a_stream_that_slept_and_woke_goes_on_by_its_journal(line, tmp_path):
    stream = line.stream
    line.snapshots.save_and_release(
        stream, lambda _: True, lambda it: line.streams.put_to_sleep(it.name).release_ring()
    )
    assert stream.asleep
    assert journals(tmp_path) == []
    line.frame(8)
    again = Line(tmp_path, line.parts)
    assert alike(again.detector, line.detector)
    assert not again.stream.asleep


@pytest.mark.parametrize("saved", [False, True])
def test_streams_there_is_no_place_for_sleep_on_with_their_journals(tmp_path, saved):
    line = Line(tmp_path, frames(3, 20))
    for name in ("line", "other"):
        for number in range(3):
            line.frame(number, name)
    if saved:
        line.snapshots.save_now()
    for name in ("line", "other"):
        for number in range(3, 6):
            line.frame(number, name)
    again = Line(tmp_path, line.parts, limits={"streams": 1, "sleeping": 4})
    awake, asleep = sorted(again.streams.known(), key=lambda stream: stream.asleep)
    assert (awake.asleep, asleep.asleep) == (False, True)
    assert awake.detector.ring.arrivals == 6
    assert all(asleep.was_scored(f"f{number}") for number in range(6))
    again.snapshots.save_and_release(
        awake, lambda _: True, lambda it: again.streams.put_to_sleep(it.name).release_ring()
    )
    again.frame(6, asleep.name)
    assert asleep.detector.ring.arrivals == 7
    assert refusals(again) == []


def test_a_reset_of_a_stream_that_sleeps_with_its_journal_stays(tmp_path):
    line = Line(tmp_path, frames(3, 20))
    for number in range(4):
        for name in ("line", "other"):
            line.frame(number, name)
    again = Line(tmp_path, line.parts, limits={"streams": 1, "sleeping": 4})
    asleep = next(stream for stream in again.streams.known() if stream.asleep)
    again.scoring.reset(asleep)
    again.snapshots.forget(asleep)
    third = Line(tmp_path, line.parts)
    assert [stream.name for stream in third.streams.known() if stream.detector] == [
        stream.name for stream in again.streams.known() if stream is not asleep
    ]
    assert refusals(third) == []


def test_a_journal_that_cannot_be_read_just_now_is_left(line, tmp_path, monkeypatch):
    def no_permission(_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "_open", no_permission)
        again = Line(tmp_path, line.parts)
        with pytest.raises(WireError, match="cannot be read just now") as caught:
            again.frame(8)
        assert caught.value.code == "snapshot_unreadable"
    assert refusals(again) == []
    assert again.frame(9) is not None
    assert again.detector.ring.arrivals == 9


def test_a_journal_needs_a_folder():
    with pytest.raises(ConfigError, match=r"snapshot\.journal: got true without snapshot\.path"):
        load({"snapshot": {"journal": True}})


@pytest.mark.slow
def test_real_kills_cannot_be_told_by_the_scores(one_thread, tmp_path):
    figures = attack(tmp_path, kills=2)
    assert all(figures["checks"].values()), figures
    assert (figures["kills"], figures["lost"], figures["scored_twice"]) == (2, 0, 0)


def test_scores_that_nobody_asks_for_do_not_pile_up(line, tmp_path, monkeypatch):
    monkeypatch.setattr(server_stream, "_WAITING", 3)
    line.outlet.held = True
    for number in range(8, 14):
        line.frame(number)
    again = Line(tmp_path, line.parts)
    assert [score.frame_id for score in again.stream.waiting()] == ["f11", "f12", "f13"]
    assert again.frame(9) is not None  # told all the same while it is in the ring
    assert again.detector.ring.arrivals == line.detector.ring.arrivals
    again.snapshots.save_now()
    assert len(Line(tmp_path, line.parts).stream.waiting()) == 3


def test_a_score_told_after_a_restart_has_its_map_and_its_grid_while_that_is_known(line, tmp_path):
    def told(service, number):
        assert service.frame(number) is not None
        (message,) = [one for one in service.outlet.messages if one.header["frame_id"] == f"f{number}"]
        assert message.anomaly_map.max() == np.float32(message.header["raw_score"])
        return message.grid

    line.outlet.held = True
    line.frame(8)
    line.frame(9)
    again = Line(tmp_path, line.parts)
    np.testing.assert_array_equal(told(again, 8).scores.shape, (4, 4))  # replayed: scored anew
    again.snapshots.save_now()
    assert told(Line(tmp_path, line.parts), 9) is None, "a snapshot keeps maps, which then travel as float32"
