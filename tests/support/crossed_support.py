"""Options cross: whole configurations are drawn, and the stream is held to the oracle's at every step.

Arrivals, revisions, flushes, operators' words and restarts from a snapshot come in any order. A deadline is
kept by a clock that advances one second with each subset matched, so nothing depends on real time.
"""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import naive_frame
import naive_stream
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from stream_support import SCORE, assert_said, close, images, undecided

from musc_online import config, snapshot
from musc_online import detector as detector_module
from musc_online import ring as ring_module
from musc_online.detector import Detector
from musc_online.errors import FrameError

N_IMAGES = 12
MAP_SIZE = 16


CORNER = [[[0.0, 0.0], [0.5, 0.0], [0.5, 0.5], [0.0, 0.5]]]
"""A rectangle that is ignored."""


@cache
def tokens_of(seed, n_tiles):
    """`[T, S, N, P, C]` of one of a few sets of images."""
    return np.stack([images(seed + 10 * tile, N_IMAGES)[0] for tile in range(n_tiles)])


@cache
def distances(seed, degrees, tiles, position, ignored):
    """The oracle's: every example asks for the same ones."""
    tiles = dict(zip(("rows", "cols", "overlap"), tiles, strict=True))
    tokens = tokens_of(seed, tiles["rows"] * tiles["cols"]).astype(np.float64)
    return naive_frame.tables(tokens, degrees, tiles, position, CORNER if ignored else None)


class Clock:
    """`time` as ring and detector see it."""

    now = 100.0

    def perf_counter(self):
        return self.now


@st.composite
def options(draw):
    """Sections of a configuration, every key given that decides about scores."""
    capacity = draw(st.sampled_from([2, 3, 4, 5, 6]))
    subsets = min(draw(st.sampled_from([1, 2, 3])), capacity)
    nearest = draw(st.sampled_from([None, None, 1, 2, 3, 5]))
    subsets = subsets if nearest is None else 1
    rule = draw(st.sampled_from(["auto", "auto", "mad", "quantile", "fixed"]))
    rows, cols, overlap = draw(st.sampled_from([(1, 1, 0)] * 5 + [(2, 1, 0), (1, 2, 1)]))
    return {
        "backbone": {"image_size": 56},
        "tiles": {"rows": rows, "cols": cols, "overlap": overlap},
        "ignore": draw(st.sampled_from([None, None, None, CORNER])),
        "method": {
            "position": draw(st.sampled_from([None, None, None, 0, 1])),
            "image_score": draw(st.sampled_from(["max", "max", {"worst": 0.2}])),
            # Below the side of the grid: over the whole of it a standardised map sums to nothing.
            "degrees": draw(st.sampled_from([(1,), (3,), (1, 3), (3, 1)])),
            "interval": draw(st.sampled_from([(0.0, 0.3), (0.0, 1.0), (0.2, 0.7), (0.5, 1.0), (0.9, 0.95)])),
        },
        "ring": {
            "capacity": capacity,
            "subsets": subsets,
            "score_against": draw(
                st.sampled_from(["all", *(range(1, subsets + 1) if nearest is None else [])])
            ),
            "nearest": nearest,
            "keep": (nearest or 1) + draw(st.sampled_from([0, 0, 1, 4])),
            "matcher": draw(st.sampled_from(["gemm", "faiss", "auto"])),
            "admit": draw(
                st.sampled_from(["all", "below_threshold", "pinned_only", "quarantine", "quarantine"])
            ),
            "quarantine": draw(st.integers(1, 4)),
        },
        "rscin": {
            "neighbour_counts": draw(st.sampled_from([(1,), (1, 2, 3), (1, 8, 9)])),
            "normalise": draw(st.booleans()),
        },
        "revise": {"every": draw(st.integers(1, 5)), "window": draw(st.integers(1, 8))},
        "threshold": {
            "rule": rule,
            "false_alarms": draw(st.sampled_from([0.02, 0.1])),
            "k": draw(st.sampled_from([0.5, 3.0])),
            "quantile": draw(st.sampled_from([0.3, 0.9])),
            "value": 1.25,  # about the middle of these images' scores
        },
        "warmup": min(draw(st.integers(1, 4)), nearest or 4),
        "output": {"map_size": MAP_SIZE},
    }


