"""What going online costs: capacity, frames seen, seeds, and a defect that comes many times in a row."""

from typing import Any

import numpy as np

from bench.progress import Phases
from bench.replay import run
from bench.replay.features import Features
from bench.replay.order import Indices, arrivals
from bench.replay.outcome import Outcome
from bench.replay.scored import Levels, Scored, Truth, levels
from bench.replay.settings import Options
from musc_online.config import Config
from musc_online.detector import Detector

_CHECKPOINTS = 10


def gather(
    outcome: Outcome, features: Features, config: Config, options: Options, phases: Phases
) -> dict[str, Any]:
    """All findings that `options` ask for, and those that cost next to nothing.

    Returns:
        `seen`: AUROC and PRO of the first n frames; `sweep`: one row a capacity and seed; `repeat`: see
        `repeat_defect`. Empty without labels.
    """
    truth = outcome.truth
    if truth is None:
        return {}
    found: dict[str, Any] = {}
    with phases.phase("findings", shown="metrics against frames seen"):
        found["seen"] = against_seen(outcome.recorder, truth)
        found["by_defect"] = by_defect(outcome, truth)
    capacities = options.sizes(len(features))
    if len(capacities) > 1 or len(options.seeds) > 1:
        found["sweep"] = _sweep(outcome, features, config, options, phases)
    if options.repeat_defect:
        with phases.phase("repeat", shown=f"one defect {options.repeat_defect} times in a row"):
            order = arrivals(len(features), options.order, options.seeds[0])
            found["repeat"] = repeat_defect(outcome, features, order, options.repeat_defect)
    return found


def against_seen(recorder: run.Recorder, truth: Truth) -> list[dict[str, Any]]:
    """Metrics of the first n frames that arrived, for about ten n: as said on arrival, and as said last."""
    order = np.array([arrival.index for arrival in recorder.arrivals])
    rows = []
    for n_seen in np.unique(np.linspace(len(order) / _CHECKPOINTS, len(order), _CHECKPOINTS).astype(int)):
        first = np.sort(order[:n_seen])
        if len(first) < 2:
            continue
        part = Truth(truth.labels[first], None if truth.masks is None else truth.masks[first])
        rows.append(
            {
                "n_seen": int(n_seen),
                "provisional": _headline(levels(_chosen(recorder.provisional, first), part)),
                "revised": _headline(levels(_chosen(recorder.revised, first), part)),
            }
        )
    return rows


def by_defect(outcome: Outcome, truth: Truth) -> list[dict[str, Any]]:
    """Final metrics of each kind of defect with all normal images; empty with fewer than two kinds."""
    kinds = np.array([sample.defect for sample in outcome.category.samples])
    names = sorted(set(kinds[truth.labels == 1]))
    rows = []
    for name in names if len(names) > 1 else []:
        chosen = np.flatnonzero((truth.labels == 0) | (kinds == name))
        part = Truth(truth.labels[chosen], None if truth.masks is None else truth.masks[chosen])
        measured = levels(_chosen(outcome.recorder.revised, chosen), part)
        rows.append(
            {"defect": str(name), "n_images": int((kinds == name).sum()), "revised": _headline(measured)}
        )
    return rows


def _sweep(
    outcome: Outcome, features: Features, config: Config, options: Options, phases: Phases
) -> list[dict[str, Any]]:
    assert outcome.truth is not None  # noqa: S101  (gather returned without labels)
    main = (outcome.config.ring.capacity, options.seeds[0])
    rows = []
    for capacity in options.sizes(len(features)):
        for seed in options.seeds:
            if (capacity, seed) == main and options.through == "process":
                rows.append(_row(outcome.recorder, outcome.levels, capacity, seed))
                continue
            ring = run.without_regions(run.ring_config(config, capacity))
            order = arrivals(len(features), options.order, seed)
            with phases.phase("sweep", len(features), f"capacity {capacity}, seed {seed}") as done:
                recorder = run.stream(features, ring, order, done)
                measured = {
                    "provisional": levels(recorder.provisional, outcome.truth),
                    "revised": levels(recorder.revised, outcome.truth),
                }
            rows.append(_row(recorder, measured, capacity, seed))
    return rows


