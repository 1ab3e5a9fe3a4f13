"""Good and defective frames told apart where many are defective: against plain loops, and what must not be.

The oracle is given the very distances that the ring keeps, since whether two groups are far apart is decided
by less than those are rounded.
"""

import math

import naive_stream
import naive_threshold
import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from musc_online import config, division, snapshot
from musc_online.codes import decode
from musc_online.detector import Detector
from musc_online.threshold import FLOOR

N_FRAMES, GRID, CHANNELS, STAGES = 66, 3, 24, 2
SEEDS = [2, 3, 9]
"""Of streams whose scores alone do not tell."""


def frames_of(seed, n_frames=N_FRAMES, spoilt=0.4, kinds=1):
    """Tokens `[S, N, P, C]`, class tokens `[N, D]` and which frames are spoilt, in a random order.

    Good parts are alike but for noise, those of another kind alike among themselves. What spoils a part is
    another mixture of the same four things each time, in two of its patches: many such parts support each
    other.
    """
    rng = np.random.default_rng(seed)
    n_patches = GRID * GRID
    bases = rng.normal(size=(kinds, STAGES, n_patches, CHANNELS))
    things = 0.25 * rng.normal(size=(4, CHANNELS))
    tokens = np.empty((STAGES, n_frames, n_patches, CHANNELS), np.float32)
    class_tokens = np.empty((n_frames, 6), np.float32)
    n_spoilt = round(spoilt * n_frames)
    n_other = round(0.4 * (n_frames - n_spoilt)) if kinds > 1 else 0
    kind = rng.permutation([0] * (n_frames - n_spoilt - n_other) + [1] * n_other + [2] * n_spoilt)
    for frame, one in enumerate(kind):
        shown = 1 if one == 1 else 0
        noise = 0.5 if one == 1 else 0.3
        tokens[:, frame] = bases[shown] + noise * rng.normal(size=bases[shown].shape)
        class_tokens[frame] = np.eye(6)[0] + 0.1 * rng.normal(size=6)
        if one == 2:
            where = rng.choice(n_patches, 2, replace=False)
            tokens[:, frame, where] += rng.normal(size=(STAGES, 2, 4)) @ things
    return tokens, class_tokens, kind == 2


def options(**sections):
    """Every key that the oracle reads."""
    chosen = {
        "backbone": {"image_size": 14 * GRID},
        "method": {"degrees": [1], "interval": [0.0, 0.3], "image_score": "max", "position": None},
        "ring": {"capacity": 200, "subsets": 1, "score_against": "all", "admit": "all", "quarantine": 30},
        "rscin": {"neighbour_counts": [1], "normalise": True},
        "revise": {"every": 22, "window": 200},
        "threshold": {"rule": "auto", "false_alarms": 0.02},
        "output": {"map_size": 6},
        "warmup": 4,
    }
    return {key: {**value, **sections.get(key, {})} if isinstance(value, dict) else value
            for key, value in chosen.items()}  # fmt: skip


def played(chosen, tokens, class_tokens):
    """A detector that has seen the frames and revised when due, at last all of them."""
    detector = Detector(config.load(chosen))
    for frame in range(tokens.shape[1]):
        detector.step_tokens(tokens[:, frame], class_tokens[frame], frame)
        if detector.revise_due:
            detector.revise()
    detector.revise()
    return detector


