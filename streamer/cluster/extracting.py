"""Frames to tokens in a process of its own: decoded and prepared side by side, extracted together.

Tokens must be the same bytes whoever extracts them, beside whatever else: the backbone's do not depend on the
batch, nor, on the processors tried, on the number of threads. It is set all the same, to what the machine
would take by itself: Ray starts a process with one thread.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import torch

from musc_online import backbones, frames
from musc_online.backbones import Backbone
from musc_online.config import Config
from musc_online.errors import FrameError
from streamer.cluster.exchange import Code, Extracted, Job, Tokens
from streamer.errors import WireError
from streamer.server import batches, preparing
from streamer.server.decode_pool import DecodePool, Decoder, DecodeTimeoutError
from streamer.server.logs import RateLimitedLog
from streamer.server.pictures import Picture
from streamer.server.streams import Streams


@dataclass(eq=False)
class _Frame(preparing.Laps):
    """A frame and what the phases so far made of it; `done` holds its tokens, or why there are none."""

    job: Job
    shape: tuple[int, int] = (0, 0)
    contrast: float | None = None
    picture: Picture | None = None
    warnings: tuple[Code, ...] = ()
    inputs: torch.Tensor | None = None
    n_tiles: int = 1
    done: Future[Tokens] = field(default_factory=Future)

    def extracted(self, error: Code | None = None, *, in_time: bool = True) -> Extracted:
        return Extracted(
            self.shape, self.contrast, self.picture, self.warnings, self.latency_ms, error, in_time
        )


def load(config: Config, threads: int) -> Backbone:
    """The configured backbone, in a process that computes with so many threads.

    Raises:
        ConfigError, WeightsError: it cannot be loaded.
    """
    torch.set_num_threads(threads)
    return backbones.load_configured(config.backbone)


class Extractor:
    """A backbone, the thread that has it extract, and the processes that decode for it.

    Args:
        config: of the service; a frame's stream has its own over it, as in the service itself.
        backbone: loaded by `load`.
        decoders: started and stopped by the caller.
        failed: called if the extracting thread dies: frames that wait for it would for ever.
    """

    def __init__(
        self,
        config: Config,
        backbone: Backbone,
        decoders: DecodePool,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._at_once, self._failed = config.transport.batch, failed
        self._backbone = backbone
        self._streams = Streams(config, None, lambda _: None)
        self._log = RateLimitedLog()
        self._batches: batches.Batches[_Frame] = batches.Batches(self._at_once)
        self._free: queue.SimpleQueue[Decoder] = queue.SimpleQueue()
        for decoder in decoders.decoders:
            self._free.put(decoder)
        self._thread = threading.Thread(target=self._extract_all, name="extract_all", daemon=True)
        self._thread.start()

    def extract(self, job: Job) -> tuple[Extracted, Tokens | None]:
        """Tokens of a frame, beside those of others that are here at the time; from any thread.

        Returns:
            What is to be said of the frame, and its tokens; None with `Extracted.error`.
        """
        frame = _Frame(job)
        try:
            # A decoder is held until there is room for what it decoded: inputs are larger than pictures.
            decoder = self._free.get()
            try:
                frame.lap("queue")
                self._prepare(frame, decoder)
                self._batches.put(frame)
            finally:
                self._free.put(decoder)
        except Exception as error:
            in_time = not isinstance(error, DecodeTimeoutError)
            return frame.extracted(self._refusal(frame, error, "internal"), in_time=in_time), None
        try:
            tokens = frame.done.result()
        except Exception as error:
            return frame.extracted(self._refusal(frame, error, "backbone_failed")), None
        return frame.extracted(), tokens

    def close(self) -> None:
        """End its thread; no call of `extract` may be under way."""
        self._batches.close()
        self._thread.join()

    def _prepare(self, frame: _Frame, decoder: Decoder) -> None:
        config = self._streams.config_of(frame.job.stream)
        decoded = decoder.decode(frame.job.message, config.bit_depth)
        seen = preparing.look(decoded, config)
        frame.warnings, frame.picture = seen.warnings, seen.picture
        frame.shape, frame.contrast = seen.shape, seen.contrast
        frame.inputs = frames.inputs(self._backbone, seen.frame, config.tiles)
        frame.n_tiles = len(frame.inputs)
        frame.lap("decode")

    def _extract_all(self) -> None:
        try:
            while batch := self._batches.take():
                self._extract(batch)
        except BaseException as error:
            self._failed(error)

    def _extract(self, batch: list[_Frame]) -> None:
        try:
            self._extract_together(batch)
        except Exception:
            # One frame that the backbone chokes on must not cost those that shared its batch.
            for frame in batch:
                try:
                    self._extract_together([frame])
                except Exception as error:
                    frame.done.set_exception(error)

    def _extract_together(self, batch: list[_Frame]) -> None:
        for frame in batch:
            frame.lap("wait")
        inputs = [frame.inputs for frame in batch if frame.inputs is not None]
        extracted = batches.extract(self._extract_inputs, inputs)
        tokens = [(patch.cpu().numpy(), token.cpu().numpy()) for patch, token in extracted]
        for frame, own in zip(batch, tokens, strict=True):
            frame.inputs = None
            frame.lap("backbone")
            frame.done.set_result(own)

    def _extract_inputs(self, prepared: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return frames.extract(self._backbone, prepared, self._at_once)

    def _refusal(self, frame: _Frame, error: Exception, code: str) -> Code:
        if not isinstance(error, WireError | FrameError):
            self._log.warning("frame_failed", code, stream=frame.job.stream, exc_info=error)
        return preparing.refusal(error, code)
