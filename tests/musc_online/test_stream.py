"""The detector on a stream: every arrival, eviction and revision against the oracle and the golden sets."""

import gc
import tracemalloc

import numpy as np
import pytest
from stream_support import detector, images

from musc_online import anomaly_map, backbones, config, msm, rscin
from musc_online.detector import Detector
from musc_online.errors import CapacityError

MATCHERS = ["gemm", "faiss"]


@pytest.mark.parametrize("matcher", MATCHERS)
@pytest.mark.parametrize("name", ["small", "visa_like"])
@pytest.mark.parametrize("seed", [0, 1])
def test_golden_stream_then_flush_is_the_published_batch(golden, name, matcher, seed):
    recorded = golden(name)
    tokens = recorded["tokens"][:, :, 1:]
    n_images = tokens.shape[1]
    stream = Detector(
        config.load(
            {
                "ring": {"capacity": n_images + seed, "matcher": matcher},
                "rscin": {"neighbour_counts": recorded["k_list"].tolist()},
                "output": {"map_size": recorded["masks"].shape[-1]},
                "revise": {"every": 5},
            }
        )
    )
    for image in np.random.default_rng(seed).permutation(n_images).tolist():
        stream.step_tokens(tokens[:, image], recorded["cls"][image], image)
        if stream.revise_due:
            stream.revise()
    final = {score.frame_id: score for score in stream.flush()}
    assert sorted(final) == list(range(n_images))
    for image, score in final.items():
        np.testing.assert_allclose(score.patch_scores, recorded["patch_maps"][image], atol=1e-4)
        np.testing.assert_allclose(score.anomaly_map, recorded["pixel_maps"][image, 0], atol=1e-4)
        assert score.raw_score == pytest.approx(recorded["image_scores"][image], abs=1e-4)
        assert score.rscin_score == pytest.approx(recorded["rscin_scores"][image], abs=1e-3)


@pytest.mark.parametrize("matcher", MATCHERS)
def test_flush_equals_our_batch_whatever_the_subsets(matcher):
    tokens, class_tokens = images(3, 11)
    stream = detector(11, matcher, ring={"subsets": 4}, revise={"window": 5})
    for image in range(11):
        stream.step_tokens(tokens[:, image], class_tokens[image], str(image))
    scores = stream.flush()
    patches = msm.mutual_scores(tokens, (1, 3, 5))
    raw = anomaly_map.upsample(patches, 16).max(axis=(1, 2))
    np.testing.assert_allclose([score.patch_scores for score in scores], patches, atol=1e-4)
    np.testing.assert_allclose(
        [score.rscin_score for score in scores], rscin.rescore(raw, class_tokens), atol=2e-3
    )


def test_revision_numbers_window_and_due():
    tokens, class_tokens = images(4, 12)
    stream = detector(12, revise={"every": 4, "window": 3}, warmup=5)
    due = []
    for image in range(12):
        stream.step_tokens(tokens[:, image], class_tokens[image], image)
        if stream.revise_due:
            due.append(image)
            assert [score.frame_id for score in stream.revise()] == [image - 2, image - 1, image]
    # Every four; once five references are there, each time the ring grew by a third.
    assert due == [3, 5, 6, 8, 10]
    assert stream.flush()[11].revision == 1
    assert stream.flush() == []


def test_first_frame_has_no_score_and_is_final_alone():
    tokens, class_tokens = images(5, 1)
    stream = detector(4)
    score = stream.step_tokens(tokens[:, 0], class_tokens[0], "only")
    assert (score.raw_score, score.rscin_score, score.pred_label, score.state) == (None, None, None, "warmup")
    assert stream.revise() == []
    (final,) = stream.flush()
    assert (final.frame_id, final.is_final, final.raw_score) == ("only", True, None)


def test_a_frame_that_leaves_before_any_revision_is_revised_on_its_way_out():
    tokens, class_tokens = images(9, 4)
    stream = detector(3, revise={"every": 50}, warmup=30)
    for image in range(4):
        stream.step_tokens(tokens[:, image], class_tokens[image], image)
    (final,) = stream.take_finals()
    expected = msm.mutual_scores(tokens[:, :3], (1, 3, 5))[:1]
    assert (final.frame_id, final.revision, final.is_final) == (0, 1, True)
    assert final.raw_score == pytest.approx(anomaly_map.upsample(expected, 16).max(), abs=1e-4)


