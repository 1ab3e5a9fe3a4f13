"""The actor that holds a backbone. Light to import: where it is placed is known before its libraries load.

It is told all it needs as it is made, keeps nothing of a frame once that is answered, and says what went
wrong with one as data: an error that Ray raises at the gate is always Ray's, of an actor or a node.
"""

import contextlib
import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import ray

from musc_online.config import Config
from musc_online.errors import MuscError
from streamer.cluster.exchange import BackboneIdentity, Extracted, Job, Tokens
from streamer.errors import StreamerError
from streamer.server import logs
from streamer.server.decode_pool import DecodePool
from streamer.server.preparing import wire_limits

if TYPE_CHECKING:
    from streamer.cluster.extracting import Extractor

BESIDE = 3
"""Calls beside those of frames: one that stands for ever, of a spare another, and one of the rest."""
_BACKGROUND = 19
"""Ray's own workers are at 15 already."""


class BackboneActor:
    """Decodes, prepares and extracts; made remote by the pool. Calls run side by side.

    Args:
        config: of the service.
        threads: that torch computes with.
    """

    def __init__(self, config: Config, threads: int) -> None:
        logs.configure(config.log.level, "json")
        self._config, self._threads = config, threads
        self._decoders = DecodePool(wire_limits(config), config.limits.decode_s)
        self._started = False
        self._extractor: Extractor | None = None

    def where(self) -> tuple[int, str]:
        """Process id, and the id of the node: known as soon as there is room for it somewhere."""
        return os.getpid(), ray.get_runtime_context().get_node_id()

    def warm(self) -> None:
        """Do all of `identity` that takes long, and keep no weights: a spare costs little and is soon up.

        It is done with what others leave of the processors.
        """
        thread = threading.Thread(target=self._warm, name="warm", daemon=True)
        thread.start()
        thread.join()

    def identity(self, precision: str) -> BackboneIdentity | MuscError | StreamerError:
        """Load the backbone; what it is, or why it cannot be loaded here.

        Args:
            precision: of the backbone; `auto` becomes for all what it became for the first.
        """
        from streamer.cluster import extracting  # noqa: PLC0415  (seconds: torch)

        wanted = self._config.backbone.model_copy(update={"precision": precision})
        try:
            self._start_decoders()
            backbone = extracting.load(self._config.model_copy(update={"backbone": wanted}), self._threads)
        except (MuscError, StreamerError) as error:
            return error
        self._extractor = extracting.Extractor(self._config, backbone, self._decoders, lambda _: os._exit(1))
        return BackboneIdentity(backbone.fingerprint, backbone.precision)

    def extract(self, job: Job, payload: npt.NDArray[np.uint8]) -> tuple[Extracted, Tokens | None]:
        """What is to be said of a frame, and its tokens: two objects, so that only the first comes back.

        Args:
            job: the frame, without its payload.
            payload: `[N]`, read where Ray has it: an array is not copied on its way here.
        """
        if self._extractor is None:
            return Extracted(error=("internal", "backbone: not loaded yet")), None
        message = replace(job.message, payload=cast(bytes, payload.data))
        return self._extractor.extract(replace(job, message=message))

    def stand(self) -> None:
        """Never returns: whoever waits for it hears at once that the actor is gone."""
        threading.Event().wait()

    def _warm(self) -> None:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _BACKGROUND)
        from streamer.cluster import extracting  # noqa: PLC0415  (seconds: torch)

        with contextlib.suppress(MuscError, StreamerError):  # `identity` says so, once it is asked
            self._start_decoders()
            wanted = self._config.backbone.model_copy(update={"device": "cpu", "precision": "float32"})
            extracting.load(self._config.model_copy(update={"backbone": wanted}), self._threads)

    def _start_decoders(self) -> None:
        if not self._started:
            self._decoders.start()
            self._started = True
