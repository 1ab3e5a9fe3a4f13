"""What a load run comes to: counts, times, and checks that hold or do not."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.load.drive import Observed
from bench.load.kills import Kill
from bench.load.plan import Plan

KILLED = "the server was killed as often as asked"
RECOVERED = "what was killed was replaced, and its streams went on"
SAME_SCORES = "scores on arrival are those of a run without a kill, to the last bit"


def judged(plan: Plan, seen: Observed) -> dict[str, Any]:
    """The figures of a run: counts, latencies, `checks` by name, and whether all of them hold.

    Args:
        plan: what was asked for.
        seen: what came of it.
    """
    sent, tallies, watch = seen.sent, seen.tallies, seen.watch
    total = {
        name: sum(tally[name] for tally in tallies.values()) for name in ("received", "scored", "queued")
    }
    dropped, refused = (
        sum(sum(tally[name].values()) for tally in tallies.values()) for name in ("dropped", "refused")
    )
    counts = [watch.scored(report["stream"]) for report in sent]
    n_sent = sum(report["sent"] for report in sent)
    n_scored = sum(map(len, counts))
    n_dropped = 0 if plan.reliable else sum(watch.dropped.values())
    lost = n_sent - n_scored - n_dropped
    twice = sum(sum(times > 1 for times in count.values()) for count in counts)
    checks = {
        "received = scored + dropped + refused + queued, nothing queued at the end": total["received"]
        == total["scored"] + dropped + refused
        and total["queued"] == 0,
        "no publisher failed": not any("error" in report for report in sent),
        "no frame scored twice": twice == 0,
        "every frame sent was scored or told as dropped": lost == 0,
        KILLED: [kill.victim.kind for kill in seen.kills] == [*plan.kills],
        RECOVERED: all(kill.recovered for kill in seen.kills),
    }
    if not plan.reliable:  # there, frames sent again and restarts make the server's own counters differ
        checks["the server received what was sent"] = total["received"] == n_sent
        checks["the server counted the scores and drops it published"] = (
            total["scored"],
            dropped,
        ) == (n_scored, n_dropped)
    return {
        "publishers": plan.publishers,
        "fps": plan.fps,
        "reliable": plan.reliable,
        "engine": plan.engine,
        "kills": len(seen.kills),
        "seconds": round(seen.seconds, 2),
        "sent": n_sent,
        "scored": n_scored,
        "scored_twice": twice,
        "dropped": n_dropped,
        "lost": lost,
        "resent": sum(report.get("resent", 0) for report in sent),
        "fetched_from_history": watch.fetched,
        "scored_per_s": round(n_scored / seen.seconds, 2),
        "late_s": round(max(report["late_s"] for report in sent), 2),
        "latency_ms": quantiles(watch.latencies_ms, 1),
        **_killed(seen.kills),
        "server": {**total, "dropped": dropped, "refused": refused},
        "publisher_errors": [report["error"] for report in sent if "error" in report],
        "checks": checks,
        "holds": all(checks.values()),
    }


def _killed(kills: Sequence[Kill]) -> dict[str, Any]:
    """What was killed, how long replacing took by the status, and how long streams stood still for it."""
    kinds = dict.fromkeys(kill.victim.kind for kill in kills)
    return {
        "killed": [
            {
                "kind": kill.victim.kind,
                "stream": kill.victim.stream,
                "without_ack_s": round(kill.without_ack_s, 3),
                "recoveries_s": [round(value, 3) for value in kill.recoveries_s],
                "recovered": kill.recovered,
            }
            for kill in kills
        ],
        "recovery_s": quantiles([value for kill in kills for value in kill.recoveries_s], 2),
        "without_ack_s": {
            name: quantiles([kill.without_ack_s for kill in kills if name in {"all", kill.victim.kind}], 2)
            for name in ("all", *kinds)
        },
    }


def compare(figures: dict[str, Any], seen: Observed, undisturbed: Observed, engine: str) -> None:
    """Add to the figures of a run whether its scores are those of one without kills.

    Args:
        figures: of `judged`; it gets `compared`, and a check more.
        seen: the run itself.
        undisturbed: the run without kills: the same cameras, in the same order.
        engine: of that run.
    """
    n_compared = n_different = 0
    for ours, theirs in zip(seen.sent, undisturbed.sent, strict=True):
        mine, other = (run.watch.raw_scores(report["stream"]) for run, report in
                       ((seen, ours), (undisturbed, theirs)))  # fmt: skip
        ids = mine.keys() | other.keys()
        n_compared += len(ids)
        n_different += sum(
            frame_id not in mine or frame_id not in other or _bits(mine[frame_id]) != _bits(other[frame_id])
            for frame_id in ids
        )
    figures["compared"] = {"engine": engine, "frames": n_compared, "different": n_different}
    figures["checks"][SAME_SCORES] = n_different == 0 < n_compared
    figures["holds"] = all(figures["checks"].values())


def _bits(value: float | None) -> str | None:
    return None if value is None else float(value).hex()


def quantiles(values: Sequence[float], digits: int) -> dict[str, float | None]:
    """Median, 95th, 99th percentile and maximum; null where there is nothing."""
    wanted = {"p50": 50, "p95": 95, "p99": 99, "max": 100}
    if not values:
        return dict.fromkeys(wanted)
    return {name: round(float(np.percentile(values, percent)), digits) for name, percent in wanted.items()}
