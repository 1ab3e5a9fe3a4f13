"""The demo as a newcomer runs it: three real processes, a table, pictures."""

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from streamer_support import backbone

from bench.demo_data import generate
from streamer import overlays
from streamer.demo import main as demo_main
from streamer.demo import truth_of
from streamer.wire.published import Message, encode_map

__all__ = ["backbone"]


@pytest.mark.usefixtures("backbone")
def test_the_demo_shows_every_frame_and_draws_overlays(tmp_path):
    generate(tmp_path / "data", n_good=9, n_defective=3, size=96)
    damaged = next((tmp_path / "data").rglob("good/008.png"))
    damaged.write_bytes(damaged.read_bytes()[:60])  # refused, and not waited for again at the end
    done = CliRunner().invoke(
        demo_main, ["--data", str(tmp_path / "data"), "--output", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    for name in (
        "good/000.png",
        "good/003.png",
        "truth",
        "verdict",
        "re-scored",
        "state",
        "of 11 verdicts agree",
        "good/008.png: payload: the png is truncated",
    ):
        assert name in done.output
    pictures = sorted((tmp_path / "out").glob("*.png"))
    assert len(pictures) == 8
    assert all(cv2.imread(str(path)).shape == (320, 960, 3) for path in pictures)


@pytest.mark.slow
@pytest.mark.usefixtures("backbone")
def test_a_publisher_that_ends_early_is_not_waited_for(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "a.bmp").write_bytes(b"BM no picture")
    done = CliRunner().invoke(
        demo_main, ["--data", str(tmp_path / "parts"), "--output", str(tmp_path / "out")]
    )
    assert done.exit_code == 2
    assert "only 0 of 1 scored on arrival came: the images cannot all be sent" in done.stderr


def test_a_folder_without_images_is_one_line(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        done = CliRunner().invoke(demo_main, ["--data", str(folder)])
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
        assert done.stderr.startswith("error: ")


def test_truth_is_the_folder():
    assert [truth_of(one) for one in ("good/1.png", "a/scratch/2.png", "3.png")] == ["good", "scratch", None]


def test_a_picture_keeps_the_frames_aspect_and_outlines_only_what_is_anomalous(tmp_path):
    frame = np.full((40, 100, 3), 90, np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), frame)
    values = np.zeros((20, 30), np.float32)
    values[5:9, 5:9] = 0.5
    entry, payload = encode_map(values, "float32")
    for raw, outlined in (
        (0.4, True),
        (0.2, False),
    ):  # a mean of worst patches may lie below the map's maximum
        header = {"frame_id": "a.png", "raw_score": raw, "threshold": 0.3, "anomaly_map": entry}
        (written,) = overlays.write(
            [Message(header, "line/score", payload)], {"a.png": tmp_path / "a.png"}, tmp_path
        )
        picture = cv2.imread(str(written))
        assert picture.shape == (128, 960, 3)
        assert (picture[:, 640:] == (0, 0, 255)).all(axis=2).any() == outlined
