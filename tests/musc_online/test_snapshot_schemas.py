"""Snapshots of schema 2, and of another quarantine than is configured now."""

import pytest
from line_support import Product, Watched
from stream_support import detector

from musc_online import snapshot
from musc_online.errors import SnapshotError

SECTIONS = {"method": {"degrees": [1]}, "threshold": {"rule": "mad", "k": 8.0}}


def line(n_good=20, quarantine=6, **sections):
    """A detector that has seen good parts and two defects, and those parts' source."""
    product = Product(0)
    watched = Watched(12, ring={"quarantine": quarantine}, **(SECTIONS | sections))
    watched.show_all(product.part() for _ in range(n_good))
    for kind in (1, 2):
        watched.show(product.damaged(product.defect(kind)))
    return watched, product


def stream(admit="quarantine", quarantine=6, **sections):
    return detector(12, ring={"admit": admit, "quarantine": quarantine}, **(SECTIONS | sections))


def as_schema_2(saved):
    """The state as the version before wrote it: neither quarantine nor events, the verdict three numbers."""
    state = dict(saved.state)
    verdict = state.pop("verdict")
    for name in ("quarantined", "exemplars", "events", "stale"):
        del state[name]
    rule = {key: verdict["rule"][key] for key in ("rule", "k", "quantile", "value")}
    entries = [
        {
            "score": {key: value for key, value in entry["score"].items() if key != "known_defect"},
            "shape": entry["shape"],
            "known_good": entry["truth"] is False,
        }
        for entry in state["entries"]
    ]
    state |= {
        "schema": 2,
        "next_slot": state["arrivals"] % 12,
        "entries": entries,
        "verdict": [verdict["threshold"], *verdict["range"]],
        "threshold_rule": rule,
    }
    return snapshot.Snapshot(saved.arrays, state)


def in_file(saved, tmp_path):
    path = tmp_path / "line.safetensors"
    snapshot.write(saved, path)
    return snapshot.read(path)


def facts(score):
    said = (score.frame_id, score.raw_score, score.rscin_score, score.pred_label, score.threshold)
    return (*said, score.revision, score.is_final, score.n_references)


def goes_on_like(ours, theirs, product, n_parts=15):
    """Both are shown the same, and say the same of it."""
    for part in [product.part() for _ in range(n_parts)] + [product.damaged(product.defect(1))] * 2:
        frame_id = f"later-{theirs.ring.arrivals}"
        for one, other in zip(*(go_on(one, part, frame_id) for one in (ours, theirs)), strict=True):
            assert facts(one) == facts(other)
        ours.check_invariants()


def go_on(watcher, part, frame_id):
    said = [watcher.step_tokens(part, [1.0] * 4, frame_id)]
    if watcher.revise_due:
        said += watcher.revise()
    return said + watcher.take_finals()


def test_a_file_of_schema_2_goes_on_as_if_nothing_had_changed(tmp_path):
    """It was written by a ring that admitted all."""
    product = Product(0)
    before = stream("all")
    for frame_id in range(20):
        go_on(before, product.part(), frame_id)
    before.operators.false_alarm(15)
    before.operators.pin(16)
    after = stream("all")
    saved = as_schema_2(snapshot.capture(before, {"seq": 5}))
    assert snapshot.restore(after, in_file(saved, tmp_path)) == {"seq": 5}
    assert after.revise_due  # the file does not say of what the threshold was learned
    before.revise()
    after.revise()
    assert after.status() == before.status()
    assert [entry.truth for entry in after.window.entries.values()] == [
        entry.truth for entry in before.window.entries.values()
    ]
    assert after.ring.pinned == before.ring.pinned
    goes_on_like(after, before, product)


@pytest.mark.parametrize("names_its_rule", [True, False])
def test_a_file_of_schema_2_starts_a_quarantine_and_another_rule(tmp_path, names_its_rule):
    """The first files of schema 2 did not say by which rule they had learned, and were called damaged."""
    product = Product(0)
    before = stream("all")
    for frame_id in range(20):
        go_on(before, product.part(), frame_id)
    after = stream("quarantine", threshold={"rule": "auto"})
    saved = as_schema_2(snapshot.capture(before))
    if not names_its_rule:
        del saved.state["threshold_rule"]
    snapshot.restore(after, in_file(saved, tmp_path))
    assert after.ring.frame_ids == [*before.ring.frame_ids, *[None] * 6]
    assert after.revise_due  # the file's threshold is another rule's
    after.revise()
    defect = go_on(after, product.damaged(product.defect(1)), "defect")[0]
    assert defect.pred_label
    assert after.status()["quarantined"] == 1
    after.check_invariants()


def test_a_quarantine_that_grew_holds_what_it_held_and_more(tmp_path):
    watched, product = line()
    grown = stream(quarantine=9)
    snapshot.restore(grown, in_file(snapshot.capture(watched.stream), tmp_path))
    grown.check_invariants()
    assert len(grown.ring.frame_ids) == 12 + 9
    assert grown.ring.frame_ids[: 12 + 6] == watched.ring.frame_ids
    assert grown.ring.quarantined == watched.ring.quarantined != set()
    assert grown.events.state() == watched.stream.events.state()
    goes_on_like(grown, watched.stream, product)
    for kind in range(2, 9):
        go_on(grown, product.damaged(product.defect(kind)), f"defect-{kind}")
    assert len(grown.ring.quarantined) == 9


@pytest.mark.parametrize("admit", ["quarantine", "all", "below_threshold"])
def test_a_smaller_quarantine_is_refused_with_the_reason(tmp_path, admit):
    watched, _ = line()
    smaller = stream(admit, quarantine=5)
    before = smaller.status()
    with pytest.raises(SnapshotError, match=r"ring\.quarantine was larger") as caught:
        snapshot.restore(smaller, in_file(snapshot.capture(watched.stream), tmp_path))
    assert "\n" not in str(caught.value)
    assert smaller.status() == before
    assert smaller.ring is None


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state["quarantined"].append(99),
        lambda state: state["quarantined"].extend(range(12)),
        lambda state: state["exemplars"].append(0),
        lambda state: state["pinned"].extend(state["quarantined"]),
        lambda state: state["events"].pop("marks"),
        lambda state: state["verdict"].pop("rule"),
        lambda state: state["verdict"]["known"].append([1]),
        lambda state: state["entries"][0].pop("truth"),
    ],
)
def test_what_is_new_in_schema_3_is_checked(tmp_path, change):
    watched, _ = line(n_good=12)
    saved = in_file(snapshot.capture(watched.stream), tmp_path)
    change(saved.state)
    running, product = stream(), Product(9)
    for frame_id in range(12):
        go_on(running, product.part(), frame_id)
    before = snapshot.capture(running).state | {"saved_ns": 0}
    with pytest.raises(SnapshotError, match="its parts do not fit"):
        snapshot.restore(running, saved)
    assert snapshot.capture(running).state | {"saved_ns": 0} == before
    running.check_invariants()
