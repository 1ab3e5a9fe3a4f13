"""The replay's `verdict` of a stream, and the timeline that shows it."""

import cv2
import numpy as np
import pytest

from bench.replay import verdicts
from bench.replay.run import Recorder
from bench.report import pictures
from musc_online.score import Score

NO_NORMAL = "no normal frame with a label"


def recorded():
    """Three frames in the order 2, 0, 1: the first withheld on arrival, the second flipped by the end."""
    recorder = Recorder.of(3, (2, 2))
    for index, raw, label, threshold in ((2, 0.3, None, None), (0, 0.6, True, 0.5), (1, 0.9, True, 0.7)):
        recorder.take(index, Score(str(index), raw, pred_label=label, threshold=threshold))
    for index, raw in ((2, 0.2), (0, 0.65), (1, 0.8)):
        final = Score(str(index), raw, pred_label=raw >= 0.7, threshold=0.7, revision=1, is_final=True)
        recorder.take(index, final)
    return recorder


def test_of_a_stream_first_and_last_labels_are_judged_with_their_own_scores():
    found = verdicts.of_stream(recorded(), np.array([1, 1, 0]))
    first, last = found["provisional"], found["final"]
    assert (first["n_labelled"], first["n_withheld"], first["recall"]) == (2, 1, 1)
    assert first["reasons"] == dict.fromkeys(("false_alarms", "best_f1", "f1_over_best"), NO_NORMAL)
    assert (last["n_labelled"], last["recall"], last["precision"], last["false_alarms"]) == (3, 0.5, 1, 0)
    assert (last["f1"], last["best_f1"]) == (pytest.approx(2 / 3), 1)
    assert (found["labels_flipped"], found["labels_compared"]) == (1, 2)
    assert found["threshold"] == [{"arrival": 2, "threshold": 0.5}, {"arrival": 3, "threshold": 0.7}]
    assert found["stable_after"] == 2


def test_of_a_stream_without_true_labels_flips_and_threshold_are_left():
    with_truth, without = (verdicts.of_stream(recorded(), labels) for labels in (np.zeros(3, int), None))
    assert without == with_truth | {"provisional": None, "final": None}


def test_the_timeline_crosses_out_wrong_labels(tmp_path):
    def n_black(labels):
        pictures.timeline(recorded(), labels, tmp_path / "timeline.png")
        return (cv2.imread(str(tmp_path / "timeline.png")) < 30).all(axis=2).sum()

    # Said in the end: 1 anomalous. As true as can be, against its opposite.
    assert n_black(np.array([0, 1, 0])) + 50 < n_black(np.array([1, 0, 1]))
    assert n_black(None) + 50 < n_black(np.array([1, 0, 1]))
