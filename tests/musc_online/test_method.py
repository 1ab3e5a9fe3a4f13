"""LNAMD, MSM, map and RsCIN against the oracle and against the published code's outputs."""

import naive
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from musc_online import anomaly_map, lnamd, msm, rscin
from musc_online.errors import FrameError

SETS = ["small", "visa_like"]
# Of a patch score: codes of 16 bits (half a step and float32), and features of 15 bits a channel.
PROMISED = {"faiss": 2e-5, "gemm": 5e-5}
rng = np.random.default_rng


@pytest.fixture(params=SETS)
def recorded(request, golden):
    return golden(request.param)


@pytest.mark.parametrize("degree", [1, 3, 5])
def test_lnamd_golden(recorded, degree):
    tokens = recorded["tokens"][:, :, 1:]
    ours = np.stack([lnamd.aggregate(stage, degree) for stage in tokens], axis=2)
    np.testing.assert_allclose(ours, recorded[f"z_r{degree}"], atol=2e-5, rtol=0)


@pytest.mark.parametrize("matcher", ["gemm", "faiss"])
def test_mutual_scores_golden(recorded, matcher):
    ours = msm.mutual_scores(recorded["tokens"][:, :, 1:], (1, 3, 5), matcher=matcher)
    np.testing.assert_allclose(ours, recorded["patch_maps"], atol=5e-5, rtol=0)


def test_mutual_scores_in_bounded_memory_are_the_same(recorded):
    tokens = recorded["tokens"][:, :, 1:]
    np.testing.assert_allclose(
        msm.mutual_scores(tokens, max_bytes=1), msm.mutual_scores(tokens), atol=2e-5, rtol=0
    )


