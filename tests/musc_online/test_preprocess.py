"""Frames become network inputs as the authors' code does it, and what is no frame is refused."""

import naive_vit
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from musc_online.backbones import preprocess
from musc_online.errors import FrameError

FAMILIES = {
    "clip": (preprocess.clip, Image.Resampling.BICUBIC, preprocess.CLIP_MEAN, preprocess.CLIP_STD),
    "imagenet": (
        preprocess.imagenet,
        Image.Resampling.BILINEAR,
        preprocess.IMAGENET_MEAN,
        preprocess.IMAGENET_STD,
    ),
}


def frame_of(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", [(61, 83), (20, 300), (28, 28), (9, 7), (1, 1)])
def test_prepare_is_the_published_transform(family, shape):
    build, resampling, mean, std = FAMILIES[family]
    frame = frame_of(*shape)
    image = Image.fromarray(frame[:, :, ::-1].copy()).resize((28, 28), resampling)
    expected = (np.asarray(image, dtype=np.float64) / 255 - mean) / std
    prepared = build(28)(frame)
    assert prepared.shape == (3, 28, 28)
    assert prepared.dtype == torch.float32
    assert prepared.is_contiguous()
    np.testing.assert_allclose(prepared.numpy(), expected.transpose(2, 0, 1), atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_prepare_equals_torchvision(family):
    build, resampling, mean, std = FAMILIES[family]
    mode = {
        Image.Resampling.BICUBIC: v2.InterpolationMode.BICUBIC,
        Image.Resampling.BILINEAR: v2.InterpolationMode.BILINEAR,
    }
    published = v2.Compose(
        [
            v2.Resize((42, 42), interpolation=mode[resampling]),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean, std),
        ]
    )
    frame = frame_of(97, 131)
    rgb = Image.fromarray(frame[:, :, ::-1].copy())
    torch.testing.assert_close(build(42)(frame), torch.as_tensor(published(rgb)), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("family", "kernel", "reach"),
    [("clip", naive_vit.cubic_pil, 2.0), ("imagenet", naive_vit.triangle, 1.0)],
)
@pytest.mark.parametrize("shape", [(61, 40), (11, 37)])
def test_the_resize_is_antialiased_as_written_out_in_loops(family, kernel, reach, shape):
    build, _, mean, std = FAMILIES[family]
    frame = frame_of(*shape, seed=3)
    small = naive_vit.antialiased(frame[:, :, ::-1], 14, kernel, reach)
    pixels = build(14)(frame).numpy().transpose(1, 2, 0) * std + mean
    # PIL works in fixed point: a rounding may fall the other way, by one grey level.
    assert np.abs(pixels * 255 - small).max() <= 1.01
    assert (np.abs(pixels * 255 - small) < 0.01).mean() > 0.98


def test_a_view_is_a_frame_and_nothing_is_written_to_it():
    frame = frame_of(40, 60)
    view = frame[::2, ::-1]
    before = frame.copy()
    prepared = preprocess.imagenet(14)(view)
    torch.testing.assert_close(prepared, preprocess.imagenet(14)(view.copy()), atol=0, rtol=0)
    np.testing.assert_array_equal(frame, before)


def test_a_read_only_frame_of_the_same_size_is_copied():
    frame = frame_of(14, 14)
    frame.flags.writeable = False
    first = preprocess.imagenet(14)(frame)
    first.zero_()
    assert preprocess.imagenet(14)(frame).abs().sum() > 0


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (np.zeros((4, 4), np.uint8), r"shape \[4, 4\]"),
        (np.zeros((4, 4, 1), np.uint8), r"shape \[4, 4, 1\]"),
        (np.zeros((4, 4, 4), np.uint8), r"shape \[4, 4, 4\]"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"shape \[1, 4, 4, 3\]"),
        (np.zeros((0, 4, 3), np.uint8), r"at least one pixel"),
        (np.zeros((4, 0, 3), np.uint8), r"at least one pixel"),
        (np.zeros((4, 4, 3), np.float32), r"dtype float32"),
        (np.zeros((4, 4, 3), np.uint16), r"dtype uint16"),
        ([[[0, 0, 0]]], r"got a list"),
        (None, r"got a NoneType"),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), r"got a Tensor"),
    ],
)
def test_what_is_no_frame_is_refused_in_one_line(frame, message):
    with pytest.raises(FrameError, match=message) as caught:
        preprocess.imagenet(14)(frame)
    assert "\n" not in str(caught.value)
    assert "expected [height, width, 3] uint8 BGR" in str(caught.value)
