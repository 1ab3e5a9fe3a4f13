"""A real detector with a history, a real bridge on it, and what must have arrived: what the history says.

`detecting` and `Line` of `page_support` give frames whose defects are known. A receiver under test notes what
it got as `Arrival`s, in the order in which it got them; `wait_for_all` waits until every verdict is there and
checks their order. Who kills a process calls `kill()` and `start()` of it: ports and folders stay.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq
from page_support import Line, detecting
from streamer_support import PATIENCE_S

from streamer.ask import ask
from streamer.process import BridgeProcess, ServerProcess

__all__ = [
    "DRAWN",
    "SMALL",
    "Arrival",
    "Line",
    "Witness",
    "bridging",
    "detecting",
    "published",
    "verdicts_to_tell",
    "wait_for_all",
]

KINDS = ("score", "revision")
DRAWN = "drawn"
"""A stream of which nearly all frames are anomalous."""
SMALL = {
    "backbone": {"image_size": 56},
    "transport": {"heartbeat_s": 0.2},
    "streams": [{"match": DRAWN, "threshold": {"value": 0.3}}],
}
"""Sections of a detector that is quick: what it says need not be right."""


@contextmanager
def bridging(
    folder: Path, server: ServerProcess, bridge: str, section: dict[str, Any] | None = None, **sections: Any
) -> Iterator[BridgeProcess]:
    """A bridge process on a detector, its queue in `folder`; it must log no traceback.

    Args:
        folder: made if missing.
        server: the detector.
        bridge: its name, or a module that can be imported.
        section: the bridge's own keys.
        sections: as in its YAML; by default all revisions are told, and tries come fast.
    """
    folder.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {
        "detector": {name: server.endpoints[name] for name in ("scores", "control")},
        "tell": {"revisions": "all"},
        "retry": {"first_s": 0.05, "longest_s": 0.5},
        "status": {"endpoint": "127.0.0.1:0"},
        bridge.rpartition(".")[2]: section or {},
    }
    for name, given in sections.items():
        values[name] = {**values.get(name, {}), **given} if isinstance(given, dict) else given
    with BridgeProcess(bridge, folder, values) as process:
        yield process
    assert "Traceback" not in process.log


@dataclass(frozen=True)
class Arrival:
    """A verdict as a receiver got it: by its topic and number, or by what it says of which frame."""

    stream: str
    frame_id: Any
    revision: int
    kind: str
    """`score` or `revision`: a frame that was never revised has its last word as a revision 0."""
    label: bool | None

    @classmethod
    def of(cls, header: dict[str, Any]) -> "Arrival":
        """Of a header as the detector published it."""
        return cls(*(header[key] for key in ("stream", "frame_id", "revision", "kind", "pred_label")))


def published(
    server: ServerProcess, stream: str, kinds: Sequence[str] = KINDS
) -> dict[str, list[dict[str, Any]]]:
    """By kind the headers that the detector's history has of a stream, oldest first."""
    return {kind: _history(server, f"{stream}/{kind}") for kind in kinds}


def verdicts_to_tell(server: ServerProcess, stream: str, revisions: str = "all") -> dict[Any, list[Arrival]]:
    """By frame what must be told of it, in order; as `tell: {revisions, finals: true}` has it."""
    headers = published(server, stream)
    found: dict[Any, list[Arrival]] = {}
    for header in headers["score"]:
        found[header["frame_id"]] = [Arrival.of(header)]
    labels = {frame_id: told[0].label for frame_id, told in found.items()}
    for header in headers["revision"]:
        frame_id = header["frame_id"]
        changed = header["pred_label"] != labels.get(frame_id, "none was told")
        if revisions == "all" or header["is_final"] or (revisions == "changed" and changed):
            found.setdefault(frame_id, []).append(Arrival.of(header))
            labels[frame_id] = header["pred_label"]
    return found


def wait_for_all(
    server: ServerProcess, stream: str, arrived: Callable[[], Iterable[Arrival]], revisions: str = "all"
) -> None:
    """Wait until all there is to be told of a stream has arrived, then check that it came in order.

    Args:
        server: has scored what was sent; nothing more is sent meanwhile.
        stream: its name.
        arrived: what the receiver has got until now, in its order, of any stream, repetitions included.
        revisions: as the bridge's `tell.revisions`.
    """
    end = time.monotonic() + PATIENCE_S
    while True:
        wanted = verdicts_to_tell(server, stream, revisions)
        got = [one for one in arrived() if one.stream == stream]
        missing = {one for told in wanted.values() for one in told} - set(got)
        if not missing:
            break
        if time.monotonic() > end:
            pytest.fail(f"{len(missing)} verdicts did not arrive, e.g. {sorted(map(str, missing))[:3]}")
        time.sleep(0.1)
    # What comes again is no disorder: the first time each came counts.
    firsts: dict[Any, list[Arrival]] = {}
    for one in dict.fromkeys(got):
        firsts.setdefault(one.frame_id, []).append(one)
    assert firsts == wanted
    scores = [one.frame_id for one in dict.fromkeys(got) if one.kind == "score"]
    assert scores == list(wanted)


class Witness:
    """A plain subscriber beside the bridge: notes every verdict that is published while it listens."""

    def __init__(self, server: ServerProcess) -> None:
        self.heard: list[Arrival] = []
        self._ending = threading.Event()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.linger, self._socket.rcvhwm = 0, 0
        self._socket.subscribe(b"")
        self._socket.connect(server.endpoints["scores"])
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> "Witness":
        self._thread.start()
        assert self._listening.wait(PATIENCE_S)  # a heartbeat came: from here on nothing is missed
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        self._context.destroy(linger=0)

    def _listen(self) -> None:
        while not self._ending.is_set():
            if self._socket.poll(50):
                header = msgpack.unpackb(self._socket.recv_multipart()[1])
                self._listening.set()
                if header["kind"] in KINDS:
                    self.heard.append(Arrival.of(header))


def _history(server: ServerProcess, topic: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    first, more = 0, True
    while more:
        request = {"kind": "history", "topic": topic, "first": first}
        answer = ask(request, server.endpoints["control"], timeout_s=PATIENCE_S)
        found += [msgpack.unpackb(one["header"]) for one in answer["messages"]]
        more = bool(answer["more"] and answer["messages"])
        first = found[-1]["pub_seq"] + 1 if found else 0
    return found
