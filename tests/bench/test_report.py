"""The words and figures of report, terminal and workbook; what a spreadsheet may not run."""

import io

import numpy as np
import openpyxl
import pytest
from report_support import document, entry
from rich.console import Console

from bench.replay import outcome, published, table, terminal
from bench.replay.settings import Options, parse_capacities, parse_seeds
from bench.report import excel, frames, text
from musc_online import config
from musc_online.errors import ConfigError

NAN = float("nan")
LABELS = np.array([0, 0, 0, 1, 1])


def test_an_images_error_is_the_share_of_the_other_kind_on_the_wrong_side():
    scores = np.array([0.1, 0.5, 0.9, 0.5, 0.95])
    assert list(frames.image_errors(LABELS, scores)) == pytest.approx([0, 1 / 2, 1 / 2, 2 / 3, 0])


def test_one_minus_mean_error_of_a_kind_is_the_auroc():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 60), rng.random(60)
    errors = frames.image_errors(labels, scores)
    pairs = scores[labels == 1][:, None] > scores[labels == 0][None]
    assert 1 - errors[labels == 1].mean() == pytest.approx(pairs.mean())
    assert 1 - errors[labels == 0].mean() == pytest.approx(pairs.mean())


def test_errors_without_the_other_kind_or_a_score_are_not_numbers():
    assert np.isnan(frames.image_errors(np.zeros(3, int), np.arange(3.0))).all()
    assert np.isnan(frames.image_errors(LABELS, np.array([NAN, 0, 0, 1, 1]))[0])


def test_a_folder_named_like_a_formula_is_no_formula(tmp_path):
    excel.write(tmp_path / "results.xlsx", document(entry("=1+1")))
    cell = openpyxl.load_workbook(tmp_path / "results.xlsx")["results"]["A2"]
    assert cell.data_type == "s"
    assert cell.value == "'=1+1"


def test_a_table_cell_cannot_break_the_markdown_table():
    page = text.markdown(document(entry("a|b")))
    rows = [line for line in page.splitlines() if line.startswith("| a")]
    assert rows
    assert all("a\\|b" in row for row in rows)


@pytest.mark.parametrize(
    ("holds", "said"),
    [
        (True, "The stream ended in the batch result"),
        (False, "Parity does not hold: p"),
        (None, "Parity was not asked for"),
    ],
)
def test_the_verdict_comes_first(holds, said):
    parity = entry()["parity"] | {"holds": holds, "reason": "the ring holds 2 of 5 images"}
    lines = text.markdown(document(entry("p", parity=parity))).splitlines()
    assert said in "".join(lines[:3])


def test_findings_are_printed_and_reported_with_their_spread():
    stage = {"image_auroc": 0.9, "image_raw_auroc": None, "pixel_auroc": 0.5, "pro": 0.25}
    row = {"provisional": stage, "revised": stage, "labels_flipped": 1, "labels_compared": 4, "n_warmup": 1}
    other = row | {"revised": stage | {"pro": 0.75}}
    findings = {"sweep": [{"capacity": 4, "seed": 0} | row, {"capacity": 4, "seed": 1} | other]}
    said = document(entry("p", findings=findings))
    page = text.markdown(said)
    assert "| 4 | 90.00 (90.00 to 90.00) | - | 25.00 (25.00 to 25.00) |" in page
    assert "| 50.00 (25.00 to 75.00) | 2 of 8 |" in page
    printed = io.StringIO()
    terminal.show(said, Console(file=printed))
    assert "mean over 2 orders" in printed.getvalue()
    assert "(25.00-75.00)" in printed.getvalue()
    assert "parity holds" in printed.getvalue()


def test_both_distances_are_printed():
    said = table.verdict(entry("p"))
    assert said == (
        "p: parity holds: stream and batch: raw scores within 1.0e-07, maps 1.0e-07, metrics 0.0e+00; "
        "batch and plain float32 on 8 images: patch scores within 2.0e-05, raw scores 1.0e-05 (allowed 1e-04)"
    )
    assert said in text.markdown(document(entry("p")))


