"""What works in a line as it does in the service of one process: for one stream, its messages kept."""

from functools import partial
from typing import cast

from musc_online.backbones import Backbone
from musc_online.config import Config
from musc_online.detector import Detector
from musc_online.ring_setup import MakeStore
from streamer.cluster.exchange import BackboneIdentity
from streamer.cluster.recorder import Recorder
from streamer.cluster.settling import Books
from streamer.progress import Progress
from streamer.server.outcomes import Outcomes
from streamer.server.restoring import Restorer
from streamer.server.saving import Saver
from streamer.server.scoring import Scoring
from streamer.server.snapshot_tally import SnapshotTally
from streamer.server.stream import Stream
from streamer.server.streams import Streams


class Hosted:
    """Parts of `streamer.server`, put together for a line.

    Attributes:
        recorder: what the stream's scores, words and events are told by.
        troubles: what is told of files, from any thread.

    Args:
        name, config, identity, make_store, fatal: see `Line`.
    """

    def __init__(
        self,
        name: str,
        config: Config,
        identity: BackboneIdentity,
        make_store: MakeStore | None,
        fatal: tuple[type[Exception], ...],
    ) -> None:
        config = config.model_copy(update={"streams": ()})
        kept, encoding = config.snapshot, config.transport.map_encoding
        self.streams = _OneStream(config)
        self.stream = self.streams.admit(name)
        self.recorder, self.troubles = Recorder(encoding), Recorder(encoding)
        self.books = Books(self.stream, self.recorder)
        self.outcomes = Outcomes(self.books.ledger)
        self.outcomes.outbox = self.recorder
        self.tally = SnapshotTally(self.troubles)
        # A journal that wants a snapshot says so in each reply.
        self.restorer = Restorer(
            kept.path, self.tally, (kept.journal, config.history.durable), due=lambda: None
        )
        self.saver = Saver(kept.path, self.tally, Progress())
        backbone = cast(Backbone, identity)  # a detector that is given tokens asks no more of it
        self.scoring = Scoring(
            self.streams,
            backbone,
            self.outcomes,
            self.restorer,
            observe=lambda _: None,
            observe_score=lambda *_: None,
            new_detector=partial(Detector, backbone=backbone, make_store=make_store),
            fatal=fatal,
        )


class _OneStream(Streams):
    """The gate knows what the others leave to its ring: `room` bytes."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, None, closed=lambda _: None)
        self.room = int(config.limits.total_bytes)

    def room_for(self, stream: Stream) -> int:
        return self.room
