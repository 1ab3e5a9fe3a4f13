"""The whole method with the real weights, on drawn parts: frame in, scores and maps out, held to the oracle.

The end-to-end proof that needs nothing beside the repository. The oracle gets the tokens that the backbone
gives; that these are the published ones is proved in `test_backbones_golden`.
"""

import naive
import naive_stream
import numpy as np
import pytest
from stream_support import SCORE, assert_said

from bench import demo_data
from bench.demo_data.defects import DEFECTS
from musc_online import anomaly_map, backbones, config, msm, rscin
from musc_online.detector import Detector

DEGREES = (1, 3, 5)
SIZE = 24


class Line:
    """Drawn parts, their tokens, and every distance between them by the oracle."""

    def __init__(self, image_size, n_good):
        self.backbone = backbones.load("dinov2_vits14", image_size=image_size)
        kinds = ["good"] * n_good + sorted(DEFECTS)[:2]
        order = np.random.default_rng(1).permutation(len(kinds)).tolist()
        self.frames = [demo_data.draw(7, index, kinds[index], size=160)[0] for index in order]
        # One frame a call, as the detector makes them.
        extracted = [self.backbone.extract(self.backbone.prepare(frame)[None]) for frame in self.frames]
        self.tokens = np.concatenate([tokens.numpy() for tokens, _ in extracted], axis=1)
        self.class_tokens = np.concatenate([token.numpy() for _, token in extracted])
        self.table = naive.nearest_table(self.tokens.astype(np.float64), DEGREES)
        self._said = {}

    def said(self, chosen):
        """What the oracle says of a stream of all frames, whatever the matcher: of arrivals, and at the end.

        Of an arrival its score, what is revised where that is due (else None), and finals.
        """
        key = str({**chosen, "ring": {**chosen["ring"], "matcher": None}})
        if key not in self._said:
            oracle = naive_stream.Stream(self.table, self.class_tokens, chosen)
            arrivals = [
                (oracle.arrive(image), oracle.revise() if oracle.due() else None, oracle.take_finals())
                for image in range(len(self.frames))
            ]
            self._said[key] = arrivals, oracle.revise(final=True)
        return self._said[key]


@pytest.fixture(scope="module", params=[112, pytest.param(224, marks=pytest.mark.slow)])
def line(request):
    return Line(request.param, n_good=7 if request.param == 112 else 6)


def options(line, capacity, matcher, **ring):
    return {
        "backbone": {"image_size": line.backbone.image_size},
        "method": {"degrees": DEGREES, "interval": [0.0, 0.3]},
        "ring": {
            "capacity": capacity,
            "subsets": 1,
            "score_against": "all",
            "admit": "all",
            "matcher": matcher,
        }
        | ring,
        "rscin": {"neighbour_counts": [1, 2, 3], "normalise": True},
        "revise": {"every": 3, "window": 200},
        "threshold": {"rule": "mad", "k": 3.0},
        "warmup": 3,
        "output": {"map_size": SIZE},
    }


@pytest.mark.parametrize("matcher", ["gemm", "faiss"])
@pytest.mark.parametrize("capacity", ["all", 5])
def test_every_provisional_revised_and_final_score_is_the_oracles(line, capacity, matcher):
    n_frames = len(line.frames)
    ring = {"capacity": n_frames} if capacity == "all" else {"capacity": 5, "subsets": 2}
    chosen = options(line, matcher=matcher, **ring)
    rule = chosen["threshold"]
    detector = Detector(config.load(chosen), backbone=line.backbone)
    arrivals, flushed = line.said(chosen)
    revisions, finals = 0, {}
    for image, (frame, (arrived, revised, closed)) in enumerate(zip(line.frames, arrivals, strict=True)):
        assert_said(detector.step(frame, image), arrived, rule)
        assert detector.revise_due == (revised is not None)
        if revised is not None:
            revisions += 1
            for score, said in zip(detector.revise(), revised, strict=True):
                assert_said(score, said, rule)
        for score, said in zip(detector.take_finals(), closed, strict=True):
            assert_said(score, said, rule)
            finals[score.frame_id] = score
    for score, said in zip(detector.flush(), flushed, strict=True):
        assert_said(score, said, rule)
        finals[score.frame_id] = score
    assert revisions == {9: 6, 8: 5}[n_frames]  # each time the ring grew by a third
    assert len(finals) == n_frames
    detector.check_invariants()


@pytest.mark.parametrize("matcher", ["gemm", "faiss"])
def test_the_batch_is_the_oracles(line, matcher):
    patches = msm.mutual_scores(line.tokens, DEGREES, matcher=matcher)
    everyone = range(len(line.frames))
    expected = [
        naive.patch_scores(line.table, image, [other for other in everyone if other != image])
        for image in everyone
    ]
    np.testing.assert_allclose(patches, expected, atol=SCORE, rtol=0)
    maps = anomaly_map.upsample(patches, SIZE)
    np.testing.assert_allclose(
        maps, [naive.upsample(scores, SIZE) for scores in expected], atol=SCORE, rtol=0
    )
    raw = maps.max(axis=(1, 2))
    rescored = rscin.rescore(raw, line.class_tokens)
    np.testing.assert_allclose(rescored, naive.rescore(raw, line.class_tokens), atol=1e-6, rtol=0)