def test_what_labels_are_worth_is_printed_within_the_width_and_reported():
    entries = [entry("a"), entry("a_category_of_a_longer_name")]
    mean = outcome.mean(entries)
    assert mean["verdict"]["final"]["recall"] == 0.5
    assert mean["verdict"]["final"]["precision"] is None
    said = document(*entries, mean=mean)
    page, printed = text.markdown(said), io.StringIO()
    terminal.show(said, Console(file=printed))
    cells = ["provisional", "3", "2", "50.00", "-", "0.00", "40.00", "80.00", "50.00"]
    assert "| a | " + " | ".join(cells) + " |" in page
    assert "| mean | final | - | - | 50.00 | - | 0.00 | 40.00 | 80.00 | 50.00 |" in page
    rows = printed.getvalue().splitlines()
    assert ["a", *cells] in [row.split() for row in rows]
    assert max(len(row) for row in rows if "final" in row or "labelled" in row) <= terminal.WIDTH
    assert "a: undefined, no frame was called anomalous: provisional labels' precision" in printed.getvalue()


def test_without_true_labels_no_rates_are_shown():
    unknown = entry("p")
    unknown["verdict"] |= {"provisional": None, "final": None}
    assert terminal.labels(document(unknown)) is None
    assert "Labels as they were sent" not in text.markdown(document(unknown))


def test_the_threshold_is_told_from_first_to_last():
    stated = [{"arrival": 10, "threshold": 0.5}, {"arrival": 30, "threshold": 0.625}]
    told = entry("p")
    assert table.threshold(told) == "no threshold was stated on arrival"
    told["verdict"] |= {"threshold": stated, "stable_after": 29}
    assert table.threshold(told) == (
        "threshold 0.500 from frame 10 on, 0.625 from frame 30 on (2 values); "
        "within 5% of the last after 29 frames"
    )
    told["verdict"] |= {"threshold": stated[:1], "stable_after": 0}
    assert table.threshold(told) == "threshold 0.500 from frame 10 on; within 5% of the last after 0 frames"


def test_published_figures_stand_beside_ours_with_the_difference():
    theirs = {"image": {"auroc": 0.95, "f1_max": 0.8, "ap": 0.7}, "pixel": {"auroc": 0.9}}
    rows = dict(table.lines(entry(), theirs))
    assert rows["published"][0] == "95.00"
    assert rows["batch - published"][0] == "-5.00"
    assert rows["batch - published"][1] == "+0.00"
    assert rows["published"][9] == "-"


def published_batch(shift=0.0):
    backbone = {"name": "ViT-L-14-336", "image_size": 518, "stages": [5, 11, 17, 23], "activation": "gelu"}
    paper = config.load({"backbone": backbone})
    theirs = published.expected("mvtec", paper)["bottle"]
    ours = {level: dict(metrics) for level, metrics in theirs.items()}
    ours["pixel"]["pro"] += shift
    return paper, ours


@pytest.mark.parametrize(("shift", "n_missed"), [(0.0, 0), (0.003, 0), (-0.003, 0), (0.0031, 1), (-0.004, 1)])
def test_expecting_the_published_figures_allows_three_tenths_of_a_point(shift, n_missed):
    paper, ours = published_batch(shift)
    missed = published.missed(document(entry("bottle", batch=ours)), paper, Options("mvtec", "data"))
    assert len(missed) == n_missed
    assert all("bottle: pixel pro" in line for line in missed)


def test_an_undefined_figure_is_not_as_published():
    paper, ours = published_batch()
    ours["image"]["auroc"] = None
    missed = published.missed(document(entry("bottle", batch=ours)), paper, Options("mvtec", "data"))
    assert missed == ["bottle: image auroc: got undefined, published 99.92"]


def test_what_is_unlike_the_published_run_is_named():
    paper, _ = published_batch()
    assert published.unlike(paper, Options("mvtec", "data")) == []
    assert "limit: 5, published all images" in published.unlike(paper, Options("mvtec", "data", limit=5))


def test_capacities_and_seeds_from_the_command_line():
    assert parse_capacities("25, 50,all") == (25, 50, "all")
    assert parse_seeds("3,1") == (3, 1)
    options = Options("mvtec", "data", capacities=(25, 200, "all"))
    assert options.sizes(77) == [25, 77]
    assert options.capacity(77) == 77
    assert Options("mvtec", "data", capacities=(300,)).sizes(77) == [300]
    for wrong in ("", "1", "-4", "all,x"):
        with pytest.raises(ConfigError, match="--capacity: got"):
            parse_capacities(wrong)
    for wrong in ("", "1,1", "-1"):
        with pytest.raises(ConfigError, match="--seeds: got"):
            parse_seeds(wrong)