def _row(recorder: run.Recorder, measured: dict[str, Levels], capacity: int, seed: int) -> dict[str, Any]:
    flipped, labelled = recorder.n_flipped
    return {
        "capacity": capacity,
        "seed": seed,
        "provisional": _headline(measured["provisional"]),
        "revised": _headline(measured["revised"]),
        "labels_flipped": flipped,
        "labels_compared": labelled,
        "n_warmup": recorder.n_warmup,
    }


def repeat_defect(outcome: Outcome, features: Features, order: Indices, n_copies: int) -> dict[str, Any]:
    """Let one defect come `n_copies` times in a row in the middle of the stream and watch its score.

    The defect taken is the anomalous image with the highest batch score: the one least likely to be missed.
    Mutual scoring calls normal what has near twins, and copies are perfect twins: measured is how many it
    takes until the interval average holds nothing else.

    Args:
        outcome: with batch scores and labels.
        features: of the category.
        order: in which the other frames arrive.
        n_copies: how many times the defect comes.

    Returns:
        `frame_id`, `batch_raw`, and one row a copy: `raw`, `label`, `threshold` on arrival; `rank`, the
        fraction of all batch scores of normal images that lie below; `final_raw` at the end of the stream.
        None without an anomalous image.
    """
    truth = outcome.truth
    if truth is None or not truth.labels.any():
        return {}
    anomalous = np.flatnonzero(truth.labels)
    chosen = int(anomalous[np.argmax(outcome.batch.raw[anomalous])])
    others = order[order != chosen]
    middle = len(others) // 2
    sequence = [*others[:middle], *[chosen] * n_copies, *others[middle:]]
    copies = range(middle, middle + n_copies)
    # Capacity grows with the copies: what is measured is the copies' effect, not earlier eviction.
    detector = Detector(run.ring_config(outcome.config, outcome.config.ring.capacity + n_copies))
    rows: list[dict[str, Any]] = []
    final: dict[int, float | None] = {}
    normal = outcome.batch.raw[truth.labels == 0]
    for position, index in enumerate(sequence):
        tokens, class_token = features.tokens(index), features.class_tokens[index]
        score = detector.step_tokens(tokens, class_token, position, frame_shape=features.shapes[index])
        if position in copies:
            below = (
                None
                if score.raw_score is None or not len(normal)
                else float(np.mean(normal < score.raw_score))
            )
            rows.append(
                {"copy": position - middle + 1, "raw": score.raw_score, "rank": below}
                | {"label": score.pred_label, "threshold": score.threshold}
            )
        if score.is_final:  # kept out of the ring (`ring.admit`): nothing more is said of it
            final[position] = score.raw_score
        said = detector.revise() if detector.revise_due else []
        final |= {int(one.frame_id): one.raw_score for one in [*said, *detector.take_finals()]}
    final |= {int(one.frame_id): one.raw_score for one in detector.flush()}
    for row, position in zip(rows, copies, strict=True):
        row["final_raw"] = final.get(position)
    return {
        "frame_id": outcome.category.samples[chosen].frame_id,
        "batch_raw": float(outcome.batch.raw[chosen]),
        "normal_raw": [float(value) for value in np.quantile(normal, [0.5, 1.0])] if len(normal) else None,
        "arrivals_before": middle,
        "copies": rows,
    }


def _headline(measured: Levels) -> dict[str, float | None]:
    values = {
        "image_auroc": measured["image"]["auroc"],
        "image_raw_auroc": measured["image_raw"]["auroc"],
        "pixel_auroc": measured["pixel"]["auroc"],
        "pro": measured["pixel"]["pro"],
    }
    return {name: None if np.isnan(value) else float(value) for name, value in values.items()}


def _chosen(scores: Scored, indices: Indices) -> Scored:
    return Scored(scores.raw[indices], scores.rescored[indices], scores.maps[indices])
