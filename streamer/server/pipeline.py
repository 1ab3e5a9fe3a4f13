"""Decode, backbone, matching: threads in a row, so that each works while the next does.

OpenCV, PIL, torch and the matchers release Python's lock while they compute. One thread a phase keeps the
frames of a stream in order; there is a decoding thread for each worker process, and the intake gives out one
frame of a stream at a time. Bounded queues between them keep memory flat.
"""

import queue
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import structlog
import torch

from musc_online import frames
from musc_online.backbones import Backbone
from musc_online.errors import FrameError
from streamer.errors import WireError
from streamer.progress import Progress
from streamer.server import batches, picture_warnings, pictures, preparing
from streamer.server.decode_pool import DecodePool, Decoder, DecodeTimeoutError
from streamer.server.intake import Intake
from streamer.server.lanes import Lanes
from streamer.server.logs import RateLimitedLog
from streamer.server.outcomes import Outcomes
from streamer.server.stream import QueuedFrame

log = structlog.get_logger()


@dataclass(eq=False)
class Tokens(preparing.Laps):
    """A frame and what the phases so far made of it.

    `inputs` is `[T, 3, S, S]`, one a tile; `patch_tokens` `[S, P, C]`, with tiles `[T, S, P, C]`;
    `class_token` the frame's, `picture` where the stream sends such. `latency_ms` says how long each phase
    took: `queue` before the first, `wait` for the next phase's turn in all (and for a batch that failed). The
    backbone's time is that of the whole batch, as the frame had to wait for it. These and `score`, which
    holds the detector's own phases, add up to `total`.
    """

    queued: QueuedFrame
    shape: tuple[int, int]
    contrast: float | None = None
    inputs: torch.Tensor | None = None
    n_tiles: int = 1
    patch_tokens: torch.Tensor | None = None
    class_token: torch.Tensor | None = None
    picture: pictures.Picture | None = None


Job = Callable[[], None]
Score = Callable[[Tokens], None]


