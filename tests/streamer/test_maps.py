"""Maps as they travel: a grid comes back as the detector's map, and no entry does more than raise."""

import re
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import msgpack
import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musc_online import config
from musc_online.anomaly_map import FrameMaps, upsample
from streamer import maps
from streamer.errors import WireError
from streamer.maps import PatchGrid, decode_map, encode_map, grid_of_map, interpolate
from streamer.wire.published import Message, pack_message, unpack_message

SIDES = st.integers(1, 9)
EDGES = st.sampled_from([(0.0, 1.0), (0.25, 0.75), (0.1, 0.8), (-0.5, 1.5), (-0.3, 1.2), (0.0, 0.6)])
SHAPES = [(60, 100), (100, 60), (100, 100), (5, 300), (1, 90), None]
CORNER = [[[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]]]


def travelled(map_, grid, encoding="grid"):
    """The message that a subscriber has of a map."""
    entry, payload = encode_map(map_, encoding, grid)
    header = {"kind": "score", "anomaly_map": entry}
    return unpack_message(pack_message("s/score", header, payload))


@settings(max_examples=200, deadline=None)
@given(
    grid=st.tuples(SIDES, SIDES),
    size=st.tuples(st.integers(1, 140), SIDES) | st.tuples(SIDES, st.integers(1, 140)),
    down=EDGES,
    across=EDGES,
    whole=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_grid_is_interpolated_as_the_detector_and_the_oracle_do(grid, size, down, across, whole, seed):
    patches = np.random.default_rng(seed).random(grid[0] * grid[1]) * 2
    view = None if whole else (down[0], across[0], down[1], across[1])
    ours = upsample(patches[None], size, grid, None if view is None else [view])[0]
    found = travelled(ours, PatchGrid(patches.reshape(grid), view)).anomaly_map
    assert (found.shape, found.dtype) == (size, np.float32)
    np.testing.assert_allclose(found, ours, rtol=0, atol=1e-6)
    oracle = naive.upsample(patches, size, grid, *([] if view is None else [view]))
    np.testing.assert_allclose(found, oracle, rtol=0, atol=1e-6)


@pytest.mark.parametrize("frame", SHAPES)
@pytest.mark.parametrize(
    ("sections", "n_patches"),
    [
        ({}, 16),
        ({"output": {"map_size": 30}}, 16),
        ({"output": {"map_size": 1}}, 16),
        ({"backbone": {"image_size": 14}}, 1),
        ({"ignore": CORNER}, 16),
        ({"ignore": CORNER, "output": {"map_size": 37}}, 16),
        ({"tiles": {"rows": 2, "cols": 3, "overlap": 1}}, 7 * 10),
        ({"tiles": {"rows": 2, "cols": 3, "overlap": 1}, "ignore": CORNER, "output": {"map_size": 91}}, 70),
        ({"tiles": {"rows": 2, "cols": 3, "overlap": 1, "fit": "pad"}}, 70),
        ({"tiles": {"rows": 2, "cols": 3, "overlap": 1, "fit": "crop"}, "output": {"map_size": 50}}, 70),
        ({"tiles": {"fit": "pad"}}, 16),
        ({"tiles": {"fit": "crop"}}, 16),
    ],
)
def test_the_map_of_every_configuration_comes_back(sections, n_patches, frame):
    made = FrameMaps(config.load({"backbone": {"image_size": 56}, **sections}))
    patches = np.random.default_rng(1).random((1, n_patches)) + 0.1
    map_ = made.maps(patches, [frame])[0]
    grid = PatchGrid(made.kept(patches)[0].reshape(made.grid(n_patches)), made.view(frame), made.hidden)
    message = travelled(map_, grid)
    np.testing.assert_allclose(message.anomaly_map, map_, rtol=0, atol=1e-6)
    entry = message["anomaly_map"]
    assert (entry["min"], entry["max"]) == (map_.min(), map_.max()), "of the map, not of the grid"
    assert (entry["view"] is None) == ("fit" not in sections.get("tiles", {}))
    assert (entry["mask_bytes"] > 0) == ("ignore" in sections)
    scores, view = grid_of_map(entry, message.payload)
    np.testing.assert_array_equal(scores, grid.scores.astype(np.float32))
    assert view == grid.view


def test_the_page_on_the_wire_decodes_as_we_do():
    """What docs/wire.md#anomaly-map has for whoever has none of our code."""
    page = (Path(__file__).parents[2] / "docs" / "wire.md").read_text(encoding="utf-8")
    (code,) = [part for part in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "decode_grid" in part]
    written: dict = {}
    exec(code, written)  # noqa: S102
    for sections, frame in (({"ignore": CORNER}, None), ({"tiles": {"fit": "crop"}}, (40, 90))):
        made = FrameMaps(config.load({"backbone": {"image_size": 56}, **sections}))
        patches = np.random.default_rng(1).random((1, 16))
        grid = PatchGrid(made.kept(patches).reshape(4, 4), made.view(frame), made.hidden)
        entry, part = encode_map(made.maps(patches, [frame])[0], "grid", grid)
        np.testing.assert_allclose(written["decode_grid"](entry, part), decode_map(entry, part), atol=1e-7)


def test_a_grid_is_small():
    made = FrameMaps(config.load())
    patches = np.random.default_rng(0).random((1, 256))
    map_ = made.maps(patches)[0]
    sizes = {
        encoding: len(encode_map(map_, encoding, PatchGrid(patches.reshape(16, 16)))[1])
        for encoding in ("grid", "png16", "float32")
    }
    assert sizes["grid"] == 1024
    assert sizes["float32"] == 224 * 224 * 4
    assert sizes["png16"] > 30 * sizes["grid"]


def test_a_map_whose_grid_is_lost_travels_as_numbers():
    map_ = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    message = travelled(map_, None)
    assert message["anomaly_map"]["encoding"] == "float32"
    np.testing.assert_array_equal(message.anomaly_map, map_)


@pytest.mark.parametrize("encoding", ["float32", "png16"])
@pytest.mark.parametrize("shape", [(5, 7), (1, 1), (64, 64), (200, 30), (1, 300)])
def test_of_other_maps_a_sample_is_given_corners_aligned(encoding, shape):
    map_ = np.random.default_rng(0).random(shape).astype(np.float32)
    message = travelled(map_, None, encoding)
    sample, view = grid_of_map(message["anomaly_map"], message.payload)
    assert view is None
    assert sample.shape == tuple(min(side, 64) for side in shape)
    whole = message.anomaly_map
    assert (sample[0, 0], sample[-1, -1], sample[0, -1]) == (whole[0, 0], whole[-1, -1], whole[0, -1])
    if max(shape) <= 64:
        np.testing.assert_array_equal(sample, whole)


GRID = {"encoding": "grid", "shape": [8, 8], "grid": [2, 2], "view": None, "min": 0.0, "max": 1.0,
        "mask_bytes": 0}  # fmt: skip
FOUR = np.ones((2, 2), "<f4").tobytes()
BITS = zlib.compress(bytes(8))


def png16(height, width, value=1):
    return cv2.imencode(".png", np.full((height, width), value, np.uint16))[1].tobytes()


def chunk(kind, data):
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def with_chunk(kind, data):
    whole = png16(8, 8)
    return whole[:33] + chunk(kind, data) + whole[33:]


PNG16 = {"encoding": "png16", "shape": [8, 8], "min": 0.0, "max": 1.0}
WRONG = [
    ("grid", {"grid": [4097, 1]}, bytes(4 * 4097), "[4097, 1], expected [height, width], each from 1"),
    ("grid", {"grid": [0, 2]}, b"", "grid: got [0, 2]"),
    ("grid", {"grid": [True, 2]}, FOUR, "grid: got [True, 2]"),
    ("grid", {"grid": 4}, FOUR, "grid: got 4"),
    ("grid", {"grid": None}, FOUR, "grid: got None"),
    ("grid", {"shape": [16385, 1]}, FOUR, "shape: got [16385, 1]"),
    ("grid", {"shape": [16384, 16384]}, FOUR, "expected at most 67108864 together"),
    ("grid", {"shape": [8.0, 8]}, FOUR, "shape: got [8.0, 8]"),
    ("grid", {"shape": ["8", 8]}, FOUR, "shape: got ['8', 8]"),
    ("grid", {}, FOUR[:-1], "got 15 bytes with mask_bytes 0, expected 16 bytes of the grid"),
    ("grid", {}, FOUR + b"x", "got 17 bytes"),
    ("grid", {"mask_bytes": -1}, FOUR[:-1], "mask_bytes -1"),
    ("grid", {"mask_bytes": None}, FOUR, "mask_bytes None"),
    ("grid", {"mask_bytes": True}, FOUR + b"x", "mask_bytes True"),
    ("grid", {}, np.full((2, 2), np.nan, "<f4").tobytes(), "NaN or infinite"),
    ("grid", {"view": [0, 0, 1]}, FOUR, "view: got [0, 0, 1]"),
    ("grid", {"view": "0011"}, FOUR, "view: got 0011"),
    ("grid", {"view": [0, 0, 1, float("nan")]}, FOUR, "view: got [0, 0, 1, nan]"),
    ("grid", {"view": [0, 0, 1, 10**400]}, FOUR, "view: got [0, 0, 1, 1000"),
    ("grid", {"mask_bytes": 4}, FOUR + b"abcd", "its mask is damaged"),
    ("grid", {"mask_bytes": len(BITS)}, FOUR + BITS[:-1] + b"x", "its mask is damaged"),
    ("grid", {"shape": [8, 9], "mask_bytes": len(BITS)}, FOUR + BITS, "not the 9 bytes of 8 x 9 bits"),
    ("grid", {"shape": [8, 7], "mask_bytes": len(BITS)}, FOUR + BITS, "not the 7 bytes of 8 x 7 bits"),
    ("grid", {"mask_bytes": len(BITS) + 1}, FOUR + BITS + b"x", "its mask is not"),
    ("float32", {"encoding": "float32"}, bytes(255), "got 255 bytes, expected 256"),
    ("float32", {"encoding": "float32", "shape": [0, 8]}, b"", "shape: got [0, 8]"),
    ("png16", PNG16, png16(8, 9), "the PNG is not 8 x 8, 16 bit"),
    ("png16", PNG16, cv2.imencode(".png", np.zeros((8, 8), np.uint8))[1].tobytes(), "not 8 x 8, 16 bit"),
    ("png16", PNG16, cv2.imencode(".png", np.zeros((8, 8, 3), np.uint16))[1].tobytes(), "not 8 x 8, 16 bit"),
    ("png16", PNG16, b"", "it has no header"),
    ("png16", PNG16, png16(8, 8)[:-20], "the PNG is damaged"),
    ("png16", PNG16, png16(8, 8)[:33] + b"\xff\xff\xff\x00IDAT", "it ends within a chunk"),
    ("png16", PNG16, with_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6))), "more than pixels"),
    ("png16", PNG16, with_chunk(b"IDAT", b"none"), "not 8 x 8, 16 bit"),
    ("png16", {**PNG16, "min": None}, png16(8, 8), "min and max: got None and 1.0"),
    ("png16", {**PNG16, "max": float("inf")}, png16(8, 8), "min and max"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "changes", "payload", "says"), WRONG)
