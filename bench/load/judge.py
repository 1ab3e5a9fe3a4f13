"""The verdict on a load test: every frame in one column, none lost, none scored twice."""

from typing import Any

import numpy as np

from bench.load.drive import Observed
from bench.load.plan import Plan


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
        "the server was killed as often as asked": seen.kills == plan.kills,
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
        "kills": seen.kills,
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
        "latency_ms": _quantiles(watch.latencies_ms),
        "server": {**total, "dropped": dropped, "refused": refused},
        "publisher_errors": [report["error"] for report in sent if "error" in report],
        "checks": checks,
        "holds": all(checks.values()),
    }


def _quantiles(values: list[float]) -> dict[str, float | None]:
    wanted = {"p50": 50, "p95": 95, "p99": 99, "max": 100}
    if not values:
        return dict.fromkeys(wanted)
    return {name: round(float(np.percentile(values, percent)), 1) for name, percent in wanted.items()}
