"""What came of a replay: of each category, and of all of them as JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.datasets import Category
from bench.metrics.labels import RATES
from bench.replay import published, verdicts
from bench.replay.parity import Parity
from bench.replay.run import Recorder
from bench.replay.scored import Levels, Scored, Truth, as_json
from bench.replay.settings import Options, Saveable
from musc_online.config import Config
from musc_online.errors import DataError

STAGES = ("batch", "provisional", "revised")
Entry = dict[str, Any]
LEVELS = {
    "image": ("auroc", "f1_max", "ap"),
    "image_raw": ("auroc", "f1_max", "ap"),
    "pixel": ("auroc", "f1_max", "ap", "pro", "pro_exact", "pro_05"),
}


@dataclass(eq=False)
class Outcome:
    """All there is to say of one category; `truth` is None and `levels` empty where there are no labels."""

    category: Category
    truth: Truth | None
    batch: Scored
    recorder: Recorder
    config: Config
    parity: Parity
    levels: dict[str, Levels]
    seconds: dict[str, float]
    shapes: Sequence[tuple[int, int]]
    """Height and width of each image."""
    findings: dict[str, Any] = field(default_factory=dict)
    saved: dict[Saveable, list[str | None]] = field(default_factory=dict)
    """The files of `--save` of each sample, below the category's folder; None where there is none."""

    def entry(self) -> dict[str, Any]:
        """The category's part of the JSON (docs/operate.md#the-replays-json)."""
        flipped, labelled = self.recorder.n_flipped
        stages: dict[str, Any] = {name: as_json(levels) for name, levels in self.levels.items()}
        return {
            "category": self.category.name,
            "n_images": len(self.category.samples),
            "n_anomalous": self.category.n_anomalous if self.truth is not None else None,
            "left_out": list(self.category.left_out),
            "capacity": self.config.ring.capacity,
            **{name: stages.get(name) for name in STAGES},
            "parity": self.parity.as_json(),
            "online": {
                "n_provisional": int(self.recorder.provisional.known.sum()),
                "n_revised": int(self.recorder.revised.known.sum()),
                "n_warmup": self.recorder.n_warmup,
                "n_kept_out": self.recorder.n_kept_out,
                "labels_flipped": flipped,
                "labels_compared": labelled,
            },
            "verdict": verdicts.of_stream(self.recorder, None if self.truth is None else self.truth.labels),
            "findings": self.findings,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }


def document(entries: Sequence[Entry], config: Config, options: Options) -> dict[str, Any]:
    """The JSON of docs/operate.md#the-replays-json: what was asked for, found, and published."""
    return {
        "dataset": options.dataset,
        "config": config.model_dump(mode="json"),
        "options": options.as_json(),
        "categories": list(entries),
        "mean": mean(entries),
        "published": published.expected(options.dataset, config),
    }


def mean(entries: Sequence[Entry]) -> dict[str, Any]:
    """Unweighted means over the categories where a metric or rate is defined; null where it is nowhere."""
    parts: dict[str, dict[str, tuple[str, ...]]] = dict.fromkeys(STAGES, LEVELS)
    parts["verdict"] = dict.fromkeys(verdicts.SAID, RATES)
    return {
        part: {
            level: {name: _mean([_value(entry, part, level, name) for entry in entries]) for name in names}
            for level, names in levels.items()
        }
        for part, levels in parts.items()
    }


def _value(entry: Entry, part: str, level: str, name: str) -> float | None:
    value: float | None = ((entry[part] or {}).get(level) or {}).get(name)
    return value


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def save(path: Path, content: object) -> None:
    """Write JSON whole or not at all.

    Raises:
        DataError: the file cannot be written.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}); give another path") from None
