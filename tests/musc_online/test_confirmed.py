"""Frames of which an operator told the truth, and the threshold's rule set while the line runs."""

import pytest
from line_support import Product, Watched
from stream_support import detector

from musc_online import known, snapshot, threshold
from musc_online.errors import ConfigError, FrameError
from musc_online.known import KnownFrames, Word

RING = {"admit": "quarantine", "quarantine": 10}


@pytest.fixture
def product():
    return Product(0)


@pytest.fixture
def line(product):
    """A detector that has seen good parts and a defect, which has the id 30."""
    watched = Watched()
    watched.show_all(product.part() for _ in range(30))
    watched.show(product.damaged(product.defect(1)))
    return watched


def restarted(watched, **sections):
    saved = snapshot.capture(watched.stream)
    stream = detector(40, method={"degrees": [1]}, ring=RING, **sections)
    snapshot.restore(stream, saved)
    return stream


def test_a_frame_confirmed_as_good_is_good_from_then_on(line):
    assert line.first[30].pred_label
    line.stream.operators.confirm(30, "good")
    assert 30 in line.references()
    line.revise()
    assert line.last[30].pred_label is False
    assert line.last[30].raw_score > 1


def test_a_frame_confirmed_as_a_defect_is_anomalous_from_then_on(line):
    line.stream.operators.confirm(7, "defect", "stain")
    assert line.quarantined() == {7, 30}
    line.revise()
    assert line.last[7].pred_label is True
    assert line.last[7].raw_score < line.stream.threshold
    assert line.quarantined() == {7, 30}
    word = line.stream.verdict.known.words[7]
    assert (word.truth, word.name) == ("defect", "stain")
    assert word.raw_score == pytest.approx(line.last[7].raw_score, rel=0.05)  # quarantine supports it as well


def test_what_is_confirmed_moves_the_threshold_at_once(line):
    """One good frame promises nothing yet, but none may lie below it; with a defect there are two sides."""
    before, score = line.stream.threshold, line.last[30].raw_score
    line.stream.operators.confirm(30, "good")
    assert before < score < line.stream.threshold
    line.stream.operators.confirm(30, "defect")
    assert line.stream.threshold == before
    line.stream.operators.confirm(7, "good")
    raw_scores = line.stream.verdict.raw_scores
    expected = threshold.calibrated(before, raw_scores, [line.last[7].raw_score], [score], 0.02)
    assert line.stream.threshold == expected
    assert line.last[7].raw_score < line.stream.threshold < score
    assert line.show(Product(0).part()).threshold == expected


def test_only_auto_is_calibrated(line):
    line.stream.set_threshold(rule="quantile")
    before = line.stream.threshold
    line.stream.operators.confirm(30, "good")
    assert line.stream.threshold == before


def test_a_word_is_kept_beyond_the_frames_stay(line, product):
    line.stream.operators.confirm(5, "good")
    line.stream.operators.confirm(30, "defect")
    line.show_all(product.part() for _ in range(60))
    assert 5 not in line.ring.slot_of
    words = dict(line.stream.verdict.known.words)
    assert words[5].truth == "good"
    assert words[5].raw_score == line.last[5].raw_score  # as it was last revised
    assert line.stream.status()["known_frames"] == 2
    line.stream.operators.confirm(5, "defect", "after all")  # told of before: it need not be there
    assert line.stream.verdict.known.words[5] == Word("defect", "after all", words[5].raw_score)
    with pytest.raises(FrameError, match="got 6, which is not in the ring"):
        line.stream.operators.confirm(6, "good")


@pytest.mark.parametrize("verdict", ["bad", "", None, True])
def test_a_word_that_is_neither_is_refused(line, verdict):
    before = line.stream.threshold
    with pytest.raises(FrameError, match=f"verdict: got {verdict!r}, expected 'good' or 'defect'"):
        line.stream.operators.confirm(7, verdict)
    assert (line.stream.threshold, line.stream.status()["known_frames"]) == (before, 0)


def test_words_survive_a_restart(line):
    for frame_id in range(8):
        line.stream.operators.confirm(frame_id, "good")
    line.stream.operators.confirm(30, "defect", "scratch")
    stream = restarted(line)
    assert stream.verdict.known.words == line.stream.verdict.known.words
    assert stream.threshold == line.stream.threshold
    assert stream.revise_due == line.stream.revise_due
    line.stream.revise(), stream.revise()
    assert stream.threshold == line.stream.threshold
    assert stream.verdict.known.state() == line.stream.verdict.known.state()


def test_of_too_many_words_the_oldest_go():
    frames = KnownFrames()
    for frame_id in range(known.MOST):
        frames.tell(frame_id, Word("good", None, float(frame_id)))
    frames.tell(0, Word("defect", "again", 0.5))  # told anew it is the newest
    frames.tell("one more", Word("good", None, None))
    assert len(frames) == known.MOST
    assert next(iter(frames.words)) == 2
    assert frames.scores("defect") == [0.5]
    assert frames.scores("good") == [float(frame_id) for frame_id in range(2, known.MOST)]