def test_what_cannot_be_a_map_is_an_error_that_says_why(kind, changes, payload, says):
    entry = {**GRID, **changes} if kind == "grid" else {"shape": [8, 8], **changes}
    for read in (decode_map, grid_of_map):
        with pytest.raises(WireError) as caught:
            read(entry, payload)
        assert caught.value.code == "undecodable"
        assert says in caught.value.text
        assert "\n" not in caught.value.text


@pytest.mark.parametrize("entry", [3, [], "grid", {"encoding": []}, {"encoding": {}, "shape": [1, 1]}])
def test_an_entry_that_is_none_is_an_error(entry):
    with pytest.raises(WireError):
        _ = Message({"kind": "score", "anomaly_map": entry}, "s/score", b"").anomaly_map


def test_what_is_unpacked_is_bounded_by_the_shape_whatever_comes(monkeypatch):
    """A mask of a few bytes that would inflate to a gigabyte is given up at the size its map can have."""
    bomb, asked = zlib.compress(bytes(10**7), 9), []
    real = zlib.decompressobj

    class Watched:
        def __init__(self):
            self._real = real()

        def __getattr__(self, name):
            return getattr(self._real, name)

        def decompress(self, data, most):
            asked.append(len(found := self._real.decompress(data, most)))
            return found

    monkeypatch.setattr(maps.zlib, "decompressobj", Watched)
    with pytest.raises(WireError, match="its mask is not the 8 bytes"):
        decode_map({**GRID, "mask_bytes": len(bomb)}, FOUR + bomb)
    assert asked == [9]


