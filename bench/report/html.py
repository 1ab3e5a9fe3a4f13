"""The report as one HTML file: everything is in it, it needs no network and no script, and it prints.

A replay of several categories leaves a page for each, and one that leads to them.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench.replay import table
from bench.replay.outcome import Entry
from bench.report import frames as said
from bench.report import sentences, tables
from bench.report.embedded import Embedded
from bench.report.made import Made
from bench.report.tables import Table
from streamer.overlays import Scale, stops
from streamer.printable import printable

_PLOTS = {
    "timeline": (
        "Scores in order of arrival",
        "Raw score of every frame in order of arrival, on arrival and in the end, with the threshold",
    ),
    "histogram": ("Spread of the scores", "How many images have which last raw score, with the threshold"),
    "curves": ("ROC and PRO", "ROC of the images, PRO of the pixels: batch, provisional and revised"),
    "seen": ("Against frames seen", "Image AUROC and pixel PRO of the first n frames to arrive"),
    "sweep": ("Against ring capacity", "Image AUROC and pixel PRO against the capacity of the ring"),
    "repeat": ("One defect many times in a row", "Score of every copy of the repeated defect"),
}
"""Of each plot its title, and what it shows for who cannot see it."""


def one_category(document: Mapping[str, Any], entry: Entry, folder: Path, made: Made) -> str:
    """The page of one category, with its pictures inside.

    Args:
        document: of the replay; settings and published figures are used.
        entry: of the category.
        folder: where its files lie; what is not there is said to be missing.
        made: said at the end of the page.
    """
    document = {**document, "categories": [entry]}
    return _rendered(
        "category.html",
        document,
        made,
        title=f"{entry['category']} - replay of {document['dataset']}",
        category=_category(entry, folder),
        defects=tables.defects(entry),
        every=tables.every_frame(said.load(folder / "frames.json"), entry.get("ranking") or []),
    )


def index(document: Mapping[str, Any], made: Made) -> str:
    """The page that leads to those of the categories, each in a folder of its name."""
    links = [
        {"name": entry["category"], "href": quote(f"{entry['category']}/report.html")}
        for entry in document["categories"]
    ]
    return _rendered(
        "index.html",
        document,
        made,
        title=f"Replay of {document['dataset']}",
        overview=tables.overview(document),
        links=links,
    )


def _rendered(name: str, document: Mapping[str, Any], made: Made, **more: Any) -> str:
    config, options = document["config"], document["options"]
    found = document["categories"]
    state, sentence = sentences.parity(document)
    return _environment().get_template(name).render(
        dataset=document["dataset"],
        state=state,
        verdict=sentence,
        n_images=sum(entry["n_images"] for entry in found),
        entries=found,
        distances=[table.verdict(entry) for entry in found],
        figures=tables.figures(document),
        labels=tables.labels(document),
        undefined=[line for entry in found for line in table.undefined(entry)],
        settings=Markup("\n").join(map(printable, _yaml(config).splitlines())),
        about=list(_about(config, options, made)),
        made=made,
        **more,
    )  # fmt: skip


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("bench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Names come from outside: what moves text about is written out, wherever it stands.
        finalize=lambda value: value if isinstance(value, Markup) else printable(value),
    )
    environment.filters["words"] = sentences.frame_words
    environment.filters["chosen"] = sentences.chosen
    return environment


def _category(entry: Entry, folder: Path) -> dict[str, Any]:
    files = entry.get("files", {})
    pictures = Embedded(folder)
    plots = [
        {"key": key, "title": title, "alt": alt, "picture": pictures.taken(files["plots"][key])}
        for key, (title, alt) in _PLOTS.items()
        if key in files.get("plots", {})
    ]
    groups = [
        {**group, "pictures": [{**one, "picture": pictures.taken(one["file"])} for one in group["pictures"]]}
        for group in files.get("shown", [])
    ]
    return {
        "name": entry["category"],
        "n_images": entry["n_images"],
        "counted": table.counted(entry),
        "capacity": entry["capacity"],
        "worth": sentences.worth(entry),
        "saved": sentences.saved(entry),
        "tiles": list(_tiles(entry)),
        "panels": sentences.PANELS,
        "legend": _legend(files.get("scale")),
        "groups": groups,
        "plots": plots,
        "notes": dict(_notes(entry)),
        "seconds": sentences.seconds(entry["seconds"]),
    }


def _legend(said: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The colours as a gradient of CSS, its ends, and what the threshold is and where, in per cent of it."""
    if said is None:
        return None
    scale, threshold = Scale(said["low"], said["high"]), said["threshold"]
    low, high = sentences.ends(said)
    made = {"own": said["own"], "gradient": ", ".join(stops()), "words": sentences.scale(said)}
    made |= {"low": low, "high": high, "threshold": None, "at": None}
    if threshold is not None:
        share = float(scale.share(np.array(threshold, np.float64)))
        made |= {"threshold": scale.said(threshold), "at": f"{100 * share:.2f}"}
    return made