def test_label_is_withheld_in_warmup_and_follows_the_threshold_after():
    tokens, class_tokens = images(6, 10)
    tokens[:, 9] *= np.linspace(0.1, 9, 16)[:, None]
    stream = detector(20, warmup=4, threshold={"rule": "fixed", "value": 0.2})
    scores = [stream.step_tokens(tokens[:, i], class_tokens[i], i) for i in range(10)]
    assert [score.pred_label for score in scores[:4]] == [None] * 4
    assert all(score.pred_label == (score.raw_score >= 0.2) for score in scores[4:])
    assert all(score.regions for score in scores[4:] if score.pred_label)


class Clock:
    """`time` as the ring sees it: every look at it is a second later."""

    def __init__(self, start):
        self.now = start

    def perf_counter(self):
        self.now += 1.0
        return self.now


def with_deadline(monkeypatch, n_frames, subsets_in_time, spent_ms=0.0, **ring):
    """Scores, and which references each frame met, of a stream in which so many subsets are in time.

    `spent_ms` of a deadline that is so much longer are gone before each frame.
    """
    tokens, class_tokens = images(7, n_frames)
    deadline_ms = 1000 * subsets_in_time - 500 + spent_ms
    stream = detector(n_frames, ring=ring, deadline_ms=deadline_ms, warmup=1)
    met = []
    scores = []
    for i in range(n_frames):
        clock = Clock(0.0)
        monkeypatch.setattr("musc_online.detector.time", clock)
        monkeypatch.setattr("musc_online.ring.time", clock)
        scores.append(stream.step_tokens(tokens[:, i], class_tokens[i], i, spent_ms=spent_ms))
        met.append({int(slot) % stream.ring.n_subsets for slot in stream.ring.references(i)})
        assert stream.status()["state"] == scores[-1].state  # what Prometheus tells: it was never `degraded`
        stream.check_invariants()
    return scores, met


def test_deadline_scores_against_fewer_and_says_so(monkeypatch):
    scores, met = with_deadline(monkeypatch, 9, 1, subsets=3)
    assert all(score.n_references in (2, 3) for score in scores[6:])  # a third of 6, 7 and 8 images
    assert {score.state for score in scores[6:]} == {"degraded"}
    assert all(len(subsets) == 1 for subsets in met[1:])


