"""Frames and masks as they are read: any mode becomes BGR and 0 or 1, and what cannot be read is one line."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from dataset_trees import image, mask
from PIL import Image

from bench.datasets import Sample, read_frame, read_mask
from musc_online.errors import DataError
from streamer.images import decode, sniff
from streamer.sources import open_source
from streamer.wire.frame import FrameMessage, Limits


def frame_sample(path: Path, *masks: Path, **more: str) -> Sample:
    return Sample(path, 1, "crack", masks, path.name, **more)


def test_frames_are_bgr(tmp_path):
    frame = read_frame(image(tmp_path / "a.png", (5, 3), 10))
    assert (frame.shape, frame.dtype) == ((3, 5, 3), np.uint8)
    np.testing.assert_array_equal(frame[0, 0], [12, 11, 10])


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "LA", "I;16"])
def test_frames_of_any_mode_have_three_channels(tmp_path, mode):
    grey = np.full((4, 6), 255 * 257, np.uint16) if mode == "I;16" else np.full((4, 6), 255, np.uint8)
    picture = Image.fromarray(grey)
    (picture if mode == "I;16" else picture.convert(mode)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_frame(tmp_path / "a.png"), np.full((4, 6, 3), 255, np.uint8))


def files_of_every_kind(root: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (20, 30, 3), np.uint8)
    deep = rng.integers(0, 65536, (20, 30, 3), np.uint16)
    alpha = np.dstack([colour, rng.integers(0, 256, (20, 30), np.uint8)])
    picture, turned = Image.fromarray(colour), Image.Exif()
    turned[0x0112] = 6  # orientation: a quarter turn
    for name, one, more in (
        ("colour.png", picture, {}),
        ("grey.png", picture.convert("L"), {}),
        ("bits.png", picture.convert("1"), {}),
        ("palette.png", picture.convert("P"), {}),
        ("grey_alpha.png", picture.convert("LA"), {}),
        ("alpha.png", Image.fromarray(alpha), {}),
        ("alpha.webp", Image.fromarray(alpha), {"lossless": True}),
        ("alpha.tiff", Image.fromarray(alpha), {}),
        ("alpha.bmp", Image.fromarray(alpha), {}),
        ("deep_grey.png", Image.fromarray(deep[..., 0]), {}),
        ("deep_grey.tif", Image.fromarray(deep[..., 0]), {}),
        ("turned.jpg", picture, {"exif": turned, "quality": 90}),
        ("turned.png", picture, {"exif": turned}),
        ("turned.webp", picture, {"exif": turned, "lossless": True}),
        ("grey.jpg", picture.convert("L"), {}),
        ("cmyk.jpg", picture.convert("CMYK"), {}),
        ("cmyk.tif", picture.convert("CMYK"), {}),
        ("lab.tif", Image.fromarray(colour, "LAB"), {}),
        ("progressive.jpg", picture, {"progressive": True, "quality": 80}),
    ):
        one.save(root / name, **more)
    for name in ("deep.png", "deep.tiff"):
        cv2.imwrite(str(root / name), deep)
    return sorted(root.iterdir())


def test_publisher_service_and_replay_see_the_same_pixels(tmp_path):
    paths = files_of_every_kind(tmp_path)
    sent = dict(open_source(str(tmp_path)))
    assert len(sent) == len(paths) == 21
    for path in paths:
        payload = sent[path.name]
        if isinstance(payload, bytes):  # as it is, for the service to decode
            payload = decode(FrameMessage("line", 1, sniff(payload), payload), Limits())
        np.testing.assert_array_equal(payload, read_frame(path), err_msg=path.name)


def test_files_of_8_bits_have_the_pixels_of_the_published_readers(tmp_path):
    compared = [path for path in files_of_every_kind(tmp_path) if path.stem not in ("deep", "deep_grey")]
    for path in compared:
        if path.name in (
            "alpha.tiff",
            "cmyk.jpg",
            "cmyk.tif",
            "lab.tif",
        ):  # OpenCV weighs the one by alpha, rounds the other otherwise
            continue
        theirs = np.asarray(Image.open(path).convert("RGB"))[..., ::-1]
        np.testing.assert_array_equal(read_frame(path), theirs, err_msg=path.name)


def test_unreadable_images_are_one_line(tmp_path):
    whole = image(tmp_path / "whole.png", (64, 64)).read_bytes()
    jpeg = image(tmp_path / "whole.jpg", (64, 64)).read_bytes()
    bad = {"cut.png": whole[:60], "cut.jpg": jpeg[: len(jpeg) // 2], "empty.png": b"", "text.png": b"hello"}
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}: cannot be decoded .*{len(content)} bytes") as caught:
            read_frame(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="no such file"):
        read_frame(tmp_path / "none.png")


def test_masks_of_the_three_rules_against_a_plain_resize(tmp_path):
    size, small = (48, 32), 16
    picture = image(tmp_path / "a.png", size)
    truth = mask(tmp_path / "m.png", (5, 5, 30, 20), size=size)
    resized = np.asarray(Image.open(truth).resize((small, small), Image.Resampling.BILINEAR)) / 255
    whole = read_mask(frame_sample(picture, truth), small)
    touched = read_mask(frame_sample(picture, truth, mask_rule="touched"), small)
    np.testing.assert_array_equal(whole, resized.astype(np.int32))  # the fraction is cut off
    np.testing.assert_array_equal(touched, resized > 0)
    half = read_mask(frame_sample(picture, truth, mask_rule="half"), small)
    np.testing.assert_array_equal(half, resized > 0.5)
    assert 0 < whole.sum() < half.sum() < touched.sum()
    assert (whole.dtype, whole.shape) == (np.uint8, (small, small))


def test_masks_in_colour_palette_or_of_ones(tmp_path):
    picture = image(tmp_path / "a.png")
    expected = read_mask(frame_sample(picture, mask(tmp_path / "m.png")), 12)
    assert expected.any()
    ones = mask(tmp_path / "ones.png", value=1)
    colour = tmp_path / "colour.png"
    Image.merge("RGB", [Image.open(tmp_path / "m.png"), *[Image.new("L", (12, 8))] * 2]).save(colour)
    palette, bits = tmp_path / "palette.png", tmp_path / "bits.bmp"
    Image.open(tmp_path / "m.png").convert("P").save(palette)
    Image.open(tmp_path / "m.png").convert("1").save(bits)
    for path in (ones, colour, palette, bits):
        np.testing.assert_array_equal(read_mask(frame_sample(picture, path), 12), expected, err_msg=path.name)


RULES = ("whole", "touched", "half")


@pytest.mark.parametrize("rule", RULES)
def test_a_mask_in_the_alpha_channel_is_the_mask(tmp_path, rule):
    picture, plain = image(tmp_path / "a.png"), mask(tmp_path / "m.png")
    expected = read_mask(frame_sample(picture, plain, mask_rule=rule), 12)
    drawn, white = Image.open(plain), Image.new("L", (12, 8), 255)
    black = Image.new("L", (12, 8), 0)
    red = Image.composite(white, black, drawn)  # where it is transparent anything may be: here black
    files = {
        "white.png": Image.merge("RGBA", [white, white, white, drawn]),
        "black.png": Image.merge("RGBA", [black, black, black, drawn]),
        "grey.png": Image.merge("LA", [white, drawn]),
        "red.png": Image.merge("RGBA", [red, black, black, drawn]),
        "opaque.png": Image.merge("RGBA", [drawn, drawn, drawn, white]),
        "invisible.png": Image.merge("RGBA", [drawn, drawn, drawn, black]),
        "white.webp": Image.merge("RGBA", [white, white, white, drawn]),
    }
    for name, one in files.items():
        one.save(tmp_path / name, **({"lossless": True, "exact": True} if name.endswith("webp") else {}))
    drawn.convert("P").save(tmp_path / "clear.png", transparency=0)
    for name in (*files, "clear.png"):
        found = read_mask(frame_sample(picture, tmp_path / name, mask_rule=rule), 12)
        np.testing.assert_array_equal(found, expected, err_msg=name)
    assert expected.any()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("suffix", "quality"), [(".jpg", 90), (".jpg", 40), (".jfif", 75), (".webp", 60)])
def test_noise_of_a_lossy_mask_is_no_defect(tmp_path, rule, suffix, quality):
    size = (64, 48)
    picture, plain = image(tmp_path / "a.png", size), mask(tmp_path / "m.png", (11, 9, 37, 30), size=size)
    lossy = tmp_path / f"m{suffix}"
    Image.open(plain).save(lossy, quality=quality)
    values = np.asarray(Image.open(lossy).convert("L"))
    assert np.count_nonzero(values) > np.count_nonzero(np.asarray(Image.open(plain)))  # there is noise
    for side in (48, 16):
        found = read_mask(frame_sample(picture, lossy, mask_rule=rule), (side, side))
        np.testing.assert_array_equal(found, read_mask(frame_sample(picture, plain, mask_rule=rule), side))


def test_a_damaged_mask_is_refused(tmp_path):
    picture, whole = image(tmp_path / "a.png", (64, 64)), mask(tmp_path / "m.png", size=(64, 64))
    content = whole.read_bytes()
    jpeg = mask(tmp_path / "m.jpg", (9, 9, 50, 50), size=(64, 64))
    half = jpeg.read_bytes()
    whole.write_bytes(content[: len(content) - 14])
    jpeg.write_bytes(half[: len(half) - 60])
    for path in (whole, jpeg):
        with pytest.raises(DataError, match=rf"{path.name}: cannot be decoded"):
            read_mask(frame_sample(picture, path), 8)


def test_a_normal_image_has_an_empty_mask(tmp_path):
    sample = Sample(image(tmp_path / "a.png"), 0, "good", (), "a.png")
    assert read_mask(sample, 6).tolist() == [[0] * 6] * 6
    with pytest.raises(DataError, match="of unknown label and has no mask"):
        read_mask(Sample(sample.path, None, "", (), "a.png"), 6)


def test_masks_of_another_size_or_unreadable(tmp_path):
    picture = image(tmp_path / "a.png")
    other = mask(tmp_path / "m.png", size=(20, 8))
    with pytest.raises(DataError, match=r"m\.png: mask is 20x8, expected the 12x8 of its image .*a\.png"):
        read_mask(frame_sample(picture, other), 8)
    other.write_bytes(b"")
    with pytest.raises(DataError, match=r"m\.png: cannot be decoded"):
        read_mask(frame_sample(picture, other), 8)


@pytest.mark.parametrize("pixels", [np.zeros((8, 12, 3), np.float32), np.zeros((8, 12), np.float64)])
def test_an_image_that_pil_does_not_know_may_have_a_mask(tmp_path, pixels):
    path = tmp_path / "a.tif"
    assert cv2.imwrite(str(path), pixels)
    assert read_frame(path).shape == (8, 12, 3)
    assert read_mask(frame_sample(path, mask(tmp_path / "m.png", size=(12, 8))), 8).shape == (8, 8)
    with pytest.raises(DataError, match="mask is 20x8, expected the 12x8 of its image"):
        read_mask(frame_sample(path, mask(tmp_path / "n.png", size=(20, 8))), 8)
