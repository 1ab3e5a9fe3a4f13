"""In a line, in the place of the service's outbox: what is to be published, kept as data for the gate."""

import threading
from collections.abc import Callable
from typing import Literal, cast

from musc_online.arrays import FrameId
from streamer.cluster.exchange import Told
from streamer.maps import MapEncoding, encode_map
from streamer.server.outbox import Outgoing

Kind = Literal["score", "revision", "event", "operator", "error"]


class Recorder:
    """Takes messages as an outbox does; maps are encoded here, so that the gate only numbers and packs.

    Args:
        map_encoding: of `streamer.maps`.

    Attributes:
        settles: by frame id what is to be done once the gate says that a frame's score is out.
    """

    def __init__(self, map_encoding: MapEncoding) -> None:
        self._map_encoding = map_encoding
        self._lock = threading.Lock()
        self._told: list[Told] = []
        self.settles: dict[FrameId, Callable[[], None]] = {}

    def put(self, message: Outgoing) -> None:
        """Keep a message."""
        header, payload = message.header, message.payload
        if message.anomaly_map is not None:
            entry, payload = encode_map(message.anomaly_map, self._map_encoding, message.grid)
            header = {**header, "anomaly_map": entry}
        if message.settle is not None:
            self.settles[header["frame_id"]] = message.settle
        with self._lock:
            self._told.append(Told(cast(Kind, message.kind), header, payload))

    def take(self) -> list[Told]:
        """What was put since last asked, in order."""
        with self._lock:
            told, self._told = self._told, []
        return told

    def put_again(self, told: list[Told]) -> None:
        """Keep what was taken already."""
        with self._lock:
            self._told += told
