"""The same frames through a real server process: pushed, scored, published, collected, compared."""

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.datasets import Sample, read_frame
from bench.replay.order import Indices
from bench.replay.run import Recorder
from musc_online.config import Config
from musc_online.errors import MuscError
from musc_online.frames import map_shape
from musc_online.score import Score
from streamer.ask import ask
from streamer.errors import StreamerError
from streamer.process import ANY_PORT, ServerError, ServerProcess
from streamer.publish import Publisher
from streamer.subscribe import Subscriber
from streamer.wire.codes import WARNINGS
from streamer.wire.published import Message

_STREAM = "replay"
_START_S = 300.0
_STALL_S = 300.0


def stream_through_zmq(
    samples: Sequence[Sample],
    config: Config,
    order: Indices,
    done: Callable[[int], None] = lambda count: None,
) -> Recorder:
    """What `bench.replay.run.stream` does, in a `musc-online serve` of its own, over loopback sockets.

    The server decodes nothing (frames go as raw arrays, so that the same decoder is used) and runs its own
    backbone. Ports are chosen by the system, a full queue blocks the publisher, and maps come as float32.

    Args:
        samples: of the category.
        config: as `bench.replay.run.ring_config` gives it.
        order: indices of the samples as they arrive.
        done: told after each score.

    Raises:
        ServerError: the server does not come up, ends, stalls, or refuses or drops a frame.
    """
    recorder = Recorder.of(len(samples), map_shape(config))
    failure: list[Exception] = []
    with ExitStack() as held:
        folder = held.enter_context(tempfile.TemporaryDirectory(prefix="musc-serve-"))
        server = held.enter_context(ServerProcess(Path(folder), _serving(config, len(samples))))
        endpoints = server.endpoints
        subscriber = held.enter_context(
            Subscriber(endpoints["scores"], timeout_s=1.0, wait_s=_START_S, queue=_messages(len(samples)))
        )
        _wait_subscribed(subscriber, server)
        messages = _Messages(subscriber, server, {sample.frame_id: i for i, sample in enumerate(samples)})
        frames = [samples[index] for index in order]
        sender = threading.Thread(target=_send, args=(frames, endpoints["frames"], failure), daemon=True)
        sender.start()
        messages.collect(recorder, "score", len(samples), failure, done)
        ask({"kind": "flush", "stream": _STREAM}, endpoints["control"], timeout_s=_STALL_S)
        messages.collect(recorder, "final", len(samples), failure)
        sender.join(_STALL_S)
    return recorder


def _wait_subscribed(subscriber: Subscriber, server: ServerProcess) -> None:
    """Wait for a heartbeat: what is published before the subscription is in force is never heard."""
    deadline = time.monotonic() + _STALL_S
    while subscriber.receive() is None:
        _ = server.pid  # which says so if it has ended
        if time.monotonic() > deadline:
            raise ServerError("musc-online serve: no heartbeat; it stalls")


class _Messages:
    """Takes score messages into a recorder until every frame has what is waited for."""

    def __init__(self, subscriber: Subscriber, server: ServerProcess, indices: dict[str, int]) -> None:
        self._subscriber = subscriber
        self._server = server
        self._indices = indices
        self._seen: dict[str, set[int]] = {"score": set(), "final": set()}

    def collect(
        self,
        recorder: Recorder,
        wanted: str,
        count: int,
        failure: list[Exception],
        done: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Until `count` frames have a `score` (or are `final`)."""
        since = time.monotonic()
        while len(self._seen[wanted]) < count:
            message = self._subscriber.receive()
            if failure:
                raise ServerError(f"publisher: {failure[0]}")
            _ = self._server.pid  # which says so if it has ended
            if message is not None and message.kind in ("score", "revision"):
                since = time.monotonic()
                done(self._take(recorder, message))
            elif message is not None and message.get("code") in WARNINGS:
                continue  # told where the images were read; the frame has its score besides
            elif message is not None and message.kind in ("error", "dropped"):
                raise ServerError(
                    f"musc-online serve: {message.kind}: {message.get('text') or dict(message)}"
                )
            elif time.monotonic() - since > _STALL_S:
                missing = count - len(self._seen[wanted])
                raise ServerError(
                    f"musc-online serve: {missing} of {count} frames without a {wanted} for {_STALL_S:g} s"
                )

    def _take(self, recorder: Recorder, message: Message) -> int:
        """1 for a frame's first score, else 0."""
        index = self._indices[str(message["frame_id"])]
        recorder.take(index, _score(message))
        if message["is_final"]:
            self._seen["final"].add(index)
        if message.kind != "score" or index in self._seen["score"]:
            return 0
        self._seen["score"].add(index)
        return 1


def _score(message: Message) -> Score:
    same = ("frame_id", "raw_score", "rscin_score", "pred_score", "pred_label", "threshold", "state")
    more = ("n_references", "revision", "is_final")
    return Score(**{name: message[name] for name in (*same, *more)}, anomaly_map=message.anomaly_map)


def _send(samples: Sequence[Sample], endpoint: str, failure: list[Exception]) -> None:
    try:
        with Publisher(endpoint, _STREAM, encoding="raw", wait_s=_STALL_S) as publisher:
            for sample in samples:
                publisher.send(read_frame(sample.path, sample.bit_depth), sample.frame_id, timeout_s=_STALL_S)
    except (MuscError, StreamerError) as error:
        failure.append(error)


def _messages(n_images: int) -> int:
    """More messages than can wait: a subscriber that missed one would report a wrong number."""
    return 100 * n_images + 10_000


def _serving(config: Config, n_images: int) -> dict[str, Any]:
    """The configuration of the server process: ephemeral ports, nothing dropped, exact maps."""
    values = config.model_dump(mode="json")
    # The line this configuration is of may be running: its log, rings and port are not ours.
    values["history"]["path"] = values["snapshot"]["path"] = values["metrics"]["endpoint"] = None
    values["snapshot"]["journal"] = False
    values["security"]["keys"] = None  # on loopback, to itself
    values["engine"]["address"] = values["engine"]["token"] = None  # nor its cluster
    values["limits"]["rate"] = None  # every frame is taken
    values["limits"]["sleep_after_s"] = None  # there is nowhere to sleep
    values["output"]["picture"]["of"] = "none"  # nobody looks at them
    values["streams"] = []  # what the line says of one of its streams is not said of this one
    values["transport"] |= {
        "frames": ANY_PORT,
        "scores": ANY_PORT,
        "control": ANY_PORT,
        "reliable": None,
        "imagezmq": None,
        "imagezmq_subscribe": [],
        "when_full": "block",
        "heartbeat_s": 0.5,
        "map_encoding": "float32",
        # Frames evicted before the end keep the map of their last revision.
        "revision_maps": "final" if config.ring.capacity >= n_images else "all",
        "subscriber_queue": _messages(n_images),
    }
    if "limits" in values:
        values["limits"]["total_bytes"] = max(values["limits"]["total_bytes"], values["ring"]["max_bytes"])
    return values
