"""`--save`: maps, masks and overlays of every image, as other programs read them."""

import cv2
import numpy as np
import pytest
from outcome_support import SHAPE, hot, outcome_of
from PIL import Image

from bench.replay import saved, settings, table
from bench.replay.settings import SAVEABLE
from bench.report.frames import write_scores
from musc_online.errors import ConfigError, DataError
from streamer.maps import interpolate
from streamer.outlines import LINE
from streamer.overlays import Scale, legend, panels

FRAMES = [
    ("bad/1.png", hot(2, 3, 0.9), True, 0.5),
    ("good/1.png", hot(0, 0, 0.3), False, 0.5),
    ("early.png", hot(7, 11, 0.7), None, None),
    ("lost.png", None, None, None),
]


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


@pytest.fixture
def written(tmp_path):
    """The folder, the outcome, and what was saved of it."""
    outcome = outcome_of(tmp_path / "images", FRAMES)
    counted = []
    found = saved.write(tmp_path / "out", outcome, SAVEABLE, counted.append)
    assert counted == [1] * 4
    return tmp_path / "out", outcome, found


def test_maps_are_float_tiffs_of_the_frames_pixels_in_the_units_of_the_score(written):
    folder, _, found = written
    assert found.files["maps"] == ["maps/bad/1.tiff", "maps/good/1.tiff", "maps/early.tiff", None]
    for file, (_, small, *_) in zip(found.files["maps"][:3], FRAMES, strict=False):
        large = read(folder / file)
        assert (large.shape, large.dtype) == ((40, 60), np.float32)
        assert (large == interpolate(small, (40, 60))).all()
        assert (np.asarray(Image.open(folder / file)) == large).all(), "other readers see the same"


def test_masks_are_what_reaches_the_threshold_of_the_images_own_last_label(written):
    folder, _, found = written
    assert found.files["masks"] == ["masks/bad/1.png", "masks/good/1.png", None, None]
    for mask_file, map_file in zip(found.files["masks"][:2], found.files["maps"], strict=False):
        mask = read(folder / mask_file)
        assert (mask.shape, mask.dtype) == ((40, 60), np.uint8)
        assert (mask == np.where(read(folder / map_file) >= 0.5, 255, 0)).all()
    assert read(folder / "masks" / "bad" / "1.png").any()
    assert not read(folder / "masks" / "good" / "1.png").any()


def test_overlays_are_those_of_the_report_on_one_scale_with_its_legend(written):
    folder, outcome, found = written
    maps = [small for _, small, *_ in FRAMES[:3]]
    scale = Scale.of(maps, 0.5)
    for index, outlined in ((0, 0.5), (1, None), (2, None)):
        frame = cv2.imread(str(outcome.category.samples[index].path))
        expected = panels(frame, maps[index], scale, outlined)
        assert (read(folder / found.files["overlays"][index]) == expected).all()
    assert (read(folder / "overlays" / "legend.png") == legend(scale, 0.5)).all()


@pytest.mark.parametrize("stated", [None, 0.5])
def test_line_and_mask_go_by_one_rule_whatever_was_said(tmp_path, stated):
    """Where the score is not the map's maximum, the map of a normal frame reaches the threshold, too."""
    frames = [
        ("bad.png", hot(2, 3, 0.9), True, 0.5),
        ("good.png", hot(2, 3, 0.9), False, 0.5),
        ("early.png", hot(2, 3, 0.9), None, stated),
    ]
    outcome = outcome_of(tmp_path / "images", frames)
    found = saved.write(tmp_path / "out", outcome, ["overlays", "masks"])
    assert found.files["masks"] == ["masks/bad.png", "masks/good.png", None]
    masked = [read(tmp_path / "out" / file).any() for file in found.files["masks"][:2]]
    white = [(read(tmp_path / "out" / file) == LINE).all(axis=2).sum() for file in found.files["overlays"]]
    assert masked == [True, False]
    assert [count > 20 for count in white] == [True, False, False]


def test_the_one_scale_is_of_all_images_and_not_of_the_first(tmp_path):
    frames = [("a.png", hot(1, 1, 0.4, rest=0.3), True, 0.35), ("b.png", hot(1, 1, 0.9), True, 0.5)]
    outcome = outcome_of(tmp_path / "images", frames)
    saved.write(tmp_path / "out", outcome, ["overlays"])
    expected = legend(Scale.of([small for _, small, *_ in frames], 0.5), 0.5)
    assert (read(tmp_path / "out" / "overlays" / "legend.png") == expected).all()


