"""What the tests of a replay's report share: an entry as it may be, and a stream made by hand."""

from datetime import UTC, datetime

import cv2
import numpy as np

from bench.datasets import Category, Sample
from bench.replay import outcome as outcomes
from bench.replay import scored
from bench.replay.outcome import Outcome
from bench.replay.parity import judged
from bench.replay.run import Recorder
from bench.replay.scored import Truth
from bench.replay.settings import Options
from bench.report.made import Made
from musc_online import config
from musc_online.score import Score

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


def stream(folder, frames, maps=None):
    """The outcome of a stream whose frames are what is said, their files in `folder`.

    Args:
        folder: where the images are written.
        frames: (name, truth, raw score, label) each; truth and label may be None.
        maps: `[N, 8, 8]`, by default as high as the score in one corner.
    """
    samples, rng = [], np.random.default_rng(0)
    recorder = Recorder.of(len(frames), (8, 8))
    truth = None
    if all(one[1] is not None for one in frames):
        masks = np.zeros((len(frames), 8, 8), np.uint8)
        masks[[bool(one[1]) for one in frames], :2, :2] = 1
        truth = Truth(np.array([int(one[1]) for one in frames]), masks)
    for index, (name, true, raw, said) in enumerate(frames):
        path = folder / f"{index}.png"
        cv2.imwrite(str(path), rng.integers(0, 255, (24, 32, 3), np.uint8))
        kind = {None: "", True: "scratch", False: "good"}[true]
        label = None if true is None else int(true)
        samples.append(Sample(path, label, kind, (), name))
        anomaly_map = np.full((8, 8), raw / 4, np.float32)
        anomaly_map[:2, :2] = raw
        recorder.take(
            index,
            Score(
                str(index),
                raw,
                rscin_score=raw,
                pred_label=said,
                threshold=None if said is None else THRESHOLD,
                state="warmup" if said is None else "live",
                n_references=index,
                anomaly_map=anomaly_map if maps is None else maps[index],
            ),
        )
    found = recorder.revised
    levels = {}
    if truth is not None:
        levels = dict.fromkeys(outcomes.STAGES, scored.levels(found, truth))
    parity = judged(found, found, None)
    category = Category("part", tuple(samples))
    return Outcome(
        category, truth, found, recorder, config.load(), parity, levels, {}, [(24, 32)] * len(frames)
    )
