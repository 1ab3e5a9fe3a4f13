"""A replay of deep images has the figures of their 8-bit pictures, and says how it took them."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from replay_support import call, config, line
from tiff_support import tiff

from bench.datasets import read, read_frame

__all__ = ["config", "line"]

WRITERS = {
    "grey": lambda grey: (".png", cv2.imencode(".png", grey)[1].tobytes()),
    "mono12": lambda grey: (".png", cv2.imencode(".png", grey.astype(np.uint16) << 4)[1].tobytes()),
    "mono12 tiff": lambda grey: (".tif", tiff(grey.astype(np.uint16) << 4, 16)),
    "packed": lambda grey: (".tif", tiff(grey.astype(np.uint16) << 4, 12)),
    "float": lambda grey: (".tif", tiff((grey / 255).astype(np.float32), 32)),
    "counts": lambda grey: (".tif", tiff(grey.astype(np.float32) * 16, 32)),
    "black": lambda grey: (".tif", tiff(np.zeros(grey.shape, np.float32), 32)),
}


@pytest.fixture
def written(line, tmp_path):
    """The drawn line with its test images written another way."""

    def write(kind: str) -> Path:
        root = tmp_path / kind
        shutil.copytree(line, root)
        for path in sorted((root / "part" / "test").rglob("*.png")):
            suffix, content = WRITERS[kind](cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
            path.unlink()
            path.with_suffix(suffix).write_bytes(content)
        return root

    return write


def frames_of(root, bit_depth="auto"):
    (category,) = read("mvtec", root, bit_depth=bit_depth)
    return [read_frame(sample.path, sample.bit_depth) for sample in category.samples], category.notes


@pytest.mark.parametrize(
    ("kind", "bit_depth", "said"),
    [
        ("mono12", "auto", "12 images use 12 of 16 bits"),
        ("mono12", 12, ""),
        ("mono12 tiff", "auto", "12 images use 12 of 16 bits"),
        ("packed", "auto", ""),
        ("float", "auto", ""),
        ("float", "float", ""),
        ("counts", 12, ""),
    ],
)
def test_images_of_any_depth_have_the_pixels_of_their_8_bits(kind, bit_depth, said, written):
    frames, notes = frames_of(written(kind), bit_depth)
    np.testing.assert_array_equal(frames, frames_of(written("grey"))[0])
    assert said in " ".join(notes)
    assert bool(said) == bool(notes)


@pytest.mark.slow
def test_a_replay_says_how_it_took_the_images_and_has_the_same_figures(written, config, tmp_path, capsys):
    figures = {}
    for kind in ("grey", "mono12"):
        target = tmp_path / f"{kind}.json"
        status, _, said = call(capsys, "mvtec", "--data", written(kind), "--config", config, "--json", target)
        assert status == 0, said
        assert ("taken as bit_depth 12; --bit-depth 16 for otherwise" in said) == (kind == "mono12")
        figures[kind] = json.loads(target.read_text())["categories"][0]["revised"]
    assert figures["mono12"] == figures["grey"]


@pytest.mark.slow
def test_a_warning_about_a_frame_ends_no_replay_through_sockets(written, config, capsys):
    status, _, said = call(
        capsys, "mvtec", "--data", written("black"), "--config", config, "--limit", 4, "--through", "zmq"
    )
    assert status in {0, 1}, said


def test_a_replay_of_black_or_unknown_images_says_so(written, config, capsys):
    status, _, said = call(capsys, "mvtec", "--data", written("black"), "--config", config, "--limit", 4)
    assert status in {0, 1}
    (line,) = [line for line in said.splitlines() if "constant_image" in line]
    assert "constant_image: 4 images, among them test/" in line
    status, _, said = call(capsys, "mvtec", "--data", written("counts"), "--config", config)
    assert status == 2
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert ".tif: bit_depth: floating-point pixels reach from" in line
    assert "--bit-depth" in line
