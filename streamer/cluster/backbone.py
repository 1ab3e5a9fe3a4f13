"""The actor that holds a backbone. Light to import: where it is placed is known before its libraries load.

It is told all it needs as it is made, keeps nothing of a frame once that is answered, and says what went
wrong with one as data: an error that Ray raises at the gate is always Ray's, of an actor or a node.
"""

import os
import threading
from typing import TYPE_CHECKING

import ray

from musc_online.config import Config
from musc_online.errors import MuscError
from streamer.cluster.exchange import BackboneIdentity, Extracted, Job, Tokens
from streamer.errors import StreamerError
from streamer.server import logs

if TYPE_CHECKING:
    from streamer.cluster.extracting import Extractor

BESIDE = 2
"""Calls beside those of frames: one that stands for ever, and one of the others."""


class BackboneActor:
    """Decodes, prepares and extracts; made remote by the pool. Calls run side by side.

    Args:
        config: of the service.
        threads: that torch computes with.
    """

    def __init__(self, config: Config, threads: int) -> None:
        logs.configure(config.log.level, "json")
        self._config, self._threads = config, threads
        self._extractor: Extractor | None = None

    def where(self) -> tuple[int, str]:
        """Process id, and the id of the node: known as soon as there is room for it somewhere."""
        return os.getpid(), ray.get_runtime_context().get_node_id()

    def identity(self) -> BackboneIdentity | MuscError | StreamerError:
        """Load the backbone; what it is, or why it cannot be loaded here."""
        from streamer.cluster.extracting import Extractor  # noqa: PLC0415  (seconds: torch)

        try:
            extractor = Extractor(self._config, self._threads, lambda _: os._exit(1))
        except (MuscError, StreamerError) as error:
            return error
        self._extractor = extractor
        return BackboneIdentity(extractor.backbone.fingerprint, extractor.backbone.precision)

    def extract(self, job: Job) -> tuple[Extracted, Tokens | None]:
        """What is to be said of a frame, and its tokens: two objects, so that only the first comes back."""
        if self._extractor is None:
            return Extracted(error=("internal", "backbone: not loaded yet")), None
        return self._extractor.extract(job)

    def stand(self) -> None:
        """Never returns: whoever waits for it hears at once that the actor is gone."""
        threading.Event().wait()
