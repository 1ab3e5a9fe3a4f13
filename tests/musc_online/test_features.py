"""Tokens of a category: every image once, in order, whatever the batch size and wherever they are kept."""

import numpy as np
import pytest

from bench import demo_data
from bench.datasets import read
from bench.replay.features import extracted
from musc_online import backbones
from musc_online.errors import DataError


@pytest.fixture(scope="module")
def backbone():
    return backbones.load("dinov2_vits14", image_size=56, stages=(2, 11))


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    root = demo_data.generate(tmp_path_factory.mktemp("line"), n_good=7, n_defective=4, size=64)
    return read("mvtec", root)[0].samples


def tokens_of(samples, backbone, **options):
    with extracted(samples, backbone, **options) as features:
        return features.patch_tokens.copy(), features.class_tokens, features.shapes


@pytest.mark.parametrize("batch_size", [1, 3, 4, 11, 50])
def test_every_image_is_there_once_and_in_order(samples, backbone, batch_size):
    told = []
    patch, classes, shapes = tokens_of(samples, backbone, batch_size=batch_size, done=told.append)
    assert patch.shape == (2, 11, 16, 384)
    assert classes.shape == (11, 384)
    assert shapes == ((64, 64),) * 11
    assert sum(told) == 11
    for index in (0, 6, 10):
        with extracted([samples[index], samples[0]], backbone) as alone:
            np.testing.assert_allclose(patch[:, index], alone.patch_tokens[:, 0], atol=1e-4)


def test_tokens_on_disk_are_the_same(samples, backbone):
    in_memory = tokens_of(samples, backbone)[0]
    with extracted(samples, backbone, max_bytes=1000) as features:
        assert isinstance(features.patch_tokens, np.memmap)
        np.testing.assert_array_equal(features.patch_tokens, in_memory)
        path = features.patch_tokens.filename
    assert not path.exists()


def test_one_image_is_refused(samples, backbone):
    with pytest.raises(DataError, match="got 1 image, expected at least 2"), extracted(samples[:1], backbone):
        pass


def test_a_broken_image_is_named(samples, backbone, tmp_path):
    broken = tmp_path / "cut.png"
    broken.write_bytes(samples[0].path.read_bytes()[:200])
    bad = type(samples[0])(broken, 0, "good", (), "cut.png")
    with pytest.raises(DataError, match=r"cut\.png"), extracted([samples[0], bad], backbone):
        pass
