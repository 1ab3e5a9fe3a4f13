"""`--expect published`: whether the batch gives the authors' figures, to 0.3 points."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.replay import published
from bench.replay.settings import Options
from musc_online.config import Config
from musc_online.errors import ConfigError


def check(document: Mapping[str, Any], config: Config, options: Options) -> list[str]:
    """Compare the batch of each category, and their mean, with what is published.

    Returns:
        One line for each metric that is further off than `published.TOLERANCE`, or undefined; empty if all
        agree.

    Raises:
        ConfigError: nothing is published for what was replayed.
    """
    theirs = published.expected(options.dataset, config)
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
    lines = published.departures(options.dataset, config, options.divide_num)
    return [*lines, f"limit: {options.limit}, published all images"] if options.limit else lines


def _differences(name: str, ours: Mapping[str, Any] | None, theirs: published.Figures) -> list[str]:
    lines = []
    for level, metrics in theirs.items():
        for metric, value in metrics.items():
            got = ((ours or {}).get(level) or {}).get(metric)
            # Rounded figures are compared: theirs have two decimals.
            if got is None or round(abs(got - value), 6) > published.TOLERANCE:
                shown = "undefined" if got is None else f"{100 * got:.2f}"
                lines.append(f"{name}: {level} {metric}: got {shown}, published {100 * value:.2f}")
    return lines
