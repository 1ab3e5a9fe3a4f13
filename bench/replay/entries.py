"""Results as JSON: the whole replay, the mean over categories, and what a stopped replay left behind."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.datasets import Category
from bench.replay import published
from bench.replay.category_run import STAGES
from bench.replay.settings import Options
from musc_online.config import Config
from musc_online.errors import DataError

Entry = dict[str, Any]
LEVELS = {
    "image": ("auroc", "f1_max", "ap"),
    "image_raw": ("auroc", "f1_max", "ap"),
    "pixel": ("auroc", "f1_max", "ap", "pro", "pro_exact", "pro_05"),
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
    """Unweighted means over the categories where a metric is defined; null where it is nowhere."""
    return {
        stage: {
            level: {name: _mean([_value(entry, stage, level, name) for entry in entries]) for name in names}
            for level, names in LEVELS.items()
        }
        for stage in STAGES
    }


def _value(entry: Entry, stage: str, level: str, name: str) -> float | None:
    value: float | None = ((entry[stage] or {}).get(level) or {}).get(name)
    return value


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def fingerprint(category: Category, config: Config, options: Options, backbone_id: str) -> str:
    """Hex digest of all that the result of a category hangs on: configuration, options, weights, files."""
    said = options.as_json()
    for name in ("data", "category"):  # where the data lies and what else is replayed change nothing
        said.pop(name)
    files = [path for sample in category.samples for path in (sample.path, *sample.mask_paths)]
    seen = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    ids = [(sample.frame_id, sample.label) for sample in category.samples]
    parts = [category.name, config.model_dump(mode="json"), said, backbone_id, ids, seen]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


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


def finished(path: Path, wanted: str) -> Entry | None:
    """A category's entry kept by an earlier replay with the same fingerprint; None if there is none."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(kept, dict) or kept.get("fingerprint") != wanted:
        return None
    entry: Entry = kept["entry"]
    return entry