def known_distances(chosen, tokens, class_tokens):
    """`naive.nearest_table` of what a ring of all frames keeps."""
    dense = {**chosen["ring"], "nearest": None, "admit": "all", "subsets": 1, "score_against": "all"}
    detector = Detector(config.load({**chosen, "ring": dense}))
    for frame in range(tokens.shape[1]):
        detector.step_tokens(tokens[:, frame], class_tokens[frame], frame)
    n_frames, degrees = tokens.shape[1], chosen["method"]["degrees"]
    codes = decode(detector.ring.table.codes[:n_frames, :n_frames]).astype(np.float64)
    by_part = codes.reshape(n_frames, n_frames, STAGES, len(degrees), GRID * GRID)
    return {
        (stage, degree): by_part[:, :, stage, at].transpose(0, 2, 1)
        for stage in range(STAGES)
        for at, degree in enumerate(degrees)
    }


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 999),
    n_frames=st.sampled_from([44, 45, 66]),
    spoilt=st.sampled_from([0.0, 0.2, 0.4, 0.6]),
    kinds=st.sampled_from([1, 1, 2]),
    method=st.fixed_dictionaries(
        {
            "degrees": st.sampled_from([[1], [3, 1]]),
            "interval": st.sampled_from([[0.0, 0.3], [0.2, 0.7]]),
            "image_score": st.sampled_from(["max", {"worst": 0.2}]),
        }
    ),
    ring=st.sampled_from(
        [
            {},
            {"nearest": 28},
            {"nearest": 40, "keep": 50},
            {"nearest": 6},
            {"subsets": 3, "score_against": 2},
            {"admit": "quarantine"},
            {"admit": "quarantine", "quarantine": 6},
            {"nearest": 28, "admit": "quarantine"},
        ]
    ),
    ignored=st.booleans(),
)
def test_the_division_is_the_oracles(seed, n_frames, spoilt, kinds, method, ring, ignored):
    tokens, class_tokens, _ = frames_of(seed, n_frames, spoilt, kinds)
    chosen = options(method=method, ring=ring)
    chosen["ignore"] = [[[0.0, 0.0], [0.4, 0.0], [0.4, 0.4], [0.0, 0.4]]] if ignored else None
    detector = Detector(config.load(chosen))
    oracle = naive_stream.Stream(known_distances(chosen, tokens, class_tokens), class_tokens, chosen)
    for frame in range(n_frames):
        score = detector.step_tokens(tokens[:, frame], class_tokens[frame], frame)
        oracle.arrive(frame, lambda said, label=score.pred_label: label)
        if detector.revise_due or frame == n_frames - 1:
            scores = {score.frame_id: score for score in detector.revise()}
            told = detector.verdict.raw_scores
            oracle.revise(told=told, decided=lambda said, scores=scores: scores[said.image].pred_label)
            assert math.isclose(detector.verdict.parting, oracle.parting, rel_tol=1e-9)
            assert math.isclose(detector.threshold, oracle.threshold, rel_tol=1e-9)


@pytest.mark.parametrize("ring", [{}, {"nearest": 28}, {"nearest": 28, "admit": "quarantine"}])
@pytest.mark.parametrize("seed", SEEDS)
def test_many_defects_are_told_from_good_parts(seed, ring):
    tokens, class_tokens, spoilt = frames_of(seed)
    detector = played(options(ring=ring), tokens, class_tokens)
    assert detector.threshold == detector.verdict.parting < math.inf
    labels = np.array([score.pred_label for score in detector.flush()])
    assert (labels == spoilt).mean() > 0.9


@pytest.mark.parametrize("seed", SEEDS)
def test_without_it_they_are_missed(seed, monkeypatch):
    """Else the test above would show nothing."""
    monkeypatch.setattr(division, "ENOUGH", 1000)
    tokens, class_tokens, spoilt = frames_of(seed)
    detector = played(options(ring={"nearest": 28}), tokens, class_tokens)
    labels = np.array([score.pred_label for score in detector.flush()])
    assert labels[spoilt].mean() < 0.1


@pytest.mark.parametrize("seed", range(3))
def test_a_second_kind_of_good_parts_is_none_of_defects(seed, monkeypatch):
    """Its frames lie as far above the core as spoilt ones; but they do not show what good frames show."""
    tokens, class_tokens, _ = frames_of(seed, spoilt=0.0, kinds=2)
    chosen = options(ring={"nearest": 28})
    assert played(chosen, tokens, class_tokens).verdict.parting == math.inf
    monkeypatch.setattr(division, "LIKE_OWN", math.inf)
    assert played(chosen, tokens, class_tokens).verdict.parting < math.inf


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_frames_that_are_all_alike_are_not_divided(level):
    tokens = np.full((STAGES, N_FRAMES, GRID * GRID, CHANNELS), level, np.float32)
    class_tokens = np.ones((N_FRAMES, 6), np.float32)
    assert played(options(), tokens, class_tokens).verdict.parting == math.inf


def test_confirmed_defects_are_not_divided():
    tokens, class_tokens, spoilt = frames_of(0)
    detector = played(options(ring={"nearest": 28}), tokens, class_tokens)
    assert detector.verdict.parting < math.inf
    for frame in np.flatnonzero(spoilt)[:22].tolist():  # 44 are left
        detector.operators.confirm(frame, "defect")
    detector.revise()
    assert detector.verdict.parting == math.inf


