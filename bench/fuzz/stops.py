"""Clean stops and `kill -9` under a reliable sender whose acks get lost: none lost, none scored twice."""

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack

from bench.fuzz.acked import LossyCamera, Screen
from streamer.ask import ask
from streamer.process import ANY_PORT, ServerProcess, free_port

STOPS = KILLS = 20
SETUPS = ("alone", "history", "snapshots")
"""What the service keeps on disk: nothing but ids in its runtime folder, the history, rings."""

_FRAMES = 20
"""Acknowledged in each life of a server before it ends."""
_WINDOW = 8
_ASK_S = 300.0


def attack(
    folder: Path, stops: int = STOPS, kills: int = KILLS, setups: tuple[str, ...] = SETUPS
) -> dict[str, Any]:
    """Stop and kill servers while frames are on their way, start them again, and count.

    Args:
        folder: empty.
        stops: SIGTERMs of each setup.
        kills: `kill -9` of each setup.
        setups: of `SETUPS`.

    Raises:
        ServerError: a server does not come up.
        StreamerError: a frame is not acknowledged within minutes.
    """
    figures: dict[str, Any] = {"stops": stops, "kills": kills}
    checks: dict[str, bool] = {}
    for setup in setups:
        of_setup = folder / setup
        of_setup.mkdir()
        found, held = _attack(of_setup, setup, stops, kills)
        figures[setup] = found
        checks |= {f"{setup}: {check}": holds for check, holds in held.items()}
    return {**figures, "checks": checks}


def _attack(folder: Path, setup: str, stops: int, kills: int) -> tuple[dict[str, Any], dict[str, bool]]:
    statuses: list[int] = []
    with ServerProcess(folder, _settings(folder, setup)) as server:
        stopped = _phase(server, "stopped", stops, lambda: statuses.append(server.terminate()))
        killed = _phase(server, "killed", kills, server.kill)
        tallies = ask({"kind": "status"}, server.endpoints["control"], timeout_s=_ASK_S)["streams"]
        kept = {name: _kept(server, name) for name in ("stopped", "killed")} if setup == "history" else {}
        scored = {name: int(tallies.get(name, {}).get("scored", 0)) for name in ("stopped", "killed")}
    figures = {"stopped": stopped.figures(), "killed": killed.figures(), "tallies": scored}
    checks = {
        "every stop ended with status 0": statuses == [0] * stops,
        "clean stops: each frame acknowledged, heard, and scored once": stopped.once(stopped.heard),
        "kills: each frame acknowledged": killed.acknowledged == killed.sent,
        "kills: none scored twice": killed.twice() == 0,
    }
    if setup == "history":
        checks["kills: each frame is in the history once"] = killed.once(kept["killed"])
        checks["the tallies are those of the history"] = scored == {
            "stopped": stopped.sent,
            "killed": killed.sent,
        }
    return figures, checks


class Phase:
    """What became of one stream's frames."""

    def __init__(self, sent: int, acknowledged: int, acks_lost: int, heard: Counter[Any]) -> None:
        self.sent, self.acknowledged, self.acks_lost, self.heard = sent, acknowledged, acks_lost, heard

    def once(self, counted: Counter[Any]) -> bool:
        """Whether each frame was acknowledged and counted once."""
        return self.acknowledged == self.sent and counted == Counter(range(self.sent))

    def twice(self) -> int:
        """How many scores there were of frames that had one."""
        return sum(times - 1 for times in self.heard.values())

    def figures(self) -> dict[str, int]:
        """Numbers to show; `unheard`: published as the server died, before a subscriber had it."""
        return {
            "sent": self.sent,
            "acknowledged": self.acknowledged,
            "acks_lost": self.acks_lost,
            "unheard": self.sent - len(self.heard),
            "twice": self.twice(),
        }


def _phase(server: ServerProcess, stream: str, ends: int, end: Callable[[], object]) -> Phase:
    """End a server so often under a camera and start it again."""
    with Screen(stream) as screen, LossyCamera(stream, _WINDOW) as camera:
        for number in itertools.count():
            screen.connect(server.endpoints["scores"])
            camera.connect(server.endpoints["reliable"])
            if number == ends:
                break
            camera.wait_acknowledged(_FRAMES)
            end()
            camera.disconnect()
            screen.disconnect()
            server.start()
        camera.finish()
        screen.wait_heard(camera.last_scored)
        return Phase(camera.sent, camera.acknowledged, camera.acks_lost, screen.heard)


def _kept(server: ServerProcess, stream: str) -> Counter[Any]:
    found: Counter[Any] = Counter()
    first, more = 0, True
    while more:
        request = {"kind": "history", "topic": f"{stream}/score", "first": first}
        answer = ask(request, server.endpoints["control"], timeout_s=_ASK_S)
        for message in answer["messages"]:
            first = message["pub_seq"] + 1
            found[msgpack.unpackb(message["header"])["frame_id"]] += 1
        more = answer["more"]
    return found


def _settings(folder: Path, setup: str) -> dict[str, Any]:
    names = ("frames", "scores", "control")
    return {
        "backbone": {"image_size": 56},
        # Smaller than what is on its way and what is sent again: ids are known beyond the ring.
        "ring": {"capacity": 4, "matcher": "faiss"},
        "revise": {"every": 1_000_000, "window": 4},
        "warmup": 2,
        "transport": {
            **dict.fromkeys(names, ANY_PORT),
            "reliable": free_port(),  # known before its first life: ids are kept for a port that stays
            "subscriber_queue": 1_000_000,
            "heartbeat_s": 0.2,
        },
        "history": {"path": str(folder / "history.sqlite") if setup == "history" else None},
        "snapshot": {"path": str(folder / "rings") if setup == "snapshots" else None, "every_s": 5},
    }
