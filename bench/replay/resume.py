"""What a stopped replay left behind in `--output`, and whether it may be taken for a result of this one."""

import csv
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import bench
import musc_online
import streamer
from bench.datasets import Category
from bench.replay.outcome import Entry, save
from bench.replay.saved import LEGEND
from bench.replay.settings import SAVEABLE, Options
from musc_online.config import Config

_COMPUTES = (
    "numpy", "torch", "numba", "llvmlite", "faiss-cpu", "faiss-gpu", "open_clip_torch", "timm", "openvino",
    "opencv-python-headless", "pillow", "scikit-learn", "matplotlib",
)  # fmt: skip
_SAVED = tuple(f"{kind}_file" for kind in SAVEABLE)


def fingerprint(category: Category, config: Config, options: Options, backbone_id: str) -> str:
    """Hex digest of all that the result of a category hangs on: configuration, options, weights, files."""
    said = options.as_json()
    for name in ("data", "category"):  # where the data lies and what else is replayed change nothing
        said.pop(name)
    files = [path for sample in category.samples for path in (sample.path, *sample.mask_paths)]
    seen = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    ids = [(sample.frame_id, sample.label) for sample in category.samples]
    parts = [category.name, config.model_dump(mode="json"), said, backbone_id, ids, seen, category.left_out]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@cache
def code() -> str:
    """Hex digest of what computes: our packages' sources, and the versions of the libraries below them."""
    digest = hashlib.sha256()
    for package in (musc_online, streamer, bench):
        root = Path(package.__path__[0])
        for path in sorted(root.rglob("*")):
            if path.suffix in (".py", ".yaml") and path.is_file():
                digest.update(f"{root.name}/{path.relative_to(root).as_posix()}\n".encode())
                digest.update(path.read_bytes())
    for name in _COMPUTES:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:  # one of two that share a module, or an optional one
            continue
        digest.update(f"{name}=={version}\n".encode())
    return digest.hexdigest()


def keep(path: Path, wanted: str, entry: Entry) -> None:
    """Keep a finished category's entry for a later replay, which asks `finished` for it.

    Raises:
        DataError: the file cannot be written.
    """
    save(path, {"fingerprint": wanted, "code": code(), "entry": entry})


def finished(path: Path, wanted: str) -> tuple[Entry | None, str]:
    """A category's entry kept by an earlier replay with the same fingerprint and the same code.

    What was kept counts only while every file that it names is there.

    Returns:
        The entry, or None and why what was kept is of no use: empty where nothing was kept for these options,
        images and weights.
    """
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None, ""
    if not isinstance(kept, dict) or kept.get("fingerprint") != wanted:
        return None, ""
    if kept.get("code") != code():
        return None, "finished before by other code or library versions"
    entry: Entry = kept["entry"]
    gone = next((name for name in _named(path.parent, entry) if not (path.parent / name).is_file()), None)
    if gone is not None:
        return None, f"finished before, but {gone} is not there any more"
    return entry, ""


def _named(folder: Path, entry: Entry) -> Iterator[str]:
    """Every file that the entry names, or `scores.csv` for it, below the category's folder."""
    files = entry["files"]
    yield from (files["scores"], files["frames"], *files["plots"].values())
    if legend := files.get("scale", {}).get("legend"):
        yield legend
    for group in files.get("shown", []):
        yield from (one["file"] for one in group["pictures"])
    if entry.get("saved"):
        yield from _saved(folder / files["scores"])
        if "overlays" in entry["saved"]["n_files"]:
            yield f"overlays/{LEGEND}.png"


def _saved(scores: Path) -> Iterator[str]:
    """What `--save` left, by the columns `maps_file`, `overlays_file` and `masks_file`."""
    with scores.open(newline="", encoding="utf-8", errors="replace") as file:
        for row in csv.DictReader(file):
            yield from (row[column] for column in _SAVED if row.get(column))
