"""The authors' figures, from `published.yaml`, and whether the batch gives them (`--expect published`)."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from bench.replay.settings import Options
from musc_online import backbones
from musc_online.config import Config, TilesConfig
from musc_online.errors import ConfigError

TOLERANCE = 0.003  # `--expect published`: 0.3 points

Figures = dict[str, dict[str, float]]
"""`{"image": {"auroc", "f1_max", "ap"}, "pixel": {"auroc", "f1_max", "ap", "pro"}}`, fractions in 0..1."""

_NEIGHBOUR_COUNTS = {"visa": (1, 8, 9)}


def expected(dataset: str, config: Config) -> dict[str, Figures]:
    """What the authors report for a dataset with this backbone at this size.

    Returns:
        Category name -> figures, and their mean under `mean`. Only ViT-L-14-336 at 518 was published by
        category; the other fifteen rows of each backbone table are a `mean` alone. Empty where nothing was
        published. Other settings are not looked at: see `departures`.
    """
    tables = _load()
    table = tables["datasets"].get(dataset)
    if table is None:
        return {}
    wanted = {"backbone": config.backbone.name, "image_size": config.backbone.image_size}
    if wanted == tables["categories_of"]:
        rows = {**table["categories"], "mean": table["mean"]}
        return {name: _figures(row) for name, row in rows.items()}
    found = [row["figures"] for row in table["backbones"] if wanted.items() <= row.items()]
    return {"mean": _figures(found[0])} if found else {}


def departures(dataset: str, config: Config, divide_num: int = 1) -> list[str]:
    """Which settings differ from those the published figures were made with, one short line each.

    A comparison is only one of like with like when this is empty.
    """
    counts = _NEIGHBOUR_COUNTS.get(dataset, (1, 2, 3))
    spec = backbones.spec(config.backbone.name)
    pairs: list[tuple[str, Any, Any]] = [
        ("backbone.stages", config.backbone.stages, spec.default_stages),
        ("method.degrees", config.method.degrees, (1, 3, 5)),
        ("method.interval", config.method.interval, (0.0, 0.3)),
        ("rscin.neighbour_counts", config.rscin.neighbour_counts, counts),
        ("divide_num", max(divide_num, 1), 1),
        ("method.position", config.method.position, None),
        ("method.image_score", config.method.image_score, "max"),
        ("tiles", config.tiles, TilesConfig()),
        ("ignore", config.ignore, None),
        ("ring.nearest", config.ring.nearest, None),
    ]
    if spec.family == "clip":
        pairs.append(("backbone.activation", _activation(config, spec), _authors_activation(config, spec)))
    else:  # CLIP's class tokens are unit vectors already
        pairs.append(("rscin.normalise", config.rscin.normalise, False))
    return [f"{key}: {_plain(got)}, published {_plain(want)}" for key, got, want in pairs if got != want]


def milliseconds(config: Config) -> float | None:
    """Milliseconds an image that the authors report for this backbone and size (RTX 3090, 200 images)."""
    wanted = {"backbone": config.backbone.name, "image_size": config.backbone.image_size}
    return next((float(row["ms"]) for row in _load()["ms"] if wanted.items() <= row.items()), None)


def source() -> str:
    """Where the figures come from."""
    return str(_load()["source"])


def doubts(dataset: str) -> dict[str, dict[str, str]]:
    """Printed cells that contradict the rest of the tables: category -> `pixel_auroc` etc. -> why."""
    found: dict[str, dict[str, str]] = _load()["doubts"].get(dataset, {})
    return found


def notes(dataset: str, config: Config) -> list[str]:
    """What a reader of the comparison should know of the published figures, one line each."""
    lines = []
    why = _load()["corrections"].get(dataset, {}).get("why")
    if why:
        lines.append(f"corrected here: {why.strip()}")
    for category, cells in doubts(dataset).items():
        lines += [f"in doubt: {category} {cell}: {text.strip()}" for cell, text in cells.items()]
    ms = milliseconds(config)
    if ms is not None:
        lines.append(f"theirs took {ms:g} ms an image on one RTX 3090, 200 images together")
    return lines


def missed(document: Mapping[str, Any], config: Config, options: Options) -> list[str]:
    """Compare the batch of each category, and their mean, with what is published.

    Returns:
        One line for each metric that is further off than `TOLERANCE`, or undefined; empty if all
        agree.

    Raises:
        ConfigError: nothing is published for what was replayed.
    """
    theirs = expected(options.dataset, config)
    ours = {entry["category"]: entry["batch"] for entry in document["categories"]}
    whole = set(theirs) - {"mean"} <= set(ours) and options.limit is None
    if whole and options.category == "all":
        ours["mean"] = document["mean"]["batch"]
    compared = sorted(set(theirs) & set(ours))
    if not compared:
        raise ConfigError(
            f"--expect published: nothing is published for {options.dataset} {', '.join(ours)} with "
            f"{config.backbone.name} at {config.backbone.image_size}"
        )
    return [line for name in compared for line in _differences(name, ours[name], theirs[name])]


def unlike(config: Config, options: Options) -> Sequence[str]:
    """Settings that differ from those the published figures were made with."""
    lines = departures(options.dataset, config, options.divide_num)
    return [*lines, f"limit: {options.limit}, published all images"] if options.limit else lines


def _differences(name: str, ours: Mapping[str, Any] | None, theirs: Figures) -> list[str]:
    lines = []
    for level, metrics in theirs.items():
        for metric, value in metrics.items():
            got = ((ours or {}).get(level) or {}).get(metric)
            # Rounded figures are compared: theirs have two decimals.
            if got is None or round(abs(got - value), 6) > TOLERANCE:
                shown = "undefined" if got is None else f"{100 * got:.2f}"
                lines.append(f"{name}: {level} {metric}: got {shown}, published {100 * value:.2f}")
    return lines


def _figures(row: list[float]) -> Figures:
    figures: Figures = {"image": {}, "pixel": {}}
    for metric, percent in zip(_load()["metrics"], row, strict=True):
        level, name = metric.split("_", 1)
        figures[level][name] = percent / 100
    return figures


@cache
def _load() -> dict[str, Any]:
    text = files("bench.replay").joinpath("published.yaml").read_text(encoding="utf-8")
    tables: dict[str, Any] = yaml.safe_load(text)
    return tables


def _plain(value: Any) -> str:
    return str(list(value) if isinstance(value, tuple) else value)


def _authors_activation(config: Config, spec: backbones.BackboneSpec) -> str:
    """Plain GELU, which their code builds, but for OpenAI's weights at their pretrained size."""
    pretrained = "openai" in spec.tags and config.backbone.image_size == spec.default_size
    return "quick_gelu" if pretrained else "gelu"


def _activation(config: Config, spec: backbones.BackboneSpec) -> str:
    """What `auto` becomes for a tag; of a path alone only the file tells."""
    wanted = config.backbone
    tag = spec.tags[0] if wanted.weights == "auto" else wanted.weights.partition(":")[0]
    if wanted.activation != "auto" or tag not in spec.tags:
        return wanted.activation
    return "quick_gelu" if tag == "openai" else "gelu"
