"""Batch and stream of a replay, on the published code's own tokens."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from bench.datasets import Category, Sample
from bench.replay import run
from bench.replay.features import Features
from bench.replay.findings import repeat_defect
from bench.replay.order import arrivals
from bench.replay.outcome import Outcome
from bench.replay.parity import judged, not_asked
from bench.replay.scored import Scored, Truth, as_json, levels
from musc_online import config


@pytest.fixture(scope="module", params=["small", "visa_like"])
def golden(request, golden):
    return golden(request.param)


@pytest.fixture
def settings(golden):
    size = golden["masks"].shape[-1]
    return config.load(
        {
            "rscin": {"neighbour_counts": golden["k_list"].tolist(), "normalise": False},
            "method": {"degrees": golden["r_list"].tolist()},
            "output": {"map_size": size},
        }
    )


@pytest.fixture
def features(golden):
    tokens = np.ascontiguousarray(golden["tokens"][:, :, 1:], np.float32)
    return Features(tokens, golden["cls"].astype(np.float32), ((10, 10),) * tokens.shape[1])


def test_batch_is_the_published_result(golden, settings, features):
    batch = run.batch(features, settings)
    np.testing.assert_allclose(batch.raw, golden["image_scores"], atol=5e-5)
    np.testing.assert_allclose(batch.maps, golden["pixel_maps"][:, 0], atol=5e-5)
    np.testing.assert_allclose(batch.rescored, golden["rscin_scores"], atol=1e-3)
    truth = Truth(golden["labels"], golden["masks"][:, 0])
    measured = levels(batch, truth)
    assert [measured["image"][name] for name in ("auroc", "f1_max", "ap")] == pytest.approx(
        golden["image_metrics"], abs=1e-5
    )
    published = dict(zip(("auroc", "f1_max", "ap", "pro"), golden["pixel_metrics"], strict=True))
    for name, value in published.items():
        assert measured["pixel"][name] == pytest.approx(value, abs=5e-3 if name == "pro" else 1e-4)


@pytest.mark.parametrize(("seed", "subsets"), [(0, 1), (1, 3)])
def test_a_stream_in_any_order_ends_in_the_batch(golden, settings, features, seed, subsets):
    settings = settings.model_copy(update={"ring": settings.ring.model_copy(update={"subsets": subsets})})
    online = run.ring_config(settings, len(features))
    recorder = run.stream(features, online, arrivals(len(features), "shuffled", seed))
    batch = run.batch(features, settings)
    truth = Truth(golden["labels"], golden["masks"][:, 0])
    measured = levels(batch, truth), levels(recorder.revised, truth)
    assert not_asked(online, len(features)) == ""
    assert judged(batch, recorder.revised, measured).holds
    np.testing.assert_allclose(recorder.revised.raw, golden["image_scores"], atol=1e-4)
    np.testing.assert_allclose(recorder.revised.rescored, golden["rscin_scores"], atol=1e-3)


def test_the_first_frame_has_no_provisional_score_and_is_not_counted(golden, settings, features):
    order = arrivals(len(features), "shuffled", 4)
    recorder = run.stream(features, run.ring_config(settings, len(features)), order)
    known = recorder.provisional.known
    assert list(np.flatnonzero(~known)) == [order[0]]
    assert [arrival.index for arrival in recorder.arrivals] == list(order)
    assert [arrival.n_references for arrival in recorder.arrivals] == list(range(len(features)))
    assert recorder.revised.known.all()


def test_a_small_ring_says_the_last_word_on_every_frame(golden, settings, features):
    order = arrivals(len(features), "shuffled", 0)
    recorder = run.stream(features, run.ring_config(settings, 5), order)
    # The first frame had nothing to be scored against, and may have left before the first revision.
    assert set(np.flatnonzero(~recorder.revised.known)) <= {order[0]}
    assert np.isfinite(recorder.revised.maps[recorder.revised.known]).all()
    np.testing.assert_allclose(
        recorder.revised.maps[recorder.revised.known].max(axis=(1, 2)),
        recorder.revised.raw[recorder.revised.known],
        atol=1e-6,
    )
    assert not_asked(run.ring_config(settings, 5), len(features))


def drawn(n_images=12, seed=0):
    """Tokens of one product, the last image of another."""
    rng = np.random.default_rng(seed)
    tokens = rng.standard_normal((2, 1, 16, 8)) + 0.4 * rng.standard_normal((2, n_images, 16, 8))
    tokens[:, -1] = rng.standard_normal((2, 16, 8))
    class_tokens = rng.standard_normal((n_images, 8)).astype(np.float32)
    return Features(tokens.astype(np.float32), class_tokens, ((10, 10),) * n_images)


CLOSED = {
    "backbone": {"image_size": 28},
    "warmup": 3,
    "ring": {"admit": "below_threshold"},
    "revise": {"every": 4},
    "threshold": {"rule": "fixed", "value": 0.9},
}


def test_a_frame_kept_out_of_the_ring_has_arrived():
    features = drawn()
    order = np.arange(len(features))
    recorder = run.stream(features, run.ring_config(config.load(CLOSED), len(features)), order)
    kept_out = [arrival.index for arrival in recorder.arrivals if arrival.label]
    assert [arrival.index for arrival in recorder.arrivals] == list(order)
    assert kept_out == [len(features) - 1]
    assert recorder.n_kept_out == 1
    assert list(np.flatnonzero(~recorder.provisional.known)) == [0]
    assert recorder.revised.raw[kept_out] == recorder.provisional.raw[kept_out]


def test_a_copy_kept_out_of_the_ring_has_a_final_score():
    features = drawn()
    online = run.ring_config(config.load(CLOSED), len(features))
    order = np.arange(len(features))
    truth = Truth((order == len(features) - 1).astype(int), None)
    samples = tuple(Sample(Path(), int(label), "", (), str(i)) for i, label in enumerate(truth.labels))
    batch, recorder = run.batch(features, online), run.stream(features, online, order)
    outcome = Outcome(
        Category("x", samples),
        truth,
        batch,
        recorder,
        online,
        judged(batch, batch, None),
        {},
        {},
        features.shapes,
    )
    rows = repeat_defect(outcome, features, order, 3)["copies"]
    assert [row["label"] for row in rows] == [True] * 3
    assert [row["final_raw"] for row in rows] == [row["raw"] for row in rows]


def test_divided_batches_score_each_image_in_its_own_subset(settings, features):
    members = [list(range(0, len(features), 2)), list(range(1, len(features), 2))]
    divided = run.batch(features, settings, members)
    for part in members:
        alone = Features(
            features.patch_tokens[:, part], features.class_tokens[part], features.shapes[: len(part)]
        )
        np.testing.assert_array_equal(divided.raw[part], run.batch(alone, settings).raw)
    whole = run.batch(features, settings)
    assert np.abs(divided.raw - whole.raw).max() > 1e-4


def test_metrics_of_frames_without_a_score_are_of_the_others(golden, settings, features):
    batch = run.batch(features, settings)
    truth = Truth(golden["labels"], golden["masks"][:, 0])
    holed = Scored(batch.raw.copy(), batch.rescored.copy(), batch.maps.copy())
    holed.raw[3] = holed.rescored[3] = np.nan
    holed.maps[3] = np.nan
    rest = np.delete(np.arange(len(features)), 3)
    alone = levels(
        Scored(batch.raw[rest], batch.rescored[rest], batch.maps[rest]),
        Truth(truth.labels[rest], truth.masks[rest]),
    )
    assert as_json(levels(holed, truth)) == as_json(alone)


def test_one_class_is_undefined_with_a_reason(settings, features):
    batch = run.batch(features, settings)
    masks = np.zeros(batch.maps.shape, np.uint8)
    said = as_json(levels(batch, Truth(np.zeros(len(features), int), masks)))
    assert said["image"]["auroc"] is None
    assert said["reasons"]["image.auroc"] == "no anomalous image"
    assert said["reasons"]["pixel.pro"] == "no anomalous pixel"


def test_copies_of_one_defect_take_their_own_score_down(golden, settings, features):
    online = run.ring_config(settings, len(features))
    order = arrivals(len(features), "shuffled", 0)
    truth = Truth(golden["labels"], golden["masks"][:, 0])
    batch = run.batch(features, settings)
    samples = tuple(
        Sample(Path(), int(label), "", (), str(index)) for index, label in enumerate(truth.labels)
    )
    recorder = run.stream(features, online, order)
    verdict = judged(batch, recorder.revised, None)
    outcome = Outcome(
        Category("x", samples), truth, batch, recorder, online, verdict, {}, {}, features.shapes
    )
    found = repeat_defect(outcome, features, order, 6)
    raw = [row["raw"] for row in found["copies"]]
    assert found["frame_id"] == str(max(np.flatnonzero(truth.labels), key=lambda index: batch.raw[index]))
    assert all(later <= earlier + 1e-6 for earlier, later in pairwise(raw))
    assert raw[-1] < raw[0]
    assert len({round(row["final_raw"], 6) for row in found["copies"]}) == 1