class Pipeline:
    """Frames of the intake through decoder and backbone to `score`, which runs in the matching thread.

    Args:
        intake: closed by whoever fills it; the pipeline ends when it is empty then.
        backbone: shared by all streams; frames that wait are extracted together, `batch` tiles at a time,
            or side by side (`streamer.server.lanes`).
        score: takes each frame's tokens, in order.
        outcomes: told of frames that cannot be used.
        decoders: started and stopped by the caller.
        failed: called if a phase dies of an error that is not a frame's.

    Attributes:
        progress: the steps that its threads are in; a frame that waits its turn is in none. Those of frames
            move, those of jobs do not: frames that wait for ever must not be hidden by what else is done.
    """

    def __init__(
        self,
        intake: Intake,
        backbone: Backbone,
        score: Score,
        outcomes: Outcomes,
        decoders: DecodePool,
        batch: int,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._intake, self._backbone, self._score = intake, backbone, score
        self._outcomes, self._failed = outcomes, failed
        self._log = RateLimitedLog()
        self.progress = Progress()
        self._lanes = Lanes(backbone, batch)
        self._batches: batches.Batches[Tokens] = batches.Batches(batch)
        self._decoding = len(decoders.decoders)
        self._ending = threading.Lock()
        self._extracted: queue.Queue[Tokens | Job | None] = queue.Queue(batch)
        # Backbone and matcher each use every core: side by side they wait for each other's threads, and
        # both take longer than one after the other. Decoding and publishing go on beside either, and the
        # matcher beside a backbone whose threads do not wait for each other.
        self._cores = threading.Lock()
        self._threads = [self._thread(self._decode_all, decoder) for decoder in decoders.decoders]
        self._threads += [self._thread(self._extract_all), self._thread(self._match_all)]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until everything accepted is scored."""
        for thread in self._threads:
            while thread.is_alive():
                thread.join(0.5)

    def run_between_frames(self, job: Job) -> None:
        """Run something in the matching thread, after the frames extracted so far; detectors belong to it."""
        self._extracted.put(job)

    def _thread(self, phase: Callable[..., None], *args: Any) -> threading.Thread:
        name = phase.__name__.strip("_")
        return threading.Thread(target=self._guard, args=(phase, *args), name=name, daemon=True)

    def _guard(self, phase: Callable[..., None], *args: Any) -> None:
        try:
            phase(*args)
        except BaseException as error:
            log.exception("phase_died", phase=phase.__name__)
            self._failed(error)

    def _decode_all(self, decoder: Decoder) -> None:
        while (queued := self._intake.take()) is not None:
            in_time = self._prepare(queued, decoder)
            self._intake.decoded(queued, in_time=in_time)
        with self._ending:
            self._decoding -= 1
            if not self._decoding:
                self._batches.close()

    def _prepare(self, queued: QueuedFrame, decoder: Decoder) -> bool:
        """Decode a frame and hand it on; false if its picture took too long, or was not tried for that."""
        if self._intake.given_up(queued):
            self._outcomes.drop(queued, "stopping")
            return False  # nor does it make the next one worth a try
        tokens = Tokens(queued, (0, 0), since_ns=queued.received_ns)
        tokens.lap("queue")
        in_time = True

        def decode() -> None:
            nonlocal in_time
            try:
                self._decode(tokens, decoder)
            except DecodeTimeoutError:
                in_time = False
                raise

        if self._used(tokens, decode, "internal"):
            self._batches.put(tokens)
        return in_time

    def _decode(self, tokens: Tokens, decoder: Decoder) -> None:
        queued = tokens.queued
        with self.progress.step("decode", allowed_s=decoder.longest_s, moves=True):
            decoded = decoder.decode(queued.message, queued.stream.config.bit_depth)
        with self.progress.step("prepare", moves=True):
            seen = preparing.look(decoded, queued.stream.config)
            picture_warnings.tell(self._outcomes, queued, seen.warnings)
            tokens.picture, tokens.shape, tokens.contrast = seen.picture, seen.shape, seen.contrast
            tokens.inputs = frames.inputs(self._backbone, seen.frame, queued.stream.config.tiles)
            tokens.n_tiles = len(tokens.inputs)
            tokens.lap("decode")

    def _extract_all(self) -> None:
        while batch := self._batches.take():
            self._extract(batch)
        self._extracted.put(None)

    def _extract(self, batch: list[Tokens]) -> None:
        try:
            self._extract_together(batch)
            usable = batch
        except Exception:
            # One frame that the backbone chokes on must not cost those that shared its batch.
            usable = [tokens for tokens in batch if self._extract_alone(tokens)]
        for tokens in usable:
            self._extracted.put(tokens)

    def _extract_alone(self, tokens: Tokens) -> bool:
        return self._used(tokens, lambda: self._extract_together([tokens]), "backbone_failed")

    def _extract_together(self, batch: list[Tokens]) -> None:
        inputs = [tokens.inputs for tokens in batch if tokens.inputs is not None]
        with self.progress.step("extract"):  # the first time it extracts, too
            apart = self._lanes.keep_apart(sum(map(len, inputs)))
        with nullcontext() if apart else self._cores, self.progress.step("extract", moves=True):
            for tokens in batch:
                tokens.lap("wait")
            extracted = batches.extract(self._lanes.extract, inputs)
        for tokens, (patch_tokens, class_token) in zip(batch, extracted, strict=True):
            tokens.patch_tokens, tokens.class_token, tokens.inputs = patch_tokens, class_token, None
            tokens.lap("backbone")

    def _match_all(self) -> None:
        while (item := self._extracted.get()) is not None:
            if isinstance(item, Tokens):
                with self._cores, self.progress.step("score", moves=True):
                    item.lap("wait")
                    self._used(item, lambda: self._score(item), "internal")
            else:
                with self.progress.step("job"):
                    item()

    def _used(self, tokens: Tokens, work: Callable[[], Any], code: str) -> bool:
        """Do a phase's work on a frame; refuse the frame if that cannot be done."""
        try:
            work()
        except Exception as error:
            if not isinstance(error, WireError | FrameError):
                self._log.warning("frame_failed", code, stream=tokens.queued.stream.name, exc_info=True)
            self._outcomes.refuse(tokens.queued, *preparing.refusal(error, code))
        else:
            return True
        return False