def _tiles(entry: Entry) -> Iterator[tuple[str, str]]:
    """The figures that a reader in a hurry takes away, each with what it is."""
    final = (entry.get("files", {}).get("counts") or {}).get("final", {})
    if entry["verdict"]["final"] is not None and final:
        for (shown, without), what in zip(
            tables.rates(entry), ("defective frames found", "good frames called anomalous"), strict=True
        ):
            yield shown, f"{what}; {without}" if without else what
    elif final:
        labelled, withheld = sum(final.values()) - final.get("withheld", 0), final.get("withheld", 0)
        shown, without = sentences.rate(final.get("anomalous", 0), labelled, withheld)
        yield shown, f"frames called anomalous; {without}" if without else "frames called anomalous"
    if entry["revised"]:
        yield sentences.percent(entry["revised"]["image"]["auroc"]), "image AUROC, per cent"
        yield sentences.percent(entry["revised"]["pixel"]["pro"]), "pixel PRO, per cent"


def _notes(entry: Entry) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is said beside a plot: words, and a table where there is one."""
    found = entry["findings"]
    yield "timeline", {"words": sentences.timeline(entry)}
    yield "histogram", {"words": "Normal and anomalous images one on the other, where it is known which."}
    yield "curves", {"words": "Thick and grey the batch, orange as said on arrival, blue as said last."}
    yield "seen", {"words": "Of the first n frames to arrive: as said on arrival, and as said in the end."}
    if found.get("sweep"):
        rows = Table("Metrics against ring capacity", *table.sweep_rows(found["sweep"]))
        yield "sweep", {"words": sentences.sweep(found["sweep"]), "table": rows}
    if found.get("repeat"):
        rows = Table("Each copy of the repeated defect", *table.repeat_rows(found["repeat"]))
        words = sentences.repeated(found["repeat"])
        yield "repeat", {"name": found["repeat"]["frame_id"], "words": words, "table": rows}


def _about(config: Mapping[str, Any], options: Mapping[str, Any], made: Made) -> Iterator[tuple[str, str]]:
    """How the report came to be, as terms and what they are."""
    backbone = config["backbone"]
    yield "made", made.at.strftime("%Y-%m-%d %H:%M %Z")
    yield "musc-online", made.version
    yield "command", made.command
    yield "machine", made.machine
    yield "libraries", made.libraries
    yield "data", options["data"]
    yield "backbone", f"{backbone['name']} at {sentences.inputs(config)}, blocks {backbone['stages']}"
    yield (
        "order of arrival",
        f"{options['order']}, {_seeds(options['seeds'])}, scored {sentences.through(options)}",
    )


def _seeds(seeds: Sequence[int]) -> str:
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"


def _yaml(config: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(dict(config), sort_keys=False, default_flow_style=None)).strip()
