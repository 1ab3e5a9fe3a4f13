"""The simulated plants as Markdown, for people and docs/scale.md."""

from collections.abc import Mapping, Sequence
from typing import Any

_TITLES = {
    "gate_ms": "gate, ms of a processor a frame",
    "decode_ms": "decode and prepare, ms of a core",
    "line_ms": "line, ms of a core",
    "frame_bytes": "frame, bytes",
    "tokens_bytes": "tokens, bytes",
    "score_bytes": "score with its map, bytes",
    "recovery_s": "recovery of an actor, s",
}


def markdown(document: Mapping[str, Any]) -> str:
    """One page: what was measured, what is assumed, what GPUs carry, what cameras need, a node fewer."""
    parts = ["# Scale, simulated\n", _costs(document), _carried(document), _needed(document), _loss(document)]
    return "\n".join(part for part in parts if part)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table whose first column is text and whose others are numbers."""
    lines = [header, ("---",) + ("---:",) * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def _costs(document: Mapping[str, Any]) -> str:
    rows = [
        (_TITLES[name], f"{value:,.0f}" if value >= 1000 else f"{value:.3g}")
        for name, value in document["costs"].items()
    ]
    assumed = ", ".join(f"{name} {value:g}" for name, value in document["assumed"].items())
    return (
        f"{table(('measured', ''), rows)}\n"
        f"Assumed, each an option: {assumed}. A frame is in time if its score is heard within "
        f"{document['limit_s']:g} s; a plant carries what has 99.9 % of its frames in time.\n"
    )


def _carried(document: Mapping[str, Any]) -> str:
    header = ("GPUs (nodes)", "cameras, one gate", "first full", "gates", "cameras", "first full",
              "ms at 80 %: p50", "p95", "p99")  # fmt: skip
    rows = [
        (
            f"{row['gpus']} ({row['nodes']})",
            row["cameras_one_gate"],
            row["bottleneck_one_gate"],
            row["gates"],
            row["cameras"],
            row["bottleneck"],
            *(f"{value:.0f}" for value in row["latency_ms"].values()),
        )
        for row in document["carried"]
    ]
    return f"## What GPUs carry\n\n{table(header, rows)}"


def _needed(document: Mapping[str, Any]) -> str:
    header = ("cameras", "GPUs", "gates", "busiest", "its share", "p50 ms", "p95 ms", "p99 ms")
    rows = [
        (row["cameras"], "more", *("",) * 6)
        if row["gpus"] is None
        else (
            row["cameras"],
            row["gpus"],
            row["gates"],
            row["bottleneck"],
            f"{100 * row['busy']:.0f} %",
            *(f"{value:.0f}" for value in row["latency_ms"].values()),
        )
        for row in document["needed"]
    ]
    return f"## What cameras need\n\n{table(header, rows)}"


def _loss(document: Mapping[str, Any]) -> str:
    header = ("GPUs (nodes)", "cameras", "one node fewer", "lost at", "frames late", "longest, s",
              "late until, s", "dropped")  # fmt: skip
    rows = [
        (
            f"{row['gpus']} ({row['nodes']})",
            row["cameras"],
            row["cameras_one_node_fewer"],
            f"{row['loss']['cameras']} cameras",
            row["loss"]["late"],
            f"{row['loss']['longest_s']:.2f}",
            f"{row['loss']['late_until_s']:.2f}" if row["loss"]["carried"] else "for good",
            row["loss"]["dropped"],
        )
        for row in document["carried"]
        if "loss" in row
    ]
    if not rows:
        return ""
    return (
        f"## One node fewer\n\nLost with 80 % of the cameras that the plant carries.\n\n{table(header, rows)}"
    )
