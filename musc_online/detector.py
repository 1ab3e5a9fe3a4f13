"""The orchestrator: frame in, score out; the window re-scored."""

import time
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from musc_online import backbones, frames, rscin
from musc_online.admission import check_room, is_closed, place
from musc_online.arrays import FrameId, checked_tokens
from musc_online.config import Config, threshold_rule
from musc_online.errors import FrameError
from musc_online.events import Event, Events, contrast_of
from musc_online.operators import Operators
from musc_online.revision import Revision
from musc_online.ring import Cut, Measurement, Ring
from musc_online.ring_setup import (
    MakeStore,
    check_capacity,
    expected_geometry,
    geometry_of,
    make_ring,
    maps_of,
)
from musc_online.score import Score
from musc_online.verdict import Verdict
from musc_online.window import Entry, Window, without_arrays


class Detector:
    """Scores one stream of frames against a ring of recent ones (docs/method.md#online).

    Not thread-safe: one thread calls it. The backbone is loaded on first use, or shared by passing it.

    Args:
        config: from `musc_online.config.load`.
        backbone: loaded by the caller, to share it between streams.
        make_store: makes the store of each new ring, see `ring_setup.store_wanted`; by default it lies in
            this process.

    Raises:
        CapacityError: the ring does not fit in `ring.max_bytes`; the message says what would.
        ConfigError: an unknown backbone.
    """

    def __init__(
        self,
        config: Config,
        *,
        backbone: backbones.Backbone | None = None,
        make_store: MakeStore | None = None,
    ) -> None:
        self.config = config
        self.make_store = make_store
        n_slots = config.ring.capacity + config.ring.n_quarantine
        self.window = Window(min(config.revise.window, config.ring.capacity), n_slots)
        self.verdict = Verdict(config)
        self.events = Events(self.verdict.frame_maps.seen)
        self.ring: Ring | None = None
        self.since_revision = 0
        """Arrivals since the last revision."""
        self.accepted: list[tuple[int, list[FrameId]]] = []
        """Changeovers that `ring.accept_after` accepted, and that nobody has asked for yet."""
        self._cut_short = False
        """Whether the deadline left references of the last arrival out."""
        self.cut: Cut | None = None
        """How far the matching of the last arrival came; None where there is no deadline."""
        if backbone is not None:
            self.backbone = backbone
        check_capacity(config, expected_geometry(config))

    @cached_property
    def backbone(self) -> backbones.Backbone:
        """The backbone of the configuration, loaded on first use."""
        return backbones.load_configured(self.config.backbone)

    @property
    def model_id(self) -> str:
        """Names the network and size, and the weights once they are loaded."""
        wanted = self.config.backbone
        loaded = self.__dict__.get("backbone")
        return f"{wanted.name}@{wanted.image_size}" + (f"-{loaded.fingerprint}" if loaded is not None else "")

    @property
    def precision(self) -> str | None:
        """In which the backbone runs; None while there is none."""
        loaded = self.__dict__.get("backbone")
        return None if loaded is None else loaded.precision

    @property
    def threshold(self) -> float | None:
        """Current decision threshold on raw scores; None before the first revision."""
        return self.verdict.threshold

    @property
    def revise_due(self) -> bool:
        """Whether to call `revise()` now: as warm-up ends, then ever less often down to every `revise.every`
        arrivals, as a ring of pins closes that never was revised, and where an operator's word changed much.
        """
        if self.ring is None:
            return False
        arrivals, warmup = self.ring.arrivals, self.config.warmup
        unlearned = self.threshold is None and len(self.ring) > 1 and is_closed(self.config, self.ring)
        if self.window.stale or unlearned:
            return True
        # What a few frames taught is soon out of date: a young ring is revised each time it grew by a third.
        young = max(1, arrivals // 4) if arrivals > warmup else self.config.revise.every
        return self.since_revision >= min(self.config.revise.every, young)

    def step(self, frame: npt.NDArray[np.uint8], frame_id: FrameId) -> Score:
        """Score a frame on arrival (provisionally) and take it into the ring.

        Args:
            frame: `[H, W, 3]` uint8, BGR; or grey, `[H, W]` or `[H, W, 1]`; or with alpha, which is dropped.
            frame_id: new; not in the ring.

        Returns:
            Its provisional score.

        Raises:
            FrameError: a frame or id that cannot be used; the detector has not changed.
            CapacityError: the ring does not fit (first frame only).
            WeightsError: the backbone's weights are missing or damaged (first frame only).
        """
        self._check_new(frame_id)
        started = time.perf_counter()
        frame = frames.three_channels(frame)
        inputs = frames.inputs(self.backbone, frame, self.config.tiles)
        prepared = time.perf_counter()
        patch_tokens, class_tokens = frames.extract(self.backbone, inputs, self.config.transport.batch)
        by_tile = patch_tokens.transpose(0, 1)
        extracted = time.perf_counter()
        shape = (frame.shape[0], frame.shape[1])
        spent = {"prepare": 1e3 * (prepared - started), "backbone": 1e3 * (extracted - prepared)}
        score = self.step_tokens(
            by_tile[0] if len(by_tile) == 1 else by_tile,
            frames.join_class_tokens(class_tokens),
            frame_id,
            frame_shape=shape,
            contrast=contrast_of(frame),
            spent_ms=sum(spent.values()),
        )
        return replace(score, latency_ms={**spent, **score.latency_ms})

    def step_tokens(
        self,
        patch_tokens: Any,
        class_token: Any,
        frame_id: FrameId,
        frame_shape: tuple[int, int] | None = None,
        contrast: float | None = None,
        cut: Cut | None = None,
        spent_ms: float = 0.0,
    ) -> Score:
        """`step` from tokens, without a backbone.

        Args:
            patch_tokens: `[S, P, C]` without the class token, or `[T, S, P, C]` of T tiles, row by row;
                array or tensor. S, P, C are free on the first call and fixed from then on.
            class_token: `[D]`.
            frame_id: new; not in the ring.
            frame_shape: (height, width) of the frame, for regions in its pixels.
            contrast: of the frame, from `musc_online.events.contrast_of`: frames without are told as frozen.
            cut: `self.cut` after the same step of an earlier run, which is repeated; None goes by the clock.
            spent_ms: what of `deadline_ms` is gone already, since the frame was captured; 0 or more.

        Returns:
            Its provisional score.

        Raises:
            FrameError: a shape, value or id that cannot be used, or `ring.admit: all` and every slot is
                pinned; the detector has not changed.
            CapacityError: the ring does not fit (first call only).
        """
        self._check_new(frame_id)
        tokens, token = checked_tokens(patch_tokens, class_token, self.config.tiles.count)
        ring = self._ring_for(tokens, token)
        check_room(self.config, ring)
        started = time.perf_counter()
        limit = self.config.deadline_ms
        deadline = cut or (None if limit is None else started + (limit - spent_ms) / 1e3)
        features = ring.store.prepare(np.ascontiguousarray(maps_of(self.config, tokens)))
        measurement = ring.measure(features, token, deadline, also=self.events.before)
        matched = time.perf_counter()
        self._cut_short, self.cut = measurement.cut_short, measurement.cut
        patches = ring.provisional(measurement)
        averaged = time.perf_counter()
        score = self._provisional(frame_id, patches, measurement, token, frame_shape)
        score, truth = self._by_known_groups(ring, measurement, score)
        is_copy = self.events.is_copy(ring, measurement)
        where = place(self.config, ring, score, is_copy=is_copy)
        if where == "out":
            score = replace(score, is_final=True)
        else:
            entry = Entry(token, frame_shape, without_arrays(score), truth)
            self._keep(ring, measurement, entry, quarantined=where == "quarantine")
        self.events.arrive(ring, score, is_copy=is_copy, contrast=contrast)
        self._accept_changeover()
        judged = time.perf_counter()
        spent = {"match": matched - started, "average": averaged - matched, "verdict": judged - averaged}
        return replace(score, latency_ms={phase: 1e3 * seconds for phase, seconds in spent.items()})

    def revise(self) -> list[Score]:
        """Re-score the newest `revise.window` frames: up-to-date table, then RsCIN, then the threshold.

        Returns:
            Revised scores of those frames that are not final yet, oldest first.
        """
        return self._revise(self.window.newest(), final=False)

    def flush(self) -> list[Score]:
        """Re-score every frame in the ring and call the scores final; the frames stay as references.

        With `capacity` >= the number of frames and `score_against: all`, these are the batch scores.

        Returns:
            The scores, oldest first.
        """
        return self._revise(list(self.window.entries), final=True)

    def take_finals(self) -> list[Score]:
        """Final scores of the frames evicted since last asked, all of them if that was 64 arrivals ago.

        Arrays come only with a frame that was never revised: those of others were handed over before.
        """
        return self.window.take_evicted()

    def take_events(self) -> list[Event]:
        """Events since last asked (docs/method.md#events).

        Returns:
            What happened beyond single frames, oldest first.
        """
        return self.events.take()

    def take_accepted(self) -> list[tuple[int, list[FrameId]]]:
        """Number and frames of each changeover that `ring.accept_after` accepted since last asked."""
        taken, self.accepted = self.accepted, []
        return taken

    @property
    def operators(self) -> Operators:
        """Pin, unpin, forget, false alarm, confirm, accept, reject; the threshold's rule is `set_threshold`.

        Raises:
            FrameError: there has been no frame yet.
        """
        if self.ring is None:
            raise FrameError("frame_id: the stream has had no frame yet")
        return Operators(self.config, self.ring, self.window, self.verdict, self.events)

    def set_threshold(
        self,
        rule: str | None = None,
        value: float | None = None,
        false_alarms: float | None = None,
        preview: bool = False,
    ) -> dict[str, Any]:
        """Decide labels by another rule from now on, or see what that would do.

        Args:
            rule: `auto`, `mad`, `quantile` or `fixed`; None keeps the rule, or takes the one that `value`
                (`fixed`) or `false_alarms` (`auto`) belongs to.
            value: of the rule `fixed`, a raw score.
            false_alarms: of the rule `auto`, share of normal frames above the threshold.
            preview: change nothing.

        Returns:
            `before` and `after`, each `{rule, threshold, wrong}`, `wrong` being the ids of confirmed frames
            whose label is not their truth; `to_anomalous` and `to_normal`, ids of the window's frames whose
            label would change.

        Raises:
            ConfigError: an unknown rule, or a value it cannot have.
        """
        chosen = rule or ("fixed" if value is not None else "auto" if false_alarms is not None else None)
        changes = {"rule": chosen, "value": value, "false_alarms": false_alarms}
        wanted = threshold_rule(
            self.verdict.rule, {key: new for key, new in changes.items() if new is not None}
        )
        scored = [self.window.entries[slot] for slot in self.window.newest()]
        open_ = [entry.score for entry in scored if entry.truth is None and entry.score.known_defect is None]
        found = self.verdict.compare(wanted, open_)
        if not preview:
            self.verdict.set_rule(wanted)
            self.window.stale = True
        return found

    def status(self) -> dict[str, Any]:
        """What an operator asks: images, capacity, arrivals, bytes, matcher, state, frozen, threshold."""
        ring = self.ring
        n_quarantined = 0 if ring is None else len(ring.quarantined)
        n_images = 0 if ring is None else len(ring) - n_quarantined
        return {
            "images": n_images,
            "quarantined": n_quarantined,
            "capacity": self.config.ring.capacity,
            "arrivals": 0 if ring is None else ring.arrivals,
            "pinned": 0 if ring is None else len(ring.pinned),
            "bytes": 0 if ring is None else ring.nbytes,
            "max_bytes": int(self.config.ring.max_bytes),
            "matcher": self.config.ring.matcher if ring is None else ring.store.name,
            "state": self.verdict.state(n_images - 1, self._cut_short),
            "frozen": self.events.frozen,
            "threshold": self.threshold,
            "threshold_rule": self.verdict.rule.rule,
            "known_frames": len(self.verdict.known),
            "model_id": self.model_id,
        }

    def check_invariants(self) -> None:
        """Raise AssertionError if ring and window contradict each other or themselves."""
        if self.ring is None:
            return
        self.ring.check_invariants()
        held = {slot: self.ring.frame_ids[slot] for slot in self.ring.slot_of.values()}
        known = {slot: entry.score.frame_id for slot, entry in self.window.entries.items()}
        if held != known:
            raise AssertionError(f"detector invariant broken: the ring holds {held}, the window {known}")

    def _check_new(self, frame_id: FrameId) -> None:
        if isinstance(frame_id, bool) or not isinstance(frame_id, str | int):
            raise FrameError(f"frame_id: got a {type(frame_id).__name__}, expected a string or an integer")
        if self.ring is not None:
            self.ring.check_new(frame_id)

    def _ring_for(self, tokens: npt.NDArray[np.float32], token: npt.NDArray[np.float32]) -> Ring:
        """The ring, made when the first image shows the shape of the features."""
        n_maps, n_patches, n_channels = tokens.shape
        n_stages = n_maps // self.config.tiles.count
        geometry = geometry_of(self.config, n_stages, n_patches, n_channels)
        if self.ring is None:
            self.ring = make_ring(self.config, geometry, self.make_store)
        width = self.ring.token_width or self.window.token_width or len(token)
        if geometry != self.ring.geometry or len(token) != width:
            held = self.ring.geometry
            raise FrameError(
                f"tokens: got {tokens.shape} and {token.shape}, expected "
                f"{(held.n_stages, held.n_patches, held.n_channels)} and {(width,)} as in the ring"
            )
        return self.ring

    def _provisional(
        self,
        frame_id: FrameId,
        patches: npt.NDArray[np.float64] | None,
        measurement: Measurement,
        token: npt.NDArray[np.float32],
        frame_shape: tuple[int, int] | None,
    ) -> Score:
        n_references = measurement.n_references
        if patches is None:
            return replace(self.verdict.unscored(frame_id, n_references), model_id=self.model_id)
        map_ = self.verdict.frame_maps.maps(patches[None], [frame_shape])[0]
        score = self.verdict.score(frame_id, patches, map_, n_references, frame_shape, measurement.cut_short)
        known, tokens = self.window.known()
        wanted = self.config.rscin
        assert score.raw_score is not None  # noqa: S101  (there are patch scores)
        raw = np.append(known, score.raw_score)
        rescored = rscin.rescore_one(
            raw, np.vstack([*tokens, token]), len(known), wanted.neighbour_counts, wanted.normalise
        )
        return replace(score, rscin_score=rescored, model_id=self.model_id)

    def _by_known_groups(
        self, ring: Ring, measurement: Measurement, score: Score
    ) -> tuple[Score, bool | None]:
        """What operators rejected is anomalous whatever its score, what they accepted good from now on."""
        if score.pred_label is None:
            return score, None
        name = self.events.known_defect(ring, measurement)
        if name is not None:
            return replace(score, known_defect=name, pred_label=True), None
        if self.events.is_accepted(ring, measurement, score):
            return replace(score, pred_label=False), False
        return score, None

    def _accept_changeover(self) -> None:
        """On a line without an operator a product that stays is accepted."""
        enough = self.config.ring.accept_after
        for number in self.events.changeovers(enough)[-1:] if enough is not None else []:
            with suppress(FrameError):  # its frames have left the ring
                self.accepted.append((number, self.operators.accept(number)))

    def _keep(self, ring: Ring, measurement: Measurement, entry: Entry, *, quarantined: bool) -> None:
        leaving = ring.leaving(quarantined=quarantined)
        if leaving is not None:
            self._revision(ring).of_leaving(leaving)
            self.window.leave(leaving)
        slot = ring.admit(measurement, entry.score.frame_id, quarantined=quarantined)
        self.window.add(slot, entry)
        self.since_revision += 1

    def _revise(self, slots: list[int], *, final: bool) -> list[Score]:
        self.since_revision, self.window.stale = 0, False
        return [] if self.ring is None else self._revision(self.ring).run(slots, final=final)

    def _revision(self, ring: Ring) -> Revision:
        return Revision(self.config, ring, self.window, self.verdict, self.events, self.model_id)