class CrossedOptions(RuleBasedStateMachine):
    """One stream of one drawn configuration, and the oracle's."""

    @initialize(options=options(), in_time=st.sampled_from([None, 1, 1, 2]), seed=st.integers(0, 3))
    def start(self, options, in_time, seed):
        self.options, self.rule = options, options["threshold"]
        tiles = options["tiles"]
        # The oracle's distances take seconds: of what crosses tiles, position and masks there is one set.
        plain = (tiles["rows"] * tiles["cols"], options["method"]["position"], options["ignore"])
        seed = seed if plain == (1, None, None) else 0
        self.tokens = tokens_of(seed, tiles["rows"] * tiles["cols"])
        _, class_tokens = images(seed, N_IMAGES)
        # As real ones do, they look the same way: weights that cancel would magnify any rounding.
        self.class_tokens = np.abs(class_tokens)
        self.config = config.load(
            options | {"deadline_ms": None if in_time is None else 1000 * in_time - 500}
        )
        method, masked = options["method"], options["ignore"] is not None
        table = distances(seed, method["degrees"], tuple(tiles.values()), method["position"], masked)
        self.oracle = naive_stream.Stream(table, self.class_tokens, options, in_time)
        self.clock = Clock()
        self.patches = [
            mock.patch.object(module, "time", self.clock) for module in (detector_module, ring_module)
        ]
        for patch in self.patches:
            patch.start()
        self.detector = self.new_detector()

    def new_detector(self):
        return Detector(self.config)

    def teardown(self):
        for patch in getattr(self, "patches", []):
            patch.stop()

    def a_second_a_subset(self):
        store = self.detector.ring.store
        match = type(store).match

        def timed(*arguments):
            match(store, *arguments)
            self.clock.now += 1.0

        store.match = timed

    def compare(self, scores, all_said):
        scores = {score.frame_id: score for score in scores}
        assert scores.keys() == {said.image for said in all_said}
        for said in all_said:
            assert_said(scores[said.image], said, self.rule)

    def tokens_of(self, image):
        tokens = self.tokens[:, :, image]
        return tokens[0] if len(tokens) == 1 else tokens

    def outside(self):
        return [image for image in range(N_IMAGES) if image not in self.oracle.order]

    @rule(picks=st.lists(st.integers(0, N_IMAGES - 1), min_size=1, max_size=6))
    def arrive(self, picks):
        for pick in picks:
            self.arrive_one(pick)
            self.the_same_is_there()

    def arrive_one(self, pick):
        image = self.outside()[pick % len(self.outside())]
        tokens, class_token = self.tokens_of(image), self.class_tokens[image]
        if self.oracle.full_of_pins() and self.options["ring"]["admit"] == "all":
            with pytest.raises(FrameError, match="slots are pinned"):
                self.detector.step_tokens(tokens, class_token, image)
            with pytest.raises(naive_stream.RefusedError):
                self.oracle.arrive(image)
            return
        first = self.detector.ring is None
        score = self.detector.step_tokens(tokens, class_token, image)
        if first:
            self.a_second_a_subset()
        # Within rounding of the threshold either label is right, and what is admitted hangs on it.
        said = self.oracle.arrive(
            image, lambda said: score.pred_label if undecided(said, self.rule) else said.label
        )
        assert_said(score, said, self.rule)
        if score.pred_label is not None:
            assert score.pred_label == (score.raw_score >= score.threshold)

    def known_scores(self):
        return {image: word.raw_score for image, word in self.detector.verdict.known.words.items()}

    @rule(final=st.sampled_from([False, False, True]))
    def rescore(self, final):
        scores = self.detector.flush() if final else self.detector.revise()
        labels = {score.frame_id: score.pred_label for score in scores}
        said = self.oracle.revise(
            final=final,
            told=self.detector.verdict.raw_scores,
            known=self.known_scores(),
            decided=lambda one: labels[one.image] if undecided(one, self.rule) else one.label,
        )
        if not final:
            assert [score.frame_id for score in scores] == [one.image for one in said]  # oldest first
        self.compare(scores, said)

    @precondition(lambda self: self.oracle.order)
    @rule(name=st.sampled_from(["pin", "unpin", "forget", "false_alarm"]), pick=st.integers(0, N_IMAGES - 1))
    def operate(self, name, pick):
        image = self.oracle.order[pick % len(self.oracle.order)]
        if name == "pin" and image in self.oracle.quarantined and self.oracle.full_of_pins():
            with pytest.raises(FrameError, match="slots are pinned"):
                self.detector.operators.pin(image)
            with pytest.raises(naive_stream.RefusedError):
                self.oracle.pin(image)
            return
        getattr(self.detector.operators, name)(image)
        getattr(self.oracle, name)(image)

    @precondition(lambda self: self.oracle.order)
    @rule(verdict=st.sampled_from(["good", "defect"]), pick=st.integers(0, N_IMAGES - 1))
    def confirm(self, verdict, pick):
        image = self.oracle.order[pick % len(self.oracle.order)]
        self.detector.operators.confirm(image, verdict)
        self.oracle.confirm(image, verdict, self.known_scores())
        assert close(self.detector.threshold, self.oracle.threshold, SCORE)

    @precondition(lambda self: self.detector.ring is not None)
    @rule()
    def restart(self):
        """From a snapshot, as if it had never stopped."""
        self.detector.take_finals()
        with TemporaryDirectory() as folder:
            path = Path(folder) / "line.safetensors"
            snapshot.write(snapshot.capture(self.detector), path)
            self.detector = self.new_detector()
            snapshot.restore(self.detector, snapshot.read(path))
        self.a_second_a_subset()

    @precondition(lambda self: self.oracle.order)
    @rule(name=st.sampled_from(["pin", "unpin", "forget", "false_alarm"]))
    def refuse(self, name):
        """Bad input changes nothing."""
        image, new = self.oracle.order[0], self.outside()[0]
        with pytest.raises(FrameError, match="in the ring already"):
            self.detector.step_tokens(self.tokens_of(image), self.class_tokens[image], image)
        with pytest.raises(FrameError, match="NaN or infinity"):
            self.detector.step_tokens(self.tokens_of(new) * np.nan, self.class_tokens[new], new)
        with pytest.raises(FrameError, match="as in the ring"):
            self.detector.step_tokens(self.tokens_of(new)[..., :-1], self.class_tokens[new], new)
        with pytest.raises(FrameError, match="not in the ring"):
            getattr(self.detector.operators, name)(new)

    @invariant()
    def the_same_is_there(self):
        if not hasattr(self, "detector"):
            return
        self.detector.check_invariants()
        self.compare(self.detector.take_finals(), self.oracle.take_finals())
        assert self.detector.revise_due == self.oracle.due()
        status = self.detector.status()
        n_quarantined = len(self.oracle.quarantined)
        assert (status["images"], status["quarantined"], status["arrivals"], status["pinned"]) == (
            len(self.oracle.order) - n_quarantined,
            n_quarantined,
            self.oracle.arrivals,
            len(self.oracle.pinned),
        )
        if self.detector.ring is not None:
            assert self.detector.ring.frame_ids == self.oracle.slots
            for image, slot in self.detector.ring.slot_of.items():
                known = [self.detector.ring.frame_ids[other] for other in self.detector.ring.references(slot)]
                assert sorted(known) == self.oracle.references(image)
