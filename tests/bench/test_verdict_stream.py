"""bench.verdict's streams: pairs that were matched once say what the stream of their tokens says."""

import numpy as np
import pytest
from stream_support import images

from bench.replay.order import arrivals
from bench.verdict import pairs, stream
from bench.verdict.protocol import with_rule
from musc_online import config
from musc_online.codes import decode, encode
from musc_online.detector import Detector

SETTINGS = {"output": {"map_size": 16}, "revise": {"every": 5}, "warmup": 3}


def test_a_code_is_decoded_and_encoded_to_itself():
    codes = np.arange(65535, dtype=np.uint16)  # 65535 stands for no distance
    assert np.array_equal(encode(decode(codes)), codes)


def played(tokens, class_tokens, settings, order):
    """Every score of a stream of real tokens, in the order said."""
    detector, said = Detector(settings), []
    for index in order:
        said.append(detector.step_tokens(tokens[:, index], class_tokens[index], int(index)))
        said += detector.take_finals()
        if detector.revise_due:
            said += detector.revise()
    return said + detector.flush() + detector.take_finals()


def looked_up(found, settings, order, memory=None):
    detector, said = stream.detector(found, settings, memory), []
    for index in order:
        said.append(detector.step_tokens(found.tokens(index), found.class_tokens[index], int(index)))
        said += detector.take_finals()
        if detector.revise_due:
            said += detector.revise()
    return said + detector.flush() + detector.take_finals()


NUMBERS = ("raw_score", "rscin_score", "pred_score", "threshold")
WORDS = ("frame_id", "pred_label", "state", "n_references", "revision", "is_final")
RINGS = [
    {"capacity": 40},
    {"capacity": 9},
    {"capacity": 12, "subsets": 3, "score_against": 2},
    {"capacity": 12, "admit": "below_threshold"},
]


def both_ways(n_stages, n_patches, ring, order):
    """The same stream of tokens and of pairs."""
    tokens, class_tokens = images(3, 30, n_stages, n_patches)
    settings = config.load(SETTINGS | {"ring": ring})
    found = pairs.match_all(tokens, class_tokens, settings)
    one, other = played(tokens, class_tokens, settings, order), looked_up(found, settings, order)
    assert len(one) == len(other) >= 60 - ring["capacity"]
    return zip(one, other, strict=True)


def assert_the_very_same(said):
    for theirs, ours in said:
        for name in (*NUMBERS, *WORDS):
            assert getattr(ours, name) == getattr(theirs, name), name
        if theirs.patch_scores is not None:
            assert np.array_equal(ours.patch_scores, theirs.patch_scores)


@pytest.mark.parametrize("matcher", ["gemm", "faiss"])
@pytest.mark.parametrize("ring", RINGS)
def test_a_stream_of_pairs_says_what_the_stream_of_tokens_says(matcher, ring):
    assert_the_very_same(both_ways(2, 16, ring | {"matcher": matcher}, arrivals(30, seed=2)))


@pytest.mark.parametrize("ring", RINGS)
def test_nor_does_it_differ_where_features_keep_15_bits(ring):
    """On more than a hundred patches; in the order in which the pairs were matched to the last bit."""
    assert_the_very_same(both_ways(4, 121, ring, range(30)))


@pytest.mark.parametrize("ring", RINGS)
def test_with_15_bits_another_order_moves_nothing_that_counts(ring):
    """There `gemm` multiplies the norms of the later image last: which one that is shows in the last bit."""
    for theirs, ours in both_ways(4, 121, ring, arrivals(30, seed=2)):
        assert all(getattr(ours, name) == getattr(theirs, name) for name in WORDS)
        assert ours.raw_score == pytest.approx(theirs.raw_score, abs=1e-5)
        assert ours.threshold == pytest.approx(theirs.threshold, abs=1e-4)


@pytest.mark.parametrize("ring", RINGS)
def test_what_one_stream_averaged_serves_the_next(ring):
    tokens, class_tokens = images(8, 30)
    settings = config.load(SETTINGS | {"ring": ring})
    found, order = pairs.match_all(tokens, class_tokens, settings), arrivals(30, seed=3)
    memory = {}
    played_before = looked_up(found, with_rule(settings, "quantile"), order, memory)
    assert memory
    with_memory, without = looked_up(found, settings, order, memory), looked_up(found, settings, order)
    assert_the_very_same(zip(without, with_memory, strict=True))
    assert len(played_before) == len(without) or ring.get("admit")
    # Another interval is another average.
    narrow = config.load(SETTINGS | {"ring": ring, "method": {"interval": [0.0, 0.1]}})
    assert_the_very_same(
        zip(looked_up(found, narrow, order), looked_up(found, narrow, order, memory), strict=True)
    )


def test_what_was_said_first_and_last_is_kept():
    tokens, class_tokens = images(5, 20)
    settings = config.load(SETTINGS | {"ring": {"capacity": 8}})
    order = arrivals(20, seed=1)
    kept = stream.play(pairs.match_all(tokens, class_tokens, settings), settings, order)
    first, last = {}, {}
    for score in played(tokens, class_tokens, settings, order):
        first.setdefault(score.frame_id, score)
        last[score.frame_id] = score
    assert kept.arrival.labels == [first[int(index)].pred_label for index in order]
    assert kept.final.labels == [last[int(index)].pred_label for index in order]
    assert kept.final.raw.tolist() == [last[int(index)].raw_score for index in order]
    assert np.isnan(kept.arrival.raw[0])
    assert len(kept.thresholds) == 20
    assert kept.threshold == last[int(order[-1])].threshold


def test_a_flushed_stream_has_the_scores_of_the_batch():
    tokens, class_tokens = images(6, 15)
    settings = config.load(SETTINGS)
    found, order = pairs.match_all(tokens, class_tokens, settings), arrivals(15, seed=4)[:12]
    said = stream.play(found, settings, order).final.raw
    assert said.tolist() == found.batch_scores(order, settings).tolist()


def test_an_image_may_come_again_and_a_store_be_restored():
    tokens, class_tokens = images(7, 6)
    settings = config.load(SETTINGS)
    found = pairs.match_all(tokens, class_tokens, settings)
    assert stream.play(found, settings, [0, 1, 2, 2]).final.raw.shape == (4,)
    store, other = pairs.LookUp(found), pairs.LookUp(found)
    store.put(3, 5)  # a slot beyond what anyone said of a capacity
    other.restore(store.state())
    assert other.state()["images"].tolist() == [[3, 5]]
    assert store.nbytes == 0