@pytest.mark.parametrize("called", ["good", "spoilt"])
def test_frames_called_good_are_divided_as_the_others_but_are_no_defects(called):
    tokens, class_tokens, spoilt = frames_of(2)
    detector = played(options(ring={"nearest": 28}), tokens, class_tokens)
    for frame in np.flatnonzero(spoilt == (called == "spoilt"))[:20].tolist():
        detector.operators.false_alarm(frame)
    detector.revise()
    assert (detector.verdict.parting < math.inf) == (called == "good")


@st.composite
def tables(draw):
    """Raw scores, who was called good, partners, and distances: what the decisions are made of.

    Every condition is near enough to where it turns that some examples are on either side.
    """
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n = draw(st.sampled_from([44, 45, 46, 80]))
    upper = rng.permutation(n) < draw(st.sampled_from([0.05, 0.2, 0.4, 0.44, 0.46])) * n
    far = draw(st.sampled_from([0.2, 0.3, 0.5]))
    explained = draw(st.sampled_from([0.0, 0.05, 0.1]))
    distances = rng.normal(0, 0.06, (n, n))
    distances += np.where(
        upper[:, None] & ~upper[None], far, np.where(~upper[:, None] & upper[None], explained, 0)
    )
    raw = np.exp(rng.normal(0, draw(st.sampled_from([0.05, 0.12])), n) + 0.4 * upper - 1)
    raw *= draw(st.sampled_from([1.0, 1.0, 0.01]))
    if draw(st.booleans()):
        raw = raw.round(2)
    most = draw(st.sampled_from([3, 4, 9, 28, 28]))
    partners = [rng.permutation(np.delete(np.arange(n), at))[:most] for at in range(n)]
    if draw(st.booleans()):  # who is alike keeps to itself
        partners = [
            own[np.argsort(upper[own] != upper[at], kind="stable")] for at, own in enumerate(partners)
        ]
    good = rng.random(n) < draw(st.sampled_from([0.0, 0.3, 0.6]))
    return raw, good, partners, distances


@settings(max_examples=400, deadline=None)
@given(tables())
def test_every_decision_is_the_oracles(drawn):
    raw, good, partners, distances = drawn

    def level(frame, others):
        return float(np.mean(sorted(distances[frame, others])[: max(1, len(others) // 3)]))

    def levels(against, frames):
        asked = zip(range(len(raw)) if frames is None else frames, against, strict=True)
        return np.array([level(frame, list(others)) for frame, others in asked])

    ours = division.divide(raw, good, partners, levels)
    told = np.flatnonzero(good).tolist()
    theirs = naive_threshold.division(raw.tolist(), told, [own.tolist() for own in partners], level)
    assert math.isclose(ours, theirs, rel_tol=1e-9)
    event(f"divided: {ours < math.inf}")


def test_the_limit_is_never_below_the_floor():
    n = 80
    upper = np.arange(n) >= 50
    raw = np.where(upper, 0.008, 0.004) + 1e-6 * np.arange(n)
    partners = [np.delete(np.arange(n), at) for at in range(n)]

    def levels(against, frames):
        asked = zip(range(n) if frames is None else frames, against, strict=True)
        return np.array([0.3 * upper[at] * (1 - upper[others].mean()) for at, others in asked])

    assert division.divide(raw, np.zeros(n, bool), partners, levels) == FLOOR


def test_it_is_of_the_rule_auto_alone_and_outlives_a_restart(tmp_path):
    tokens, class_tokens, _ = frames_of(0)
    chosen = options(ring={"nearest": 28})
    detector = played(chosen, tokens, class_tokens)
    parting = detector.threshold
    detector.set_threshold(rule="mad")
    assert detector.threshold != parting
    detector.set_threshold(rule="auto")
    snapshot.write(snapshot.capture(detector), tmp_path / "line.safetensors")
    again = Detector(config.load(chosen))
    snapshot.restore(again, snapshot.read(tmp_path / "line.safetensors"))
    assert again.threshold == again.verdict.parting == parting
    again.set_threshold(false_alarms=0.001)  # by the scores alone it would be higher
    assert again.threshold == parting


def test_a_snapshot_from_before_it_has_none():
    verdict = Detector(config.load(options())).verdict
    verdict.learn(np.linspace(0.3, 0.4, 80), 0.35)
    state = verdict.state_dict()
    del state["parting"]
    verdict.restore(state)
    assert verdict.parting == math.inf
