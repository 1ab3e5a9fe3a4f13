"""What operators do to the ring: pin, forget, mark a false alarm, and the admission rule."""

import numpy as np
import pytest
from stream_support import detector, images

from musc_online import msm
from musc_online.errors import FrameError


def play(stream, frames, seed=0):
    tokens, class_tokens = images(seed, 16)
    said = []
    for image in frames:
        said.append(stream.step_tokens(tokens[:, image], class_tokens[image], image))
        stream.check_invariants()
    return said


def test_a_pinned_frame_is_never_evicted():
    stream = detector(4)
    play(stream, range(3))
    stream.operators.pin(1)
    play(stream, range(3, 14))
    assert stream.ring.slot_of.keys() == {1, 11, 12, 13}
    stream.operators.unpin(1)
    play(stream, range(14, 16))
    assert 1 not in stream.ring.slot_of


def test_a_ring_of_pins_refuses_and_stays_as_it_is():
    stream = detector(2)
    play(stream, range(2))
    stream.operators.pin(0)
    stream.operators.pin(1)
    with pytest.raises(FrameError, match="all 2 slots are pinned"):
        play(stream, [2])
    stream.check_invariants()
    stream.operators.forget(0)
    play(stream, [2])


@pytest.mark.parametrize("admit", ["pinned_only", "below_threshold"])
def test_a_ring_of_pins_goes_on_scoring(admit):
    """Nothing more is kept, so nothing needs a slot: with `pinned_only` every frame was a FrameError."""
    stream = detector(3, ring={"admit": admit}, warmup=3)
    play(stream, range(3))
    for frame in range(3):
        stream.operators.pin(frame)
    scores = play(stream, range(3, 6))
    assert [score.n_references for score in scores] == [3, 3, 3]
    assert all(score.is_final and score.raw_score is not None for score in scores)
    assert stream.ring.slot_of.keys() == {0, 1, 2}
    stream.check_invariants()


def test_a_forgotten_frame_leaves_the_table_and_its_last_score_is_final():
    tokens, _ = images(0, 16)
    stream = detector(16)
    play(stream, range(8))
    stream.operators.forget(3)
    stream.check_invariants()
    assert [(score.frame_id, score.is_final) for score in stream.take_finals()] == [(3, True)]
    play(stream, range(8, 12))
    rest = [image for image in range(12) if image != 3]
    expected = msm.mutual_scores(tokens[:, rest], (1, 3, 5))
    scores = stream.flush()
    assert [score.frame_id for score in scores] == rest
    np.testing.assert_allclose([score.patch_scores for score in scores], expected, atol=1e-4)


def test_a_false_alarm_is_called_good_from_then_on():
    stream = detector(8, warmup=2, threshold={"rule": "fixed", "value": 0.01})
    play(stream, range(6))
    stream.operators.false_alarm(2)
    labels = {score.frame_id: score.pred_label for score in stream.revise()}
    assert labels == {image: image != 2 for image in range(6)}


@pytest.mark.parametrize("leave", ["evicted", "forgotten"])
def test_a_false_alarm_is_called_good_in_its_last_word_as_well(leave):
    stream = detector(6, warmup=2, threshold={"rule": "fixed", "value": 0.01}, revise={"every": 50})
    play(stream, range(6))
    assert all(score.pred_label for score in stream.revise())
    stream.operators.false_alarm(0)
    if leave == "evicted":
        play(stream, [6])
    else:
        stream.operators.forget(0)
    (final,) = stream.take_finals()
    assert (final.frame_id, final.is_final, final.pred_label) == (0, True, False)


def test_below_threshold_keeps_anomalies_out_and_scores_them_once():
    stream = detector(
        16, ring={"admit": "below_threshold"}, warmup=3, threshold={"rule": "fixed", "value": 0.01}
    )
    scores = play(stream, range(8))
    kept = [score.frame_id for score in scores if not score.is_final]
    assert kept == [0, 1, 2]
    assert all(score.pred_label for score in scores[3:])
    assert stream.status()["images"] == 3