def test_map_and_image_score_golden(recorded):
    maps = anomaly_map.upsample(recorded["patch_maps"], recorded["masks"].shape[-1])
    np.testing.assert_allclose(maps, recorded["pixel_maps"][:, 0], atol=1e-6, rtol=0)
    np.testing.assert_allclose(maps.max(axis=(1, 2)), recorded["image_scores"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["e2e_cookie", "e2e_magnetic_tile"])
def test_image_scores_of_real_patch_scores_golden(golden, name):
    recorded = golden(name)
    maps = anomaly_map.upsample(recorded["patch"], 224)
    np.testing.assert_allclose(maps.max(axis=(1, 2)), recorded["scores"], atol=1e-6, rtol=0)


def test_rscin_golden(recorded):
    ours = rscin.rescore(recorded["image_scores"], recorded["cls"], recorded["k_list"].tolist())
    np.testing.assert_allclose(ours, recorded["rscin_scores"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize(("counts", "after"), [((1, 2, 3), "after_1_2_3"), ((1, 8, 9), "after_1_8_9")])
def test_rscin_on_real_class_tokens(golden, counts, after, normalise):
    recorded = golden("rscin_real")
    ours = rscin.rescore(recorded["scores"], recorded["class_tokens"], counts, normalise)
    np.testing.assert_allclose(ours, recorded[after], atol=1e-4, rtol=0)


@given(
    tokens=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.sampled_from([1, 4, 9, 25]), st.integers(1, 6)),
        elements=st.floats(-8, 8, width=32).map(lambda value: round(value, 2)),
    ),
    degree=st.sampled_from([1, 3, 5, 7]),
)
def test_lnamd_is_the_oracle(tokens, degree):
    for image in tokens:
        ours, oracle = lnamd.aggregate(image[None], degree)[0], naive.aggregate_image(image, degree)
        # Sums that cancel leave only rounding, whose direction says nothing.
        sure = np.linalg.norm(naive_sums(image, degree), axis=1) > 1e-3
        np.testing.assert_allclose(ours[sure], oracle[sure], atol=1e-3, rtol=0)
        well = np.linalg.norm(naive_sums(image, degree), axis=1) > 0.1
        np.testing.assert_allclose(ours[well], oracle[well], atol=2e-5, rtol=0)


def naive_sums(image, degree):
    return naive_sums_of(naive.standardise(np.asarray(image, np.float64)), degree)


def naive_sums_of(values, degree):
    """[P] or [P, C] -> the same, summed over degree x degree windows."""
    side = int(len(values) ** 0.5)
    grid = values.reshape(side, side, *values.shape[1:])
    padded = np.pad(grid, ((degree // 2,) * 2,) * 2 + ((0, 0),) * (values.ndim - 1))
    return np.stack(
        [
            padded[row : row + degree, column : column + degree].sum(axis=(0, 1))
            for row in range(side)
            for column in range(side)
        ]
    )


@st.composite
def sets(draw):
    """Small sets with what breaks shortcuts: duplicates, constant images, repeated patches, one channel."""
    # A window over the whole grid sums a standardised map to zero, whose direction is rounding: degrees
    # stay below the side of the grid.
    n_patches, degrees = draw(st.sampled_from([(1, (1,)), (4, (1,)), (16, (1, 3)), (16, (3,)), (36, (5, 1))]))
    n_stages, n_images = draw(st.integers(1, 2)), draw(st.integers(2, 6 if n_patches < 36 else 3))
    n_channels = draw(st.sampled_from([2, 8, 17]))
    tokens = rng(draw(st.integers(0, 10_000))).normal(size=(n_stages, n_images, n_patches, n_channels))
    for image in range(n_images):
        kind = draw(st.sampled_from(["plain", "plain", "copy", "constant", "flat", "repeated"]))
        if kind == "copy":
            tokens[:, image] = tokens[:, 0]
        elif kind == "constant":
            tokens[:, image] = 3.0
        elif kind == "flat":
            tokens[:, image] = 0.0
        elif kind == "repeated":
            tokens[:, image] = tokens[:, image, :1]
    return tokens.astype(np.float32), degrees


def cancelled(tokens, degrees):
    """How far the vectors of a window outweigh their sum, at most: features' rounding grows as much."""
    worst = 1.0
    for image in tokens.reshape(-1, *tokens.shape[2:]):
        norms = np.linalg.norm(naive.standardise(image.astype(np.float64)), axis=1)
        for degree in degrees:
            sums = np.linalg.norm(naive_sums(image, degree), axis=1)
            outweighed = naive_sums_of(norms, degree)[sums > 1e-9] / sums[sums > 1e-9]
            worst = max(worst, outweighed.max(initial=1.0))
    return worst


@pytest.mark.parametrize("matcher", ["gemm", "faiss"])
@given(drawn=sets())
def test_mutual_scores_are_the_oracle(matcher, drawn):
    tokens, degrees = drawn
    ours = msm.mutual_scores(tokens, degrees, matcher=matcher)
    # What is promised holds where a window keeps half of its vectors' lengths; beyond, in proportion.
    lost = cancelled(tokens, degrees) / 2 if matcher == "gemm" else 1.0
    tolerance = PROMISED[matcher] * max(lost, 1.0)
    np.testing.assert_allclose(ours, naive.mutual_scores(tokens, degrees), atol=tolerance, rtol=0)


@pytest.mark.parametrize("matcher", ["gemm", "faiss"])
def test_mutual_scores_of_wide_tokens_are_the_oracle_closely(matcher):
    tokens = rng(11).normal(size=(1, 4, 36, 48)).astype(np.float32)
    ours = msm.mutual_scores(tokens, (1, 3, 5), matcher=matcher)
    np.testing.assert_allclose(ours, naive.mutual_scores(tokens, (1, 3, 5)), atol=5e-5, rtol=0)


@given(
    distances=hnp.arrays(
        np.float64, st.tuples(st.integers(1, 3), st.integers(1, 40)), elements=st.floats(0, 2, width=16)
    ),
    low=st.sampled_from([0.0, 0.1, 0.5]),
    span=st.sampled_from([0.05, 0.3, 0.5]),
)
def test_interval_average_is_the_oracle(distances, low, span):
    ours = msm.interval_average(distances, low, low + span)
    oracle = [naive.interval_average(row, low, low + span) for row in distances]
    np.testing.assert_allclose(ours, oracle, atol=1e-12)


@pytest.mark.parametrize("n_images", [2, 3, 4])
def test_fewer_than_five_images_give_numbers(n_images):
    tokens = rng(n_images).normal(size=(2, n_images, 36, 8)).astype(np.float32)
    ours = msm.mutual_scores(tokens)
    assert np.isfinite(ours).all()
    np.testing.assert_allclose(ours, naive.mutual_scores(tokens, (1, 3, 5)), atol=5e-5)


@given(
    scores=hnp.arrays(np.float64, st.integers(1, 12), elements=st.floats(0, 2, width=16)),
    seed=st.integers(0, 1000),
    counts=st.sampled_from([(1,), (1, 2, 3), (1, 8, 9)]),
    normalise=st.booleans(),
)
def test_rscin_is_the_oracle(scores, seed, counts, normalise):
    tokens = rng(seed).normal(size=(len(scores), 5))
    tokens[rng(seed).random(len(scores)) < 0.2] = 0.0
    ours = rscin.rescore(scores, tokens, counts, normalise)
    np.testing.assert_allclose(ours, naive.rescore(scores, tokens, counts, normalise), atol=1e-9)
    row = seed % len(scores)
    assert rscin.rescore_one(scores, tokens, row, counts, normalise) == pytest.approx(ours[row])


def test_constant_scores_give_themselves():
    scores = np.full(6, 0.7)
    np.testing.assert_array_equal(rscin.rescore(scores, rng(0).normal(size=(6, 4))), scores)


@given(st.sampled_from([1, 4, 25]), st.sampled_from([1, 2, 5, 11]), st.integers(0, 99))
def test_upsample_is_the_oracle(n_patches, size, seed):
    scores = rng(seed).random(n_patches)
    np.testing.assert_allclose(
        anomaly_map.upsample(scores[None], size)[0], naive.upsample(scores, size), atol=1e-6
    )


def test_tensors_in_tensors_out():
    tokens = torch.from_numpy(rng(0).normal(size=(1, 3, 4, 5)).astype(np.float32))
    patches = msm.mutual_scores(tokens)
    assert isinstance(lnamd.aggregate(tokens[0], 3), torch.Tensor)
    assert isinstance(patches, torch.Tensor)
    assert isinstance(msm.interval_average(tokens), torch.Tensor)
    assert isinstance(anomaly_map.upsample(patches, 8), torch.Tensor)
    assert isinstance(rscin.rescore(patches.amax(1), tokens[0, :, 0]), torch.Tensor)
    np.testing.assert_array_equal(patches.numpy(), msm.mutual_scores(tokens.numpy()))


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (0.0, 0.0), (0.3, 0.3), (0.99, 1.0), (0.0, 1.0)])
@pytest.mark.parametrize("n_references", [1, 2, 3, 7])
def test_any_interval_keeps_at_least_one(low, high, n_references):
    distances = np.random.default_rng(n_references).random((3, n_references))
    expected = [naive.interval_average(row, low, high) for row in distances]
    np.testing.assert_allclose(msm.interval_average(distances, low, high), expected, rtol=1e-12)
    tokens = np.random.default_rng(0).normal(size=(1, n_references + 1, 4, 6)).astype(np.float32)
    expected = naive.mutual_scores(tokens, (1,), low, high)
    np.testing.assert_allclose(msm.mutual_scores(tokens, (1,), low, high), expected, atol=3e-5)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: msm.mutual_scores(np.ones((1, 1, 4, 2), np.float32)), "got 1 image, expected at least 2"),
        (lambda: msm.mutual_scores(np.ones((1, 3, 5, 2), np.float32)), "5 patches, expected a square number"),
        (lambda: msm.mutual_scores(np.ones((3, 5, 2), np.float32)), "expected [S, N, P, C]"),
        (lambda: msm.mutual_scores(np.full((1, 3, 4, 2), np.nan, np.float32)), "NaN or infinity"),
        (lambda: msm.interval_average(np.ones((3, 0))), "at least one reference"),
        (lambda: msm.interval_average(np.ones((3, 2)), 0.5, 0.3), "got [0.5, 0.3], expected fractions"),
        (lambda: msm.interval_average(np.ones((3, 2)), 0.0, 1.5), "got [0.0, 1.5], expected fractions"),
        (lambda: msm.interval_average(np.ones((3, 2)), np.nan, 0.3), "got [nan, 0.3], expected fractions"),
        (lambda: msm.mutual_scores(np.ones((1, 3, 4, 2), np.float32), (1,), -0.1, 0.3), "got [-0.1, 0.3]"),
        (lambda: lnamd.aggregate(np.ones((2, 4, 3)), 2), "expected an odd number"),
        (lambda: lnamd.aggregate(np.ones((4, 3)), 1), "expected [N, P, C]"),
        (lambda: anomaly_map.upsample(np.ones(4), 8), "expected [N, P]"),
        (lambda: rscin.rescore([0.1, np.nan], np.ones((2, 2))), "NaN or infinity"),
        (lambda: rscin.rescore([0.1], np.ones((2, 2))), "expected [N] and [N, D]"),
    ],
)
def test_wrong_input_is_one_line_that_names_it(call, says):
    with pytest.raises(FrameError) as caught:
        call()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