@pytest.mark.parametrize("in_time", [1, 2])
@pytest.mark.parametrize("against", ["all", 3])
def test_with_a_deadline_every_subset_has_its_turn(monkeypatch, in_time, against):
    """With `score_against: all` the rotation advanced by nothing: all but subset 0 starved."""
    _, met = with_deadline(monkeypatch, 24, in_time, subsets=4, score_against=against)
    turns = [subset for subsets in met[8:] for subset in subsets]
    assert {turns.count(subset) for subset in range(4)} == {len(turns) // 4}


@pytest.mark.parametrize("in_time", [1, 2, 3])
def test_what_was_spent_before_is_a_part_of_the_deadline(monkeypatch, in_time):
    """A PLC counts from the moment the part was there: decoding and network are a part of its patience."""
    scores, met = with_deadline(monkeypatch, 12, in_time, subsets=4)
    after, met_after = with_deadline(monkeypatch, 12, in_time, spent_ms=7000.0, subsets=4)
    assert [score.raw_score for score in after] == [score.raw_score for score in scores]
    assert [score.n_references for score in after] == [score.n_references for score in scores]
    assert met_after == met


def test_a_deadline_that_is_over_already_leaves_the_first_subset(monkeypatch):
    tokens, class_tokens = images(7, 9)
    stream = detector(9, ring={"subsets": 3}, deadline_ms=1.0, warmup=1)
    for i in range(9):
        score = stream.step_tokens(tokens[:, i], class_tokens[i], i, spent_ms=3_600_000.0)
    assert (score.state, score.n_references in {2, 3}) == ("degraded", True)


class Asked(Detector):
    """Notes what of its deadline it was told to be gone."""

    def step_tokens(self, *tokens, spent_ms=0.0, **more):
        self.spent_ms = spent_ms
        return super().step_tokens(*tokens, spent_ms=spent_ms, **more)


def test_a_deadline_of_a_frame_counts_its_decoding_and_its_features():
    settings = config.load({"backbone": {"image_size": 56, "device": "cpu"}, "deadline_ms": 1e6})
    stream = Asked(settings, backbone=backbones.load("dinov2_vits14", image_size=56))
    score = stream.step(np.full((40, 60, 3), 90, np.uint8), 0)
    assert stream.spent_ms == score.latency_ms["prepare"] + score.latency_ms["backbone"] > 0


def test_a_deadline_that_leaves_nothing_out_changes_nothing(monkeypatch):
    in_time, _ = with_deadline(monkeypatch, 9, 5, subsets=3, score_against=2)
    tokens, class_tokens = images(7, 9)
    stream = detector(9, ring={"subsets": 3, "score_against": 2}, warmup=1)
    free = [stream.step_tokens(tokens[:, i], class_tokens[i], i) for i in range(9)]
    assert [score.raw_score for score in in_time] == [score.raw_score for score in free]
    assert [score.state for score in in_time] == [score.state for score in free]


def test_capacity_is_refused_at_start_with_what_would_fit():
    with pytest.raises(
        CapacityError, match=r"got 200, which needs .* set ring.capacity to at most (\d+)"
    ) as caught:
        detector(200, ring={"max_bytes": "100MiB"})
    fits = int(str(caught.value).split("at most ")[1].split(",")[0])
    detector(fits, ring={"max_bytes": "100MiB"})
    with pytest.raises(CapacityError):
        detector(fits + 1, ring={"max_bytes": "100MiB"})


def test_memory_is_what_status_says_and_does_not_grow():
    """Counted by the interpreter; nobody takes the finals, and 80 frames fill what keeps the newest 64."""
    tokens, class_tokens = images(8, 9, n_patches=64, n_channels=48)

    def play(stream, first, last):
        for arrival in range(first, last):
            stream.step_tokens(tokens[:, arrival % 9], class_tokens[arrival % 9], arrival)
            if stream.revise_due:
                stream.revise()

    def held():
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    play(detector(8, revise={"every": 3}), 0, 12)  # whatever is loaded or compiled once
    stream = detector(8, revise={"every": 3})
    tracemalloc.start()
    try:
        play(stream, 0, 1)
        ring = held()
        play(stream, 1, 80)
        before = held()
        play(stream, 80, 180)
        after = held()
    finally:
        tracemalloc.stop()
    assert ring == pytest.approx(stream.status()["bytes"], rel=0.1)
    one_map, arrivals = 16 * 16 * 4, 100
    assert after - before < arrivals * one_map / 2


def test_status_of_a_full_ring():
    tokens, class_tokens = images(8, 9)
    stream = detector(4)
    sizes = []
    for arrival in range(60):
        stream.step_tokens(tokens[:, arrival % 9], class_tokens[arrival % 9], arrival)
        sizes.append(stream.status()["bytes"])
    assert len(set(sizes)) == 1
    assert stream.status() | {"bytes": 0, "model_id": ""} == {
        "images": 4,
        "quarantined": 0,
        "capacity": 4,
        "arrivals": 60,
        "pinned": 0,
        "bytes": 0,
        "max_bytes": 2**32,
        "matcher": "gemm",
        "state": "warmup",
        "frozen": False,
        "threshold": None,
        "threshold_rule": "auto",
        "known_frames": 0,
        "model_id": "",
    }


@pytest.mark.parametrize("rule", ["mad", "quantile"])
def test_the_threshold_is_the_windows_at_a_flush_too(rule):
    """A flush took it from the whole ring, the older part of which the window had left behind."""
    tokens, class_tokens = images(3, 16)
    tokens[:, :8] *= np.linspace(0.2, 5, 16)[:, None]
    stream = detector(
        16, revise={"every": 100, "window": 6}, warmup=2, threshold={"rule": rule, "k": 2, "quantile": 0.8}
    )
    for image in range(16):
        stream.step_tokens(tokens[:, image], class_tokens[image], image)
    finals = stream.flush()
    raw = np.array([score.raw_score for score in finals])
    middle = np.median(raw[-6:])
    expected = {
        "mad": middle + 2 * 1.4826 * np.median(np.abs(raw[-6:] - middle)),
        "quantile": np.quantile(raw[-6:], 0.8),
    }[rule]
    assert stream.threshold == pytest.approx(expected, abs=1e-12)
    assert {score.threshold for score in finals} == {stream.threshold}
    assert len(finals) == 16


def test_a_frame_that_met_nobody_is_final_at_a_flush_like_the_others():
    """Its subset was empty when it came, and no frame met it since."""
    tokens, class_tokens = images(3, 3)
    stream = detector(4, ring={"subsets": 4, "score_against": 1}, warmup=1)
    for image in range(3):
        stream.step_tokens(tokens[:, image], class_tokens[image], image)
    alone = [image for image in range(3) if not len(stream.ring.references(stream.ring.slot(image)))]
    assert alone, "the case this test is about"
    finals = stream.flush()
    assert [score.frame_id for score in finals] == [0, 1, 2]
    assert all(score.is_final for score in finals)
    assert stream.flush() == []