def test_an_image_called_anomalous_has_no_empty_mask(tmp_path):
    """The frame's pixels lie between those of the map, and miss its highest one."""
    small = hot(3, 5, 0.50001)
    assert interpolate(small, (40, 60)).max() < 0.5
    outcome = outcome_of(tmp_path / "images", [("a.png", small, True, 0.5)])
    (file,) = saved.write(tmp_path / "out", outcome, ["masks"]).files["masks"]
    rows, columns = np.nonzero(read(tmp_path / "out" / file))
    assert len(rows) > 0
    assert (abs(rows - 3 * 39 / 7).max(), abs(columns - 5 * 59 / 11).max()) < (1, 1)


def test_what_is_missing_is_counted_and_said(written):
    _, _, found = written
    entry = {"saved": found.as_json()}
    assert entry["saved"]["n_files"] == {"maps": 3, "overlays": 3, "masks": 2}
    assert table.saved(entry) == (
        "saved: 3 maps, 3 overlays, 2 masks; 1 image without masks (label withheld); "
        "1 image without maps (no score); 1 image without overlays (no score); "
        "1 image without masks (no score)"
    )


def test_scores_csv_names_the_files(written, tmp_path):
    _, outcome, found = written
    outcome.saved = found.files
    write_scores(tmp_path / "scores.csv", outcome)
    heading, *rows = (tmp_path / "scores.csv").read_text().splitlines()
    assert heading.endswith(",error,maps_file,overlays_file,masks_file")
    assert rows[0].endswith(",maps/bad/1.tiff,overlays/bad/1.png,masks/bad/1.png")
    assert rows[2].endswith(",maps/early.tiff,overlays/early.png,")
    assert rows[3].endswith(",,,")


def test_the_mask_in_the_picture_is_the_truth(tmp_path):
    truth = np.zeros(SHAPE, np.uint8)
    truth[1:4, 2:5] = 1
    outcome = outcome_of(tmp_path / "images", FRAMES[:1], [truth])
    found = saved.write(tmp_path / "out", outcome, ["overlays"])
    frame = cv2.imread(str(outcome.category.samples[0].path))
    expected = panels(frame, FRAMES[0][1], Scale.of([FRAMES[0][1]], 0.5), 0.5, truth)
    assert (read(tmp_path / "out" / found.files["overlays"][0]) == expected).all()


def test_only_what_was_asked_for_is_written_and_nothing_half(written, tmp_path):
    folder, outcome, _ = written
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert len(names) == 3 + 3 + 2 + 1
    assert not any(name.endswith(".partial") for name in names)
    saved.write(tmp_path / "second", outcome, ["masks"])
    assert [path.name for path in (tmp_path / "second").iterdir()] == ["masks"]


def test_a_mask_of_an_earlier_replay_does_not_stay_where_there_is_none_now(tmp_path):
    once = outcome_of(tmp_path / "images", [("a.png", hot(1, 1, 0.9), True, 0.5)])
    saved.write(tmp_path / "out", once, ["masks"])
    assert (tmp_path / "out" / "masks" / "a.png").is_file()
    again = outcome_of(tmp_path / "images", [("a.png", hot(1, 1, 0.9), None, None)])
    assert saved.write(tmp_path / "out", again, ["masks"]).files == {"masks": [None]}
    assert not (tmp_path / "out" / "masks" / "a.png").exists()


def test_hostile_names_stay_in_the_folder_and_apart(tmp_path):
    ids = ["../../up.png", "a.png", "A.png", "a.jpg", "/abs.png", "legend.png", "x" * 300 + ".png", "\n.png"]
    outcome = outcome_of(tmp_path / "images", [(one, hot(1, 1, 0.9), True, 0.5) for one in ids])
    found = saved.write(tmp_path / "out", outcome, ["overlays"])
    files = found.files["overlays"]
    assert len({file.casefold() for file in files}) == len(ids)
    below = (tmp_path / "out" / "overlays").resolve()
    assert all((tmp_path / "out" / file).resolve().is_relative_to(below) for file in files)
    assert len(list(below.rglob("*.png"))) == len(ids) + 1
    assert set(tmp_path.iterdir()) == {tmp_path / "images", tmp_path / "out"}


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    outcome = outcome_of(tmp_path / "images", FRAMES[:1])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "maps").write_text("a file")
    with pytest.raises(
        DataError, match=r"maps/bad/1\.tiff: cannot be written \(.+\); make room, or give"
    ) as said:
        saved.write(tmp_path / "out", outcome, ["maps"])
    assert "\n" not in str(said.value)


def test_kinds_come_with_commas_or_one_by_one():
    assert settings.parse_save(["masks, maps"]) == settings.parse_save(["maps", "masks"]) == ("maps", "masks")
    assert settings.parse_save([]) == ()
    with pytest.raises(ConfigError, match="--save: got 'map', expected maps, overlays, masks"):
        settings.parse_save(["map,masks"])
