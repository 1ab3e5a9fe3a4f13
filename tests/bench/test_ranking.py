"""The ranking of a set without labels: in which order, where, and how it looks on a terminal."""

import io

import numpy as np
import pytest
from outcome_support import hot, outcome_of
from rich.cells import cell_len
from rich.console import Console

from bench.replay import ranking

FRAMES = [
    ("a.png", hot(0, 0, 0.2), False, 0.5),
    ("b.png", hot(7, 11, 0.9), True, 0.5),
    ("c.png", None, None, None),
    ("d.png", hot(3, 4, 0.2), None, None),
]


def row(rank, name=None, **changes):
    said = {"score": 1 / rank, "label": False, "threshold": 0.5, "box": None, "n_regions": 0, "peak": [1, 2]}
    return {"rank": rank, "frame_id": name or f"{rank}.png"} | said | changes


def printed(rows, width, output=None, name="part", n_images=None):
    file = io.StringIO()
    entry = {"category": name, "n_images": n_images or len(rows), "ranking": rows}
    ranking.show(entry, Console(file=file, width=width, force_terminal=True, color_system=None), output)
    return file.getvalue().splitlines()


def test_the_highest_score_is_first_equal_ones_in_the_order_of_the_files(tmp_path):
    rows = ranking.of(outcome_of(tmp_path, FRAMES))
    assert [(one["rank"], one["frame_id"]) for one in rows] == [(1, "b.png"), (2, "a.png"), (3, "d.png")]
    assert [one["label"] for one in rows] == [True, False, None]
    assert rows[0]["score"] == pytest.approx(0.9)


def test_where_is_the_box_of_what_reaches_the_threshold_else_the_peak(tmp_path):
    bad, normal, withheld = ranking.of(outcome_of(tmp_path, FRAMES))
    assert (bad["box"], bad["n_regions"], bad["peak"]) == ([55, 35, 5, 5], 1, [59, 39])
    assert ranking.where(bad) == "55,35 5x5"
    assert (normal["box"], normal["peak"]) == (None, [0, 0])
    assert ranking.where(withheld) == f"peak {round(4 * 59 / 11)},{round(3 * 39 / 7)}"
    assert ranking.where(bad | {"n_regions": 4}) == "55,35 5x5 +3"


def test_the_worst_region_comes_first(tmp_path):
    scores = hot(1, 1, 0.9)
    scores[4:7, 4:9] = 0.6  # larger, but not what the image's score is of
    (one,) = ranking.of(outcome_of(tmp_path, [("a.png", scores, True, 0.5)]))
    assert (one["box"], one["n_regions"]) == ([5, 5, 5, 5], 2)


def test_twenty_are_shown_and_where_the_others_are_is_said(tmp_path):
    rows = [row(rank, label=rank <= 5) for rank in range(1, 3001)]
    lines = printed(rows, 80)
    assert sum(".png" in line for line in lines) == 20
    assert lines[-2] == "20 of 3000 shown; 5 of 3000 called anomalous (threshold 0.500)"
    assert lines[-1] == "2980 more: --output DIR writes all of them, with pictures"
    assert printed(rows, 80, tmp_path)[-1] == f"all scores: {tmp_path}/part/scores.csv"


def test_a_few_are_shown_whole_and_what_lacks_is_counted():
    lines = printed([row(1, label=None, threshold=None), row(2)], 80, n_images=5)
    assert lines[-2] == (
        "0 of 5 called anomalous (threshold 0.500), 1 with the label withheld, 3 without a score"
    )
    assert lines[-1] == "--output DIR writes pictures of them"


NAMES = [
    "IMG_20261129_120000_" + "x" * 200 + "_0417.png",
    "検査" * 40 + "07.png",
    "bad/\x1b[31mred\n\u202eevil.png",
    "[bold]markup[/bold].png",
    "deep/" * 50 + "42.png",
]
WIDE = {"box": [10000, 10000, 12000, 12000], "n_regions": 64, "label": True}


@pytest.mark.parametrize("width", [60, 80, 200])
def test_lines_fit_and_no_number_is_cut_whatever_frames_are_called(width):
    rows = [row(rank, name, **WIDE) for rank, name in enumerate(NAMES * 4, 1)]
    lines = printed(rows, width, name="x" * 300)
    assert max(map(cell_len, lines)) <= width
    text = "\n".join(lines)
    assert text.count("10000,10000 12000x12000 +63") == 20
    assert "\x1b" not in text
    assert "\u202e" not in text
    for end in ("0417.png", "07.png", "evil.png", "42.png"):
        assert text.count(end if width >= 80 else end[-5:]) >= 4, "of a long name the end is kept"
    assert width < 80 or "[/bold].png" in text


def test_a_name_keeps_its_end_in_the_room_it_has():
    assert ranking.end_of("short.png", 9) == "short.png"
    assert ranking.end_of("longer.png", 9) == "…nger.png"
    assert [cell_len(ranking.end_of("検査" * 9, room)) <= room for room in range(1, 20)] == [True] * 19


def test_a_map_of_one_value_has_its_peak_in_the_first_corner(tmp_path):
    (one,) = ranking.of(outcome_of(tmp_path, [("a.png", np.full((8, 12), 0.3, np.float32), None, None)]))
    assert (one["peak"], one["box"]) == ([0, 0], None)
