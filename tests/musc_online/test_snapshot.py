"""Snapshots: a restart continues as if it had never stopped, and what does not fit is refused whole."""

import json
import resource

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from stream_support import detector, images

from musc_online import snapshot, snapshot_file
from musc_online.errors import SnapshotError, UnreadableError

OPTIONS = {"ring": {"subsets": 2, "score_against": 1}, "revise": {"every": 3}, "warmup": 2}


def play(stream, first, last, seed=0):
    tokens, class_tokens = images(seed, 12)
    said = []
    for image in range(first, last):
        said.append(stream.step_tokens(tokens[:, image], class_tokens[image], f"part-{image}"))
        if stream.revise_due:
            said += stream.revise()
        said += stream.take_finals()
    return said


def saved(tmp_path, matcher="gemm", extra=None):
    stream = detector(5, matcher, **OPTIONS)
    play(stream, 0, 7)
    stream.operators.pin("part-4")
    stream.operators.false_alarm("part-5")
    path = tmp_path / "deep" / "line.safetensors"
    snapshot.write(snapshot.capture(stream, extra), path)
    return stream, path


def facts(scores):
    return [
        (
            s.frame_id,
            s.raw_score,
            s.rscin_score,
            s.pred_label,
            s.pred_score,
            s.revision,
            s.is_final,
            s.n_references,
        )
        for s in scores
    ]


@pytest.mark.parametrize("matcher", ["gemm", "faiss"])
def test_a_restart_gives_the_scores_of_never_having_stopped(tmp_path, matcher):
    unstopped, path = saved(tmp_path, matcher, extra={"received": 7})
    restarted = detector(5, matcher, **OPTIONS)
    assert snapshot.restore(restarted, snapshot.read(path)) == {"received": 7}
    restarted.check_invariants()
    assert restarted.status() == unstopped.status()
    assert facts(play(restarted, 7, 12)) == facts(play(unstopped, 7, 12))
    assert facts(restarted.flush()) == facts(unstopped.flush())


@pytest.mark.parametrize("then", ["gemm", "faiss"])
def test_what_auto_chose_then_is_what_a_restart_goes_on_with(tmp_path, monkeypatch, then):
    _, path = saved(tmp_path, then)
    now = {"gemm": "faiss", "faiss": "gemm"}[then]
    monkeypatch.setattr("musc_online.nearest.resolve", lambda name, *_: now if name == "auto" else name)
    restarted = detector(5, "auto", **OPTIONS)
    snapshot.restore(restarted, snapshot.read(path))
    assert restarted.status()["matcher"] == then
    restarted.check_invariants()
    assert "matcher: got" in refused(path, detector(5, now, **OPTIONS))


def tamper(path, change):
    with safe_open(path, "numpy") as opened:
        arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    state = json.loads(bytes(arrays.pop("state")))
    change(state, arrays)
    kept, header = snapshot_file.pack(snapshot.Snapshot(arrays, state))
    save_file(kept, path, header)


def refused(path, stream):
    before = stream.status()
    with pytest.raises(SnapshotError) as caught:
        snapshot.restore(stream, snapshot.read(path))
    assert "\n" not in str(caught.value)
    assert stream.status() == before
    stream.check_invariants()
    return str(caught.value)


def test_what_the_system_refuses_is_not_taken_for_damage(tmp_path, monkeypatch):
    _, path = saved(tmp_path)

    def no_descriptor_left(*_):  # safetensors says so whatever the reason
        raise FileNotFoundError(f"No such file or directory: {path}")

    monkeypatch.setattr(snapshot_file, "safe_open", no_descriptor_left)
    with pytest.raises(UnreadableError, match="left as it is"):
        snapshot.read(path)
    with pytest.raises(SnapshotError, match="there is no snapshot"):
        snapshot.read(tmp_path / "other")


def test_damage_anywhere_is_refused(tmp_path):
    _, path = saved(tmp_path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in [0, 9, 100, *rng.integers(0, len(whole), 40).tolist(), len(whole) - 1]:
        damaged = bytearray(whole)
        damaged[position] ^= 0x40
        path.write_bytes(bytes(damaged))
        refused(path, detector(5, **OPTIONS))
    for length in [0, 7, 100, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:length])
        refused(path, detector(5, **OPTIONS))


def test_foreign_and_older_snapshots_are_refused(tmp_path):
    _, path = saved(tmp_path)
    assert "ring: got" in refused(path, detector(6, **OPTIONS))
    assert "method: got" in refused(path, detector(5, method={"degrees": [1]}, **OPTIONS))
    assert "there is no snapshot" in refused(tmp_path / "none", detector(5, **OPTIONS))
    tamper(path, lambda state, arrays: state.update(schema=0))
    assert "schema 0, expected 5" in refused(path, detector(5, **OPTIONS))


@pytest.mark.parametrize(
    "change",
    [
        lambda state, arrays: state["slots"].__setitem__(0, 77),
        lambda state, arrays: state["pinned"].append(99),
        lambda state, arrays: arrays["table.measured"].__setitem__((0, 1), 0),
        lambda state, arrays: arrays.__setitem__("table.table", arrays["table.table"][:2]),
        lambda state, arrays: arrays.pop("class_tokens"),
        lambda state, arrays: state["entries"].pop(),
    ],
)
def test_contradictions_are_refused_by_a_detector_that_runs_already(tmp_path, change):
    _, path = saved(tmp_path)
    tamper(path, change)
    running = detector(5, **OPTIONS)
    play(running, 0, 3, seed=9)
    refused(path, running)
    play(running, 3, 6, seed=9)


def test_a_full_disk_leaves_the_old_snapshot(tmp_path):
    stream, path = saved(tmp_path)
    before = path.read_bytes()
    with pytest.raises(SnapshotError, match="could not be written"):
        snapshot.write(snapshot.capture(stream), path / "not-a-folder")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))  # as a disk that fills half way
    try:
        with pytest.raises(SnapshotError, match="could not be written"):
            snapshot.write(snapshot.capture(stream), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    assert snapshot.set_aside(path).read_bytes() == before


def test_nothing_to_save():
    with pytest.raises(SnapshotError, match="nothing to save yet"):
        snapshot.capture(detector(5))


def test_a_threshold_configured_anew_holds_after_a_restart(tmp_path):
    """What the file had learned by another rule stood until the next revision, in a closed ring for ever."""
    _, path = saved(tmp_path)
    fixed = detector(5, **OPTIONS | {"threshold": {"rule": "fixed", "value": 0.9}})
    snapshot.restore(fixed, snapshot.read(path))
    assert play(fixed, 7, 8)[0].threshold == 0.9
    same, other = detector(5, **OPTIONS), detector(5, **OPTIONS | {"threshold": {"k": 1.0}})
    for stream in (same, other):
        snapshot.restore(stream, snapshot.read(path))
    assert (same.revise_due, other.revise_due) == (False, True)