def code_of(read, entry, payload):
    """The code of the WireError that reading raises, if any."""
    try:
        read(entry, payload)
    except WireError as error:
        return error.code
    return None


anything = st.none() | st.booleans() | st.integers(-3, 20) | st.floats() | st.text(max_size=3)
sides = st.lists(st.integers(-1, 9) | anything, max_size=3) | anything


@settings(max_examples=300, deadline=None)
@given(
    entry=st.fixed_dictionaries(
        {"encoding": st.sampled_from(["grid", "png16", "float32"]) | anything},
        optional={
            "shape": sides,
            "grid": sides,
            "view": st.lists(st.floats(), max_size=5) | anything,
            "min": anything,
            "max": anything,
            "mask_bytes": st.integers(-1, 30) | anything,
        },
    ),
    payload=st.binary(max_size=80) | st.just(FOUR) | st.just(FOUR + BITS) | st.just(png16(3, 3)),
)
def test_no_entry_whatever_does_more_than_raise(entry, payload):
    entry = msgpack.unpackb(msgpack.packb(entry))
    for read in (decode_map, grid_of_map):
        assert code_of(read, entry, payload) in {None, "undecodable", "bad_encoding"}


def test_interpolating_a_large_map_takes_little_beside_it():
    made = interpolate(np.array([[0.0, 1.0]]), (300, 5000))
    assert made.shape == (300, 5000)
    np.testing.assert_allclose(made[[0, 150, -1]], np.tile(np.linspace(0, 1, 5000), (3, 1)), atol=1e-6)


READS_A_GRID = """
import sys
import numpy as np
from streamer.maps import PatchGrid, decode_map, encode_map, grid_of_map
import streamer.subscribe, streamer.ask
map_ = np.ones((8, 8), np.float32)
for encoding in ("grid", "float32"):
    said = encode_map(map_, encoding, PatchGrid(np.ones((2, 2)), None, map_ < 0))
    assert (decode_map(*said) == map_).all() and grid_of_map(*said)[0].all()
assert "cv2" not in sys.modules, "OpenCV is some 60 MB"
assert not any(name.partition(".")[0] in ("torch", "musc_online") for name in sys.modules)
decode_map(*encode_map(map_, "png16"))
assert "cv2" in sys.modules
"""


def test_who_reads_grids_needs_no_opencv():
    done = subprocess.run([sys.executable, "-c", READS_A_GRID], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