RULES = [{"value": 0.38}, {"rule": "quantile"}, {"false_alarms": 0.14}, {"rule": "mad"}, {"value": 5.0}]


@pytest.mark.parametrize("wanted", RULES)
def test_a_preview_changes_nothing_and_says_what_would_happen(line, wanted):
    line.revise()
    labels, state = {f: s.pred_label for f, s in line.last.items()}, snapshot.capture(line.stream).state
    seen = line.stream.set_threshold(**wanted, preview=True)
    after = snapshot.capture(line.stream).state
    assert {**after, "saved_ns": 0} == {**state, "saved_ns": 0}
    assert not line.stream.revise_due
    assert line.stream.set_threshold(**wanted) == seen
    assert line.stream.threshold == seen["after"]["threshold"]
    assert line.stream.verdict.rule.rule == seen["after"]["rule"]
    assert line.stream.revise_due
    expected = {True: set(), False: set()}
    for frame_id, score in line.last.items():
        label = score.raw_score is not None and score.raw_score >= seen["after"]["threshold"]
        if label != bool(labels[frame_id]):
            expected[label].add(frame_id)
    assert (set(seen["to_anomalous"]), set(seen["to_normal"])) == (expected[True], expected[False])


@pytest.mark.parametrize("value", [0.38, 5.0])
def test_a_new_threshold_flips_the_labels_that_were_announced(line, value):
    line.revise()
    labels = {frame_id: score.pred_label for frame_id, score in line.last.items()}
    found = line.stream.set_threshold(value=value)
    line.revise()
    flipped = {frame_id for frame_id, score in line.last.items() if score.pred_label != labels[frame_id]}
    assert flipped == {*found["to_anomalous"], *found["to_normal"]} != set()
    assert all(line.last[frame_id].pred_label for frame_id in found["to_anomalous"])
    assert not any(line.last[frame_id].pred_label for frame_id in found["to_normal"])


def test_wrong_are_the_confirmed_frames_on_the_other_side(line):
    line.stream.operators.confirm(5, "good")
    line.stream.operators.confirm(9, "defect")
    line.stream.operators.confirm(30, "defect")
    line.stream.set_threshold(value=0.7)
    tried = line.stream.set_threshold(value=0.01, preview=True)
    assert tried["before"] == {"rule": "fixed", "threshold": 0.7, "wrong": [9]}
    assert tried["after"] == {"rule": "fixed", "threshold": 0.01, "wrong": [5]}
    assert line.stream.set_threshold(value=9.0)["after"]["wrong"] == [9, 30]
    assert line.stream.set_threshold(rule="auto")["before"]["wrong"] == [9, 30]
    assert line.stream.set_threshold(rule="auto")["before"]["wrong"] == []
    assert not {5, 9, 30} & {*tried["to_anomalous"], *tried["to_normal"]}  # what was told stands


@pytest.mark.parametrize(
    ("wanted", "key"),
    [
        ({"rule": "best"}, "rule: got 'best'"),
        ({"rule": "fixed"}, "value: missing"),
        ({"value": float("nan")}, "value: got nan"),
        ({"value": float("inf")}, "value: got inf"),
        ({"value": "high"}, "value: got 'high'"),
        ({"false_alarms": 0.0}, "false_alarms: got 0.0"),
        ({"false_alarms": 0.15}, "false_alarms: got 0.15"),
        ({"false_alarms": -1}, "false_alarms: got -1"),
    ],
)
@pytest.mark.parametrize("preview", [True, False])
def test_bad_rules_are_refused_by_name(line, wanted, key, preview):
    before = line.stream.status()
    with pytest.raises(ConfigError, match=f"^threshold: {key}") as caught:
        line.stream.set_threshold(**wanted, preview=preview)
    assert "\n" not in str(caught.value)
    assert line.stream.status() == before
    assert line.stream.verdict.rule == line.stream.config.threshold


def test_a_rule_may_be_set_before_the_first_frame(product):
    watched = Watched()
    found = watched.stream.set_threshold(value=0.7)
    assert (found["before"]["threshold"], found["after"]["threshold"]) == (None, 0.7)
    watched.show_all(product.part() for _ in range(12))
    assert watched.stream.threshold == 0.7


def test_an_operators_rule_survives_a_restart_until_another_is_configured(line):
    line.stream.set_threshold(value=0.7)
    same = restarted(line)
    assert (same.threshold, same.status()["threshold_rule"]) == (0.7, "fixed")
    same.revise()
    assert same.threshold == 0.7
    configured = restarted(line, threshold={"rule": "quantile", "quantile": 0.5})
    assert configured.status()["threshold_rule"] == "quantile"
    assert configured.revise_due
    configured.revise()
    assert configured.threshold < 0.7
    assert restarted(line, threshold={"rule": "fixed", "value": 0.9}).threshold == 0.9
