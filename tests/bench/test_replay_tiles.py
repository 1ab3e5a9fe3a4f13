"""Replay of frames as tiles: tokens of every tile, the second way, and parity over real sockets."""

import json

import cv2
import naive
import numpy as np
import pytest
from replay_support import call, line

from bench import demo_data
from bench.datasets import read
from bench.replay import independent
from bench.replay.features import extracted
from musc_online import backbones, frames
from musc_online.config import TilesConfig
from streamer.images import decode_file

__all__ = ["line"]


def test_tokens_are_those_of_every_tile(line):
    (category,) = read("mvtec", line, "part")
    samples = category.samples[:3]
    backbone = backbones.load("dinov2_vits14", image_size=56, stages=(2, 11))
    tiles = TilesConfig(rows=2, cols=3, overlap=1, fit="pad")
    with extracted(samples, backbone, tiles, batch_size=4) as features:
        assert features.patch_tokens.shape == (6 * 2, 3, 16, 384)
        assert features.class_tokens.shape == (3, 6 * 384)
        assert features.n_tiles == 6
        for index, sample in enumerate(samples):
            prepared = frames.inputs(backbone, decode_file(sample.path.read_bytes()), tiles)
            tokens, class_tokens = backbone.extract(prepared)
            found = features.tokens(index)
            assert found.shape == (6, 2, 16, 384)
            np.testing.assert_allclose(found, tokens.transpose(0, 1).numpy(), atol=1e-4)
            joined = frames.join_class_tokens(class_tokens.numpy())
            np.testing.assert_allclose(features.class_tokens[index], joined, atol=1e-5)


@pytest.mark.parametrize(("tiles", "worst"), [((2, 2, 1), None), ((1, 3, 0), 0.1)])
def test_the_second_way_knows_tiles(tiles, worst):
    rows, cols, overlap = tiles
    rng = np.random.default_rng(3)
    tokens = rng.standard_normal((rows * cols, 2, 5, 9, 8)).astype(np.float32)
    each = [naive.mutual_scores(of_tile, (1, 3)) for of_tile in tokens]
    step = 3 - overlap
    grid = rows * step + overlap, cols * step + overlap
    patches = np.array([naive.stitched([one[image] for one in each], *tiles) for image in range(5)])
    maps = [naive.upsample(scores, (20, 33), grid) for scores in patches]
    raw = np.array([naive.image_score(patches[image], maps[image], worst) for image in range(5)])
    found = independent.distances(
        patches,
        raw,
        tokens.reshape(-1, 5, 9, 8),
        [0, 3],
        degrees=(1, 3),
        interval=(0.0, 0.3),
        map_size=(20, 33),
        tiles=tiles,
        worst=worst,
    )
    assert found.max_abs_patch_score < 2e-6
    assert found.max_abs_image_score < 2e-6


@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_the_second_way_knows_what_a_map_shows(fit):
    rng = np.random.default_rng(3)
    tokens = rng.standard_normal((2, 5, 16, 8)).astype(np.float32)
    patches = naive.mutual_scores(tokens, (1,))
    views = [
        frames.place(shape, (56, 56), fit).view for shape in [(30, 60), (60, 30), (9, 9), (5, 90), (8, 9)]
    ]
    raw = [
        naive.upsample(scores, 56, (4, 4), view).max() for scores, view in zip(patches, views, strict=True)
    ]
    found = independent.distances(
        patches,
        np.array(raw),
        tokens,
        range(5),
        degrees=(1,),
        interval=(0.0, 0.3),
        map_size=(56, 56),
        views=views,
    )
    assert found.max_abs_image_score < 2e-6


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A drawn line whose frames are not square."""
    root = demo_data.generate(tmp_path_factory.mktemp("wide"), n_good=6, n_defective=3, size=96)
    for path in root.rglob("*.png"):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), np.ascontiguousarray(image[12:84]))
    return root


OPTIONS = {
    "cropped": "tiles: {rows: 2, cols: 3, overlap: 1, fit: crop}\nmethod: {image_score: {worst: 0.05}}\n",
    "padded": "tiles: {cols: 2, fit: pad}\nring: {nearest: 4}\n",
    "masked": "tiles: {rows: 2}\nmethod: {position: 2}\nignore: [[[0, 0], [1, 0], [1, 0.3]]]\n",
}


@pytest.mark.parametrize(
    ("options", "through"),
    [
        ("cropped", ()),
        ("padded", ()),
        ("masked", ()),
        pytest.param("cropped", ("--through", "zmq"), marks=pytest.mark.slow),
    ],
)
def test_a_stream_of_tiles_ends_in_its_batch(wide, options, through, tmp_path, capsys):
    config = tmp_path / "tiles.yaml"
    backbone = "backbone: {image_size: 56, stages: [5, 11]}\nrevise: {every: 4}\nwarmup: 3\n"
    config.write_text(backbone + OPTIONS[options])
    output = tmp_path / "report"
    asked = ("--overlays", 1, "--save", "maps")
    arguments = ("mvtec", "--data", wide, "--config", config, "--output", output, *asked, *through)
    status, said, _ = call(capsys, *arguments)
    assert status == 0, said
    document = json.loads((output / "report.json").read_text())
    (entry,) = document["categories"]
    assert entry["parity"]["holds"] is True
    assert entry["parity"]["independent"]["max_abs_image_score"] < 5e-5
    assert entry["parity"]["independent"]["max_abs_patch_score"] < 5e-5
    (shown, *_) = [one["file"] for group in entry["files"]["shown"] for one in group["pictures"]]
    assert cv2.imread(str(output / "part" / shown)) is not None
    maps = [
        cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (output / "part" / "maps").rglob("*.tiff")
    ]
    assert [(one.shape, one.dtype) for one in maps] == [((72, 96), np.float32)] * 9
    if options == "cropped":
        assert "2 x 3 tiles of 56 px, cropped" in (output / "report.md").read_text()
