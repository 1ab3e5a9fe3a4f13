"""What the tests of a replay's report share: an entry as it may be, and a stream made by hand."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from outcome_support import SHAPE, outcome_of

from bench.replay import scored
from bench.replay.outcome import STAGES
from bench.replay.settings import Options
from bench.report.made import Made
from musc_online import config

AT = datetime(2026, 11, 30, 6, 30, tzinfo=UTC)
MADE = Made(AT, "0.1.0", "a machine", "Python 3.11", "musc-online replay mvtec")
THRESHOLD = 0.5

LABELS_SAID = {
    "n_labelled": 3,
    "n_withheld": 2,
    "recall": 0.5,
    "precision": None,
    "false_alarms": 0.0,
    "f1": 0.4,
    "best_f1": 0.8,
    "f1_over_best": 0.5,
    "reasons": {"precision": "no frame was called anomalous"},
}


def entry(name="=part", **changes):
    metrics = {"auroc": 0.9, "f1_max": 0.8, "ap": 0.7}
    stage = {
        "image": metrics,
        "image_raw": metrics,
        "pixel": metrics | {"pro": 0.6, "pro_exact": 0.6, "pro_05": 0.2},
    }
    parity = {
        "max_abs_image_score": 1e-7,
        "max_abs_map": 1e-7,
        "max_abs_metric": 0.0,
        "holds": True,
        "reason": "",
        "independent": {"n_images": 8, "max_abs_patch_score": 2e-5, "max_abs_image_score": 1e-5},
    }
    return {
        "category": name,
        "n_images": 5,
        "n_anomalous": 2,
        "capacity": 5,
        "batch": stage,
        "provisional": stage,
        "revised": stage,
        "parity": parity,
        "online": {"n_provisional": 4, "n_warmup": 1, "labels_flipped": 0, "labels_compared": 3}
        | {"n_kept_out": 0},
        "verdict": {"provisional": LABELS_SAID, "final": LABELS_SAID, "labels_flipped": 0}
        | {"labels_compared": 3, "threshold": [], "stable_after": None},
        "findings": {},
        "seconds": {},
    } | changes


def document(*entries, **changes):
    options = Options("mvtec", "data").as_json()
    mean = entries[0]["batch"]
    return {
        "dataset": "mvtec",
        "config": config.load().model_dump(mode="json"),
        "options": options,
        "categories": list(entries),
        "mean": {"batch": mean, "provisional": mean, "revised": mean, "verdict": entries[0]["verdict"]},
        "published": {},
    } | changes


def stream(folder, frames):
    """The outcome of a stream whose frames are what is said, their files in `folder`.

    Args:
        folder: where the images are written.
        frames: (name, truth, raw score, label) each; truth and label may be None. The score is that of one
            corner of the map, where the defect is, and a quarter of it that of all else.
    """
    rows, masks = [], []
    for name, true, raw, said in frames:
        anomaly_map, mask = np.full(SHAPE, raw / 4, np.float32), np.zeros(SHAPE, np.uint8)
        anomaly_map[:2, :2] = raw
        mask[:2, :2] = bool(true)
        rows.append((name, anomaly_map, said, None if said is None else THRESHOLD))
        masks.append(mask)
    known = all(true is not None for _, true, _, _ in frames)
    made = outcome_of(folder, rows, masks if known else None)
    kinds = [{None: "", True: "scratch", False: "good"}[true] for _, true, _, _ in frames]
    samples = tuple(
        replace(sample, defect=kind, label=int(kind == "scratch") if kind else None)
        for sample, kind in zip(made.category.samples, kinds, strict=True)
    )
    found = made.recorder.revised
    levels = dict.fromkeys(STAGES, scored.levels(found, made.truth)) if known else {}
    category = replace(made.category, samples=samples)
    return replace(made, category=category, batch=found, levels=levels)