def test_pinned_only_closes_the_ring_once_enough_is_known_good():
    stream = detector(16, ring={"admit": "pinned_only"}, warmup=2)
    play(stream, range(5))
    stream.operators.pin(1)
    assert stream.status()["images"] == 5
    stream.operators.pin(4)
    assert stream.ring.slot_of.keys() == {1, 4}
    scores = play(stream, range(5, 9))
    assert all(score.n_references == 2 and score.is_final for score in scores)
    assert stream.ring.slot_of.keys() == {1, 4}


@pytest.mark.parametrize("name", ["pin", "unpin", "forget", "false_alarm"])
def test_an_unknown_frame_is_named(name):
    stream = detector(4)
    with pytest.raises(FrameError, match="no frame yet"):
        getattr(stream.operators, name)("x")
    play(stream, range(2))
    with pytest.raises(FrameError, match="got 'x', which is not in the ring"):
        getattr(stream.operators, name)("x")


def test_every_frame_that_a_closing_ring_drops_gets_its_final_score():
    """Of 98 frames dropped by one word the last scores of 34 were never handed over."""
    n_frames = 100
    tokens, class_tokens = images(1, n_frames, n_stages=1, n_patches=4, n_channels=6)
    stream = detector(n_frames, ring={"admit": "pinned_only"}, warmup=2)
    stream.config = stream.config.model_copy(update={"warmup": n_frames + 1})  # all come in
    for image in range(n_frames):
        stream.step_tokens(tokens[:, image], class_tokens[image], image)
    stream.config = stream.config.model_copy(update={"warmup": 2})
    stream.operators.pin(7)
    assert stream.take_finals() == []
    stream.operators.pin(9)
    finals = stream.take_finals()
    assert [score.frame_id for score in finals] == [image for image in range(n_frames) if image not in (7, 9)]
    assert all(score.is_final for score in finals)


def test_arrivals_cost_no_final_that_was_not_taken_yet():
    """A ring emptied between two arrivals, and those that later arrivals pushed out."""
    tokens, class_tokens = images(1, 20, n_stages=1, n_patches=4, n_channels=6)
    stream = detector(100, revise={"every": 1000}, warmup=2)

    def arrive(first, last):
        for image in range(first, last):
            stream.step_tokens(tokens[:, image % 20], class_tokens[image % 20], image)

    arrive(0, 100)
    arrive(100, 132)
    for image in range(32, 132):
        stream.operators.forget(image)
    arrive(132, 164)
    assert [score.frame_id for score in stream.take_finals()] == list(range(132))
    arrive(164, 264)
    stream.operators.forget(200)
    assert [score.frame_id for score in stream.take_finals()] == [*range(132, 164), 200]


def test_finals_that_nobody_takes_do_not_pile_up():
    tokens, class_tokens = images(1, 400, n_stages=1, n_patches=4, n_channels=6)
    stream = detector(100, revise={"every": 1000})
    for image in range(400):
        stream.step_tokens(tokens[:, image], class_tokens[image], image)
        assert len(stream.window.evicted) <= 64 + 100
        assert sum(score.anomaly_map is not None for score in stream.window.evicted) <= 64
    for image in range(300, 400):
        stream.operators.forget(image)
    assert len(stream.window.evicted) <= 64 + 100 + 100
    assert [score.frame_id for score in stream.take_finals()][-100:] == list(range(300, 400))


def test_the_final_score_of_a_frame_called_good_says_so():
    stream = detector(4, warmup=2, threshold={"rule": "fixed", "value": 0.01})
    play(stream, range(4))
    stream.operators.false_alarm(3)
    stream.operators.forget(3)
    (final,) = stream.take_finals()
    assert (final.frame_id, final.pred_label, final.is_final) == (3, False, True)


def test_a_ring_closed_during_warm_up_learns_its_threshold():
    """Nothing more is admitted, so no number of arrivals made a revision due: no label, for ever."""
    stream = detector(8, ring={"admit": "pinned_only"}, warmup=4)
    play(stream, range(4))
    for frame in range(4):
        assert not stream.revise_due
        stream.operators.pin(frame)
    assert stream.revise_due
    stream.revise()
    assert not stream.revise_due
    (score,) = play(stream, [4])
    assert score.pred_label is not None
