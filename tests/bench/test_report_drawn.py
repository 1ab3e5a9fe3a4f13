"""What a report draws and says of each frame goes by its own threshold, on the scale of all of them."""

import cv2
import numpy as np
import pytest
from matplotlib.axes import Axes
from outcome_support import hot, outcome_of
from report_support import entry

from bench.replay.categories import Plan, run_plan
from bench.replay.settings import Options
from bench.report import frames as said
from bench.report import html, pictures, sentences, shown, tables
from musc_online.errors import DataError
from streamer.outlines import LINE
from streamer.overlays import Scale, legend, panels

FRAMES = [
    ("a.png", hot(1, 1, 0.45, rest=0.3), True, 0.4),
    ("b.png", hot(2, 2, 0.9), True, 0.6),
    ("c.png", hot(3, 3, 0.55), False, 0.5),
    ("d.png", hot(4, 4, 0.8), None, 0.7),
]
"""The map of c reaches its threshold, as where the score is not the map's maximum; d had a label withheld."""


@pytest.fixture
def outcome(tmp_path):
    return outcome_of(tmp_path / "images", FRAMES)


def test_each_frame_keeps_the_threshold_of_its_own_label(outcome):
    assert [one.threshold for one in said.of(outcome)] == [0.4, 0.6, 0.5, None]
    assert outcome.recorder.last_threshold == 0.5
    assert [one.threshold for one in outcome.recorder.arrivals] == [0.4, 0.6, 0.5, None]


def test_pictures_are_on_one_scale_and_only_of_what_is_called_anomalous_is_there_a_line(outcome, tmp_path):
    found = shown.write(tmp_path, outcome, said.of(outcome), Options("folder", "data"))
    scale = Scale.of([small for _, small, *_ in FRAMES], 0.5)
    expected = {"a.png": 0.4, "b.png": 0.6, "c.png": None, "d.png": None}
    drawn = [one for group in found["shown"] for one in group["pictures"]]
    assert {one["frame_id"] for one in drawn} == set(expected)
    for one in drawn:
        place = [name for name, *_ in FRAMES].index(one["frame_id"])
        frame = cv2.imread(str(outcome.category.samples[place].path))
        wanted = panels(frame, FRAMES[place][1], scale, expected[one["frame_id"]])
        assert (wanted == LINE).all(axis=2).any() == (expected[one["frame_id"]] is not None)
        coded = cv2.imencode(".jpg", wanted, shown._JPEG)[1].tobytes()
        assert (tmp_path / one["file"]).read_bytes() == coded
    assert (cv2.imread(str(tmp_path / "legend.png")) == legend(scale, 0.5)).all()
    assert found["scale"]["thresholds"] == [0.4, 0.6]
    assert "each frame was judged by its own, 0.400 to 0.600" in sentences.scale(found["scale"])


def test_tiles_and_index_count_the_defective_and_the_good_each_by_its_own():
    counts = {"final": {"found": 1, "missed": 2, "false_alarm": 4, "passed": 8, "withheld": 16}}
    counts["withheld"] = {"anomalous": 5, "normal": 11}
    one = entry(files={"counts": counts})
    assert list(html._tiles(one))[:2] == [
        ("1 of 3", "defective frames found; 5 without a label"),
        ("4 of 12", "good frames called anomalous; 11 without a label"),
    ]
    assert tables._summary(one)[3:5] == ["1 of 3, 5 without a label", "4 of 12, 11 without a label"]
    counts["final"] = {"withheld": 8}
    assert next(html._tiles(one)) == ("-", "defective frames found; 5 without a label")
    assert tables._summary(one)[3] == "-, 5 without a label"


def test_bars_can_be_seen_however_near_the_scores_are(tmp_path, monkeypatch):
    drawn = []
    hist = Axes.hist
    monkeypatch.setattr(
        Axes,
        "hist",
        lambda self, values, edges, **more: drawn.append(edges) or hist(self, values, edges, **more),
    )
    for scores, marks in (
        (np.full(9, 0.3), [0.9, 0.95]),
        (0.3 + np.arange(9) * 1e-17, None),
        (np.array([0.3, 0.3 + 1e-9, np.nan]), [0.1, 0.1]),
        (np.zeros(3), None),
    ):
        pictures.histogram(scores, None, marks, None, tmp_path / "histogram.png")
        edges = drawn.pop()
        ends = [*scores[np.isfinite(scores)], *(marks or [])]
        assert edges[0] <= min(ends)
        assert edges[-1] >= max(ends)
        assert np.diff(edges).min() > (edges[-1] - edges[0]) / 70
    pictures.histogram(np.full(2, np.nan), None, None, None, tmp_path / "histogram.png")
    assert drawn == []


@pytest.mark.parametrize("name", ["report.html", "Report.MD", "results.xlsx"])
def test_a_category_called_as_a_file_of_the_report_is_refused_before_the_work(name, outcome, tmp_path):
    category = outcome.category.__class__(name, outcome.category.samples)
    plan = Plan(outcome.config, Options("folder", "data"), [category], tmp_path / "out")
    with pytest.raises(DataError, match=f"{name}: a category of this name .+ rename its folder"):
        run_plan(plan, None, None)
    assert not (tmp_path / "out").exists()
