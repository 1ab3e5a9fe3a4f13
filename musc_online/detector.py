"""The orchestrator: frame in, score out; the window re-scored; a set scored as a batch."""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from musc_online import anomaly_map, backbones, msm, nearest, regions, rscin, threshold
from musc_online.arrays import to_numpy
from musc_online.capacity import check_capacity
from musc_online.config import Config
from musc_online.errors import FrameError
from musc_online.ring import FrameId, Geometry, Ring
from musc_online.score import Score, State
from musc_online.window import Entry, Window

Patches = npt.NDArray[np.float64]


class Detector:
    """Scores one stream of frames against a ring of recent ones (DESIGN section 4).

    Not thread-safe: one thread calls it. The backbone is loaded on first use, or shared by passing it.

    Args:
        config: from `musc_online.config.load`.
        backbone: loaded by the caller, to share it between streams.

    Raises:
        CapacityError: the ring does not fit in `ring.max_bytes`; the message says what would.
        ConfigError: an unknown backbone, or a size or stage it does not have.
    """

    def __init__(self, config: Config, *, backbone: backbones.Backbone | None = None) -> None:
        self.config = config
        self.window = Window(min(config.revise.window, config.ring.capacity))
        self.ring: Ring | None = None
        self.threshold: float | None = threshold.decide(np.empty(0), config.threshold)
        self._range = (0.0, 0.0)
        self._since_revision = 0
        self._matcher = config.ring.matcher
        if backbone is not None:
            self.backbone = backbone
        check_capacity(config, self._expected_geometry())

    @cached_property
    def backbone(self) -> backbones.Backbone:
        """The backbone of the configuration, loaded on first use."""
        wanted = self.config.backbone
        return backbones.load(
            wanted.name, wanted.weights, wanted.image_size, wanted.stages, wanted.device, wanted.precision
        )

    @property
    def model_id(self) -> str:
        """Names the network and its weights where they are loaded."""
        wanted = self.config.backbone
        loaded = self.__dict__.get("backbone")
        return f"{wanted.name}@{wanted.image_size}" + (f"-{loaded.fingerprint}" if loaded is not None else "")

    @property
    def revise_due(self) -> bool:
        """Whether `revise()` should be called now: every `revise.every` arrivals, and once warm-up ends."""
        if self.ring is None:
            return False
        warm = self.ring.arrivals == self.config.warmup + 1
        return self._since_revision >= self.config.revise.every or (warm and self._since_revision > 0)

    def step(self, frame: npt.NDArray[np.uint8], frame_id: FrameId) -> Score:
        """Score a frame on arrival (provisionally) and take it into the ring.

        Args:
            frame: `[H, W, 3]` uint8, BGR.
            frame_id: new; not in the ring.

        Raises:
            FrameError: a frame, id or token that cannot be used; the detector has not changed.
            CapacityError: the ring does not fit (first frame only).
            WeightsError: the backbone's weights are missing or damaged (first frame only).
        """
        self._check_new(frame_id)
        started = time.perf_counter()
        inputs = self.backbone.prepare(frame)
        prepared = time.perf_counter()
        patch_tokens, class_token = self.backbone.extract(inputs[None])
        extracted = time.perf_counter()
        score = self.step_tokens(patch_tokens[:, 0], class_token[0], frame_id, frame_shape=frame.shape[:2])
        spent = {"prepare": 1e3 * (prepared - started), "backbone": 1e3 * (extracted - prepared)}
        return replace(score, latency_ms={**spent, **score.latency_ms})

    def step_tokens(
        self,
        patch_tokens: Any,
        class_token: Any,
        frame_id: FrameId,
        frame_shape: tuple[int, int] | None = None,
    ) -> Score:
        """`step` from tokens, without a backbone.

        Args:
            patch_tokens: `[S, P, C]` without the class token; array or tensor. S, P, C are free on the
                first call and fixed from then on.
            class_token: `[D]`.
            frame_id: new; not in the ring.
            frame_shape: (height, width) of the frame, for regions in its pixels.

        Raises:
            FrameError: a shape, value or id that cannot be used; the detector has not changed.
            CapacityError: the ring does not fit (first call only).
        """
        self._check_new(frame_id)
        tokens, token = self._checked_tokens(patch_tokens, class_token)
        ring = self._ring_for(tokens)
        started = time.perf_counter()
        deadline = self.config.deadline_ms
        visit = ring.measure(ring.store.prepare(tokens), None if deadline is None else started + deadline / 1e3)
        matched = time.perf_counter()
        patches = ring.provisional(visit)
        averaged = time.perf_counter()
        state = self._state(len(visit.slots), visit.cut_short)
        score = self._score(frame_id, patches, len(visit.slots), state, frame_shape)
        if score.raw_score is not None:
            score = replace(score, rscin_score=self._provisional_rscin(score.raw_score, token))
        self.window.leave(ring.upcoming_slot())
        slot = ring.admit(visit, frame_id)
        self.window.add(slot, Entry(ring.arrivals - 1, token, frame_shape, _kept(score)))
        self._since_revision += 1
        spent = {"match": matched - started, "average": averaged - matched, "map": time.perf_counter() - averaged}
        return replace(score, latency_ms={phase: 1e3 * seconds for phase, seconds in spent.items()})

    def revise(self) -> list[Score]:
        """Re-score the newest `revise.window` frames over the up-to-date table, then RsCIN, then the threshold.

        Returns:
            Revised scores of those frames that are not final yet, oldest first.
        """
        return self._revise(self.window.newest(), final=False)

    def flush(self) -> list[Score]:
        """Re-score every frame in the ring and call the scores final; the frames stay as references.

        With `capacity` >= the number of frames and `score_against: all`, these are the batch scores.
        """
        return self._revise(self.window.newest(self.config.ring.capacity), final=True)

    def take_finals(self) -> list[Score]:
        """Final scores (without arrays) of the frames evicted since last asked."""
        return self.window.take_evicted()

    def score_batch(
        self, frames: Sequence[npt.NDArray[np.uint8]], frame_ids: Sequence[FrameId], batch_size: int = 8
    ) -> list[Score]:
        """Score a set of frames against each other as the paper does, without the ring.

        Raises:
            FrameError: fewer than two frames, or one that cannot be used.
        """
        import torch  # noqa: PLC0415  (a detector fed with tokens never needs it here)

        if len(frames) != len(frame_ids):
            raise FrameError(f"score_batch: got {len(frames)} frames and {len(frame_ids)} ids, expected as many ids")
        parts = []
        for start in range(0, len(frames), batch_size):
            inputs = torch.stack([self.backbone.prepare(frame) for frame in frames[start : start + batch_size]])
            parts.append(self.backbone.extract(inputs))
        method = self.config.method
        patches = msm.mutual_scores(
            torch.cat([tokens for tokens, _ in parts], dim=1).cpu().numpy(), method.degrees, *method.interval
        )
        tokens = torch.cat([token for _, token in parts]).cpu().numpy()
        maps = anomaly_map.upsample(patches, self.config.map_size)
        raw = np.array([anomaly_map.image_score(map_) for map_ in maps])
        rescored = self._rescore(raw, tokens)
        self._decide(raw)
        scores = []
        for index, frame_id in enumerate(frame_ids):
            shape = (frames[index].shape[0], frames[index].shape[1])
            score = self._score(frame_id, patches[index], len(frames) - 1, self._state(len(frames) - 1), shape)
            scores.append(replace(score, rscin_score=float(rescored[index]), revision=1, is_final=True))
        return scores

    def status(self) -> dict[str, Any]:
        """What an operator asks: images, capacity, arrivals, bytes, matcher, state, threshold."""
        ring = self.ring
        n_images = 0 if ring is None else len(ring)
        return {
            "images": n_images,
            "capacity": self.config.ring.capacity,
            "arrivals": 0 if ring is None else ring.arrivals,
            "bytes": 0 if ring is None else ring.nbytes,
            "max_bytes": int(self.config.ring.max_bytes),
            "matcher": self._matcher if ring is None else ring.store.name,
            "state": self._state(n_images - 1),
            "threshold": self.threshold,
            "model_id": self.model_id,
        }

    def check_invariants(self) -> None:
        """Raise AssertionError if ring and window contradict each other or themselves."""
        if self.ring is None:
            return
        self.ring.check_invariants()
        occupied = {slot: self.ring.frame_ids[slot] for slot in self.ring.slot_of.values()}
        known = {slot: entry.score.frame_id for slot, entry in self.window.entries.items()}
        if occupied != known:
            raise AssertionError(f"detector invariant broken: ring holds {occupied}, window {known}")

    def _expected_geometry(self) -> Geometry:
        wanted = self.config.backbone
        spec = backbones.spec(wanted.name)
        side = wanted.image_size // spec.patch_size
        return Geometry(len(wanted.stages), len(self.config.method.degrees), side * side, spec.n_channels)

    def _check_new(self, frame_id: FrameId) -> None:
        if not isinstance(frame_id, str | int):
            raise FrameError(f"frame_id: got a {type(frame_id).__name__}, expected a string or an integer")
        if self.ring is not None:
            self.ring.check_new(frame_id)

    def _checked_tokens(
        self, patch_tokens: Any, class_token: Any
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        tokens = np.ascontiguousarray(to_numpy(patch_tokens), dtype=np.float32)
        token = np.ascontiguousarray(to_numpy(class_token), dtype=np.float32)
        if tokens.ndim != 3 or token.ndim != 1 or not tokens.size or not token.size:
            raise FrameError(f"tokens: got {tokens.shape} and {token.shape}, expected [S, P, C] and [D]")
        if not (np.isfinite(tokens).all() and np.isfinite(token).all()):
            raise FrameError("tokens: got NaN or infinity, expected finite numbers")
        if self.ring is not None:
            held = self.ring.geometry
            expected = (held.n_stages, held.n_patches, held.n_channels)
            width = len(next(iter(self.window.entries.values())).class_token) if self.window.entries else len(token)
            if tokens.shape != expected or len(token) != width:
                raise FrameError(
                    f"tokens: got {tokens.shape} and {token.shape}, expected {expected} and ({width},) as in the ring"
                )
        return tokens, token

    def _ring_for(self, tokens: npt.NDArray[np.float32]) -> Ring:
        """The ring, made when the first image shows the shape of the features."""
        if self.ring is not None:
            return self.ring
        ring, method = self.config.ring, self.config.method
        n_stages, n_patches, n_channels = tokens.shape
        geometry = Geometry(n_stages, len(method.degrees), n_patches, n_channels)
        check_capacity(self.config, geometry)
        anomaly_map.upsample(np.zeros((1, n_patches)), self.config.map_size)  # a square grid, or FrameError
        store = nearest.create(
            ring.matcher,
            capacity=ring.capacity,
            n_stages=n_stages,
            n_patches=n_patches,
            n_channels=n_channels,
            degrees=method.degrees,
        )
        self.ring = Ring(
            capacity=ring.capacity,
            n_subsets=ring.subsets,
            score_against=None if ring.score_against == "all" else ring.score_against,
            geometry=geometry,
            store=store,
            interval=method.interval,
        )
        return self.ring

    def _revise(self, slots: list[int], *, final: bool) -> list[Score]:
        self._since_revision = 0
        if self.ring is None:
            return []
        patches = {slot: self.ring.patch_scores(slot) for slot in slots}
        scored = [slot for slot in slots if patches[slot] is not None]
        if not scored:
            return self._unscored(slots) if final else []
        maps = anomaly_map.upsample(np.stack([patches[slot] for slot in scored]), self.config.map_size)  # type: ignore[arg-type]
        raw = maps.max(axis=(1, 2)).astype(np.float64)
        rescored = self._rescore(raw, self.window.class_tokens(scored))
        self._decide(raw)
        revised = []
        for index, slot in enumerate(scored):
            entry = self.window.entries[slot]
            if entry.score.is_final:
                continue
            n_references = len(self.ring.references(slot))
            score = self._score(
                entry.score.frame_id, patches[slot], n_references, self._state(n_references), entry.frame_shape, maps[index]
            )
            score = replace(
                score, rscin_score=float(rescored[index]), revision=entry.score.revision + 1, is_final=final
            )
            entry.score = _kept(score)
            revised.append(score)
        return revised

    def _unscored(self, slots: list[int]) -> list[Score]:
        """A flush with a single frame: it is final, and there was nothing to score it against."""
        finals = []
        for slot in slots:
            entry = self.window.entries[slot]
            if not entry.score.is_final:
                entry.score = replace(entry.score, is_final=True)
                finals.append(entry.score)
        return finals

    def _rescore(self, raw: Patches, class_tokens: npt.NDArray[np.float32]) -> Patches:
        counts, normalise = self.config.rscin.neighbour_counts, self.config.rscin.normalise
        return rscin.rescore(raw, class_tokens.astype(np.float64), counts, normalise)

    def _provisional_rscin(self, raw_score: float, class_token: npt.NDArray[np.float32]) -> float:
        """RsCIN of an arrival among the last scores of the window; replaced by the next revision."""
        known = [slot for slot in self.window.newest() if self.window.entries[slot].score.raw_score is not None]
        raw = [self.window.entries[slot].score.raw_score for slot in known]
        tokens = [self.window.entries[slot].class_token for slot in known]
        counts, normalise = self.config.rscin.neighbour_counts, self.config.rscin.normalise
        scores = np.array([*raw, raw_score], np.float64)
        return rscin.rescore_one(scores, np.stack([*tokens, class_token]), len(known), counts, normalise)

    def _decide(self, raw: Patches) -> None:
        self.threshold = threshold.decide(raw, self.config.threshold)
        self._range = (float(raw.min()), float(raw.max()))

    def _state(self, n_references: int, cut_short: bool = False) -> State:
        if n_references < self.config.warmup:
            return "warmup"
        return "degraded" if cut_short else "ready"

    def _score(
        self,
        frame_id: FrameId,
        patches: Patches | None,
        n_references: int,
        state: State,
        frame_shape: tuple[int, int] | None,
        map_: npt.NDArray[np.float32] | None = None,
    ) -> Score:
        """Patch scores to everything a score says but RsCIN and revision."""
        if patches is None:
            return Score(frame_id, None, state=state, n_references=n_references, model_id=self.model_id)
        if map_ is None:
            map_ = anomaly_map.upsample(patches[None], self.config.map_size)[0]
        raw, limit, output = anomaly_map.image_score(map_), self.threshold, self.config.output
        return Score(
            frame_id,
            raw,
            pred_score=None if limit is None else threshold.normalised(raw, limit, *self._range),
            pred_label=None if limit is None or state == "warmup" else raw >= limit,
            threshold=limit,
            state=state,
            n_references=n_references,
            regions=regions.find(map_, limit, frame_shape) if output.regions and limit is not None else [],
            model_id=self.model_id,
            patch_scores=patches,
            anomaly_map=map_ if output.anomaly_map else None,
        )


def _kept(score: Score) -> Score:
    """A score as the window keeps it: arrays were handed over once and are not held on to."""
    return replace(score, anomaly_map=None, patch_scores=None)
