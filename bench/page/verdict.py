"""What a run of the page comes to: figures, and each bar held or missed."""

from typing import Any

import numpy as np

from bench.page.eyes import WHAT
from bench.page.measure import Observed, Plan, Sample

SHOWN_MS = 1000.0
FIRST_PAINT_MS = 1000.0
LOAD_BYTES = 250_000
RSS_MIB = 150.0
CPU_PER_CENT = 5.0
HEAP_MIB_PER_SHIFT = 50.0
"""In eight hours, extrapolated."""
ROWS_KEPT = 2000
"""Until the page holds so many scores its heap may grow; only then is it judged."""
_SHIFT_S = 8 * 3600.0
_FEWEST_SAMPLES = 12


def judged(plan: Plan, seen: Observed) -> dict[str, Any]:
    """The figures of a run, `checks` by name, and whether all of them hold.

    Args:
        plan: what was asked for.
        seen: what came of it.
    """
    shown = {what: _delays(seen, what) for what in WHAT}
    alarms = _alarms(seen)
    heap = _heap(plan, seen.samples)
    process = _process(seen.samples)
    checks = {
        "every frame sent was scored": len(seen.heard.came) == seen.sent,
        **{
            f"{what} painted within {SHOWN_MS:g} ms of the score message": figures["max_ms"] is not None
            and figures["max_ms"] <= SHOWN_MS
            for what, figures in shown.items()
        },
        "there were alarms, and all of them were on the page": alarms["raised"] > 0
        and not alarms["not_shown"],
        "every anomalous frame is an alarm": not alarms["frames_without"],
        f"page's process under {RSS_MIB:g} MiB": process["rss_max_mib"] < RSS_MIB,
        f"page's process under {CPU_PER_CENT:g} % of a core": process["cpu_per_cent"] < CPU_PER_CENT,
        f"first paint under {FIRST_PAINT_MS:g} ms": (seen.load["first_paint_ms"] or np.inf) < FIRST_PAINT_MS,
        f"first load under {LOAD_BYTES // 1000} kB": seen.load["bytes"] < LOAD_BYTES,
        "nothing in the browser's console": not seen.errors,
    }
    if heap["mib_per_8_h"] is not None:
        checks[f"heap grows by less than {HEAP_MIB_PER_SHIFT:g} MiB in 8 h"] = (
            heap["mib_per_8_h"] < HEAP_MIB_PER_SHIFT
        )
    return {
        "minutes": plan.minutes,
        "rate": plan.rate,
        "sent": seen.sent,
        "scored": len(seen.heard.came),
        "shown": shown,
        "alarms": alarms,
        "heap": heap,
        "process": process,
        "load": seen.load,
        "console": seen.errors[:20],
        "checks": checks,
        "holds": all(checks.values()),
    }


def _delays(seen: Observed, what: str) -> dict[str, Any]:
    """Milliseconds from a score's arrival at a plain subscriber to its paint; of frames that were painted.

    A frame whose successor came first is not painted at all: `frames` tells how many were.
    """
    painted: dict[str, float] = getattr(seen.seen, what)
    delays = [painted[key] - came for key, came in seen.heard.came.items() if key in painted]
    quantiles = {"p50_ms": 50, "p95_ms": 95, "max_ms": 100}
    if not delays:
        return {"frames": 0, **dict.fromkeys(quantiles)}
    return {
        "frames": len(delays),
        **{name: round(float(np.percentile(delays, share)), 1) for name, share in quantiles.items()},
    }


def _alarms(seen: Observed) -> dict[str, Any]:
    raised = [alarm for alarm in seen.alarms.values() if alarm["cause"] == "anomalous"]
    return {
        "anomalous_frames": len(seen.heard.anomalous),
        "frames_without": sorted(seen.heard.anomalous - {alarm["key"] for alarm in raised}),
        "raised": len(raised),
        "not_shown": sorted(alarm["id"] for alarm in raised if alarm["id"] not in seen.seen.alarms),
    }


def _heap(plan: Plan, samples: list[Sample]) -> dict[str, Any]:
    """MiB of JavaScript after collections of garbage; its trend once the page holds all it ever holds."""
    full = [sample for sample in samples if sample.at_s * plan.rate >= ROWS_KEPT]
    trend = None
    if len(full) >= _FEWEST_SAMPLES:
        slope = np.polyfit([one.at_s for one in full], [one.heap_mib for one in full], 1)[0]
        trend = round(float(slope) * _SHIFT_S, 1)
    return {
        "first_mib": round(samples[0].heap_mib, 2),
        "max_mib": round(max(one.heap_mib for one in samples), 2),
        "last_mib": round(samples[-1].heap_mib, 2),
        "mib_per_8_h": trend,
        "nodes": [
            round(samples[0].nodes),
            round(max(one.nodes for one in samples)),
            round(samples[-1].nodes),
        ],
        "listeners": [round(samples[0].listeners), round(samples[-1].listeners)],
        "samples": [[round(one.at_s, 1), round(one.heap_mib, 3)] for one in samples],
    }


def _process(samples: list[Sample]) -> dict[str, float]:
    first, last = samples[0], samples[-1]
    lasted = last.at_s - first.at_s
    return {
        "rss_max_mib": round(max(one.rss_mib for one in samples), 1),
        "rss_last_mib": round(last.rss_mib, 1),
        "cpu_per_cent": round(100 * (last.cpu_s - first.cpu_s) / lasted, 2) if lasted > 0 else 0.0,
    }
