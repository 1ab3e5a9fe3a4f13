"""What of a detector is killed, by its own status, and when another has taken its place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Engine = Mapping[str, Any]
"""`engine` of a detector's status; empty for a detector that says nothing of it."""


@dataclass(frozen=True)
class Victim:
    """What is killed: a process `pid`, or all of a `node`. `count` is how many of its kind there were."""

    kind: str
    stream: str | None = None
    pid: int | None = None
    node: str | None = None
    count: int = 1


def chosen(kind: str, turn: int, engine: Engine, streams: Sequence[str]) -> Victim | None:
    """What the kill number `turn` of a kind is aimed at, by the detector's status; None if there is none now.

    Args:
        kind: one of `bench.load.plan.KINDS`.
        turn: 0, 1, 2...: another stream or actor each.
        engine: of the status.
        streams: those that have frames left.
    """
    lines = {name: line for name, line in engine.get("lines", {}).items() if name in streams and line["pid"]}
    if kind == "gate":
        return Victim("gate")
    if kind == "node":
        return _busiest(engine, lines)
    if kind == "backbone":
        return _of(kind, turn, None, _up(engine.get("backbones", [])))
    if not lines:
        return None
    stream = sorted(lines)[turn % len(lines)]
    if kind == "line":
        return _of(kind, turn, stream, [lines[stream]])
    return _of(kind, turn // len(lines), stream, _up(engine.get("shards", {}).get(stream, [])))


def replaced(victim: Victim, engine: Engine) -> bool:
    """Whether the status says that another has taken the victim's place."""
    if victim.kind == "gate":
        return True  # it answers
    backbones, lines = _up(engine.get("backbones", [])), engine.get("lines", {})
    if victim.kind == "line":
        pid = lines.get(victim.stream, {}).get("pid")
        return bool(pid) and pid != victim.pid
    if victim.kind == "node":
        held = [*backbones, *lines.values()]
        moved = all(entry.get("pid") and entry.get("node") != victim.node for entry in held)
        return bool(held) and moved and len(backbones) >= victim.count
    actors = backbones if victim.kind == "backbone" else _up(engine.get("shards", {}).get(victim.stream, []))
    return victim.pid not in [actor["pid"] for actor in actors] and len(actors) >= victim.count


def _of(kind: str, turn: int, stream: str | None, actors: Sequence[Engine]) -> Victim | None:
    if not actors:
        return None
    actor = actors[turn % len(actors)]
    return Victim(kind, stream, actor["pid"], actor.get("node"), len(actors))


def _busiest(engine: Engine, lines: Engine) -> Victim | None:
    """The node, not the head, with most actors of ours; None while all are on the head."""
    backbones = _up(engine.get("backbones", []))
    heads = {node["id"] for node in engine.get("nodes", []) if node.get("is_head")}
    held = [entry.get("node") for entry in (*lines.values(), *backbones)]
    others = [node for node in held if node is not None and node not in heads]
    if not others:
        return None
    node = max(sorted(set(others)), key=others.count)
    return Victim("node", node=node, count=len(backbones))


def _up(entries: Sequence[Engine]) -> list[Engine]:
    """Those that have a process now."""
    return [entry for entry in entries if entry.get("pid")]
