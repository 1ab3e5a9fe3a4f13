"""A set at once: the oracle's scores, each image in its own subset, and what is refused."""

import naive
import numpy as np
import pytest

from musc_online import batch, config, rscin
from musc_online.errors import FrameError

SETTINGS = config.load(
    {"backbone": {"image_size": 28}, "method": {"degrees": [1, 3], "interval": [0.0, 0.5]}}
)


@pytest.fixture(scope="module")
def tokens():
    rng = np.random.default_rng(0)
    scene = rng.standard_normal((2, 1, 9, 8))
    return (scene + rng.standard_normal((2, 7, 9, 8))).astype(np.float32)


@pytest.fixture(scope="module")
def class_tokens():
    return np.random.default_rng(1).standard_normal((7, 5)).astype(np.float32)


def test_patches_maps_and_images_are_the_oracles(tokens, class_tokens):
    found = batch.score(SETTINGS, tokens, class_tokens)
    patches = naive.mutual_scores(tokens, (1, 3), 0.0, 0.5)
    maps = np.stack([naive.upsample(scores, 28) for scores in patches])
    np.testing.assert_allclose(found.patch_scores, patches, atol=5e-5)
    np.testing.assert_allclose(found.maps, maps, atol=5e-5)
    np.testing.assert_allclose(found.raw, maps.max(axis=(1, 2)), atol=5e-5)
    np.testing.assert_array_equal(found.rescored, rscin.rescore(found.raw, class_tokens))


def test_a_divided_set_is_scored_by_subset_and_re_scored_as_a_whole(tokens, class_tokens):
    divided = [[5, 0, 2], [1, 3, 4, 6]]
    found = batch.score(SETTINGS, tokens, class_tokens, divided)
    for members in divided:
        alone = batch.score(SETTINGS, tokens[:, members], class_tokens[members])
        np.testing.assert_array_equal(found.patch_scores[members], alone.patch_scores)
        np.testing.assert_array_equal(found.maps[members], alone.maps)
    np.testing.assert_array_equal(found.rescored, rscin.rescore(found.raw, class_tokens))
    whole = batch.score(SETTINGS, tokens, class_tokens)
    assert np.abs(found.raw - whole.raw).max() > 1e-2


@pytest.mark.parametrize("divided", [[[0, 1, 2]], [[0, 1, 2, 3], [3, 4, 5, 6]], [[0, 1, 2, 3], [4, 5, 6, 7]]])
def test_subsets_that_do_not_divide_the_set_are_refused(tokens, class_tokens, divided):
    with pytest.raises(FrameError, match=r"subsets: got .*expected each of 7 images in exactly one"):
        batch.score(SETTINGS, tokens, class_tokens, divided)


def test_a_subset_of_one_is_refused(tokens, class_tokens):
    with pytest.raises(FrameError, match="got 1 image, expected at least 2"):
        batch.score(SETTINGS, tokens, class_tokens, [[0], [1, 2, 3, 4, 5, 6]])
