"""The report's Markdown: verdict first, then the figures, then each category with its pictures."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import yaml

from bench.replay import table
from bench.replay.outcome import Entry
from bench.report import sentences
from streamer.printable import printable


def markdown(document: Mapping[str, Any]) -> str:
    """The whole report, from the JSON document; pictures are linked relative to it."""
    lines = [
        *_head(document),
        *_figures(document),
        *_labels(document),
        *(line for entry in document["categories"] for line in _category(entry)),
        *_settings(document),
    ]
    return "\n".join(lines) + "\n"


def _head(document: Mapping[str, Any]) -> Iterator[str]:
    config, options = document["config"], document["options"]
    backbone = config["backbone"]
    found = document["categories"]
    n_images = sum(entry["n_images"] for entry in found)
    yield f"# Replay of {document['dataset']}\n"
    holds, said = sentences.parity(document)
    yield f"**{escaped(said)}.**{' The distances below say where.' if holds == 'fails' else ''}\n"
    yield (
        f"{sentences.counted(len(found), 'category', 'categories')}, {n_images} images, backbone "
        f"{backbone['name']} at {sentences.inputs(config)}, blocks {backbone['stages']}. Frames arrived "
        f"{options['order']} (seed {options['seeds'][0]}), scored {sentences.through(options)}.\n"
    )
    yield from (f"- {escaped(table.verdict(entry))}" for entry in found)
    yield from (f"- {escaped(table.counted_by_name(entry))}" for entry in found)
    yield ""


def _figures(document: Mapping[str, Any]) -> Iterator[str]:
    yield "## Figures\n"
    yield (
        "Per cent. *batch*: every image against all others at once; *provisional*: each frame as it came in, "
        "against the frames before it; *revised*: the last word of the stream on each frame.\n"
    )
    headings = [heading.replace("\n", " ") for _, _, heading in table.COLUMNS]
    yield _row(["category", "scores", *headings])
    yield "|---|---|" + "---:|" * len(headings)
    for name, shown, entry in _blocks(document):
        for stage, cells in table.lines(entry, document["published"].get(name)):
            yield _row([shown, stage, *cells])
    yield ""
    for entry in document["categories"]:
        yield from (f"- {escaped(line)}" for line in table.undefined(entry))
    yield ""


def _labels(document: Mapping[str, Any]) -> Iterator[str]:
    rows = table.label_rows(document)
    if not rows:
        return
    yield "## Labels as they were sent\n"
    yield (
        "Per cent of the frames whose label was not withheld. *provisional*: the label said on arrival; "
        "*final*: the last one said. *false alarms*: of the normal frames, those called anomalous; *best "
        "F1*: what the best single threshold on the raw scores of the same frames would have reached.\n"
    )
    headings = [heading.replace("\n", " ") for _, heading in table.LABEL_COLUMNS]
    yield _row(["category", "said", *headings])
    yield "|---|---|" + "---:|" * len(headings)
    yield from (_row([escaped(name), *row]) for name, *row in rows)
    yield ""


def _category(entry: Entry) -> Iterator[str]:
    name, files = str(entry["category"]), entry.get("files", {})
    anomalous = "no labels" if entry["n_anomalous"] is None else f"{entry['n_anomalous']} anomalous"
    yield f"## {escaped(name)}\n"
    held = f"{entry['n_images']} images ({anomalous}), ring of {entry['capacity']}."
    yield f"{held} {sentences.seconds(entry['seconds'])}\n"
    worth = sentences.worth(entry)
    if worth:
        yield escaped(" ".join(worth)) + "\n"
    if sentences.saved(entry):
        yield sentences.saved(entry) + "\n"
    yield from _frames(name, files)
    plots = files.get("plots", {})
    if "timeline" in plots:
        yield "### Scores in order of arrival\n"
        scores = f"Scores of every image: [scores.csv]({_link(name, files['scores'])})."
        yield f"{sentences.timeline(entry)} {scores}\n"
        yield _picture("scores in order of arrival", name, plots["timeline"])
    if "histogram" in plots:
        yield "### Spread of the scores\n"
        yield _picture("how many images have which last raw score", name, plots["histogram"])
    if "curves" in plots:
        yield "### ROC and PRO\n"
        yield _picture("ROC of images and PRO of pixels", name, plots["curves"])
    yield from _by_defect(sentences.defect_rows(entry))
    yield from _findings(name, entry["findings"], plots)


def _by_defect(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if not rows:
        return
    yield "### By kind of defect\n"
    yield (
        "Found and missed by the label said last; metrics of the final scores of one kind of defect together "
        "with all normal images, per cent.\n"
    )
    yield from _table(sentences.DEFECT_COLUMNS, [[escaped(cell) for cell in row] for row in rows])


def _findings(name: str, found: Mapping[str, Any], plots: Mapping[str, str]) -> Iterator[str]:
    if "seen" in plots:
        yield "### Against frames seen\n"
        yield "Of the first n frames to arrive: as said on arrival, and as said in the end.\n"
        yield _picture("metrics against frames seen", name, plots["seen"])
    if found.get("sweep"):
        yield from _sweep(name, found["sweep"], plots)
    if found.get("repeat"):
        yield from _repeat(name, found["repeat"], plots)


def _sweep(name: str, rows: Sequence[Mapping[str, Any]], plots: Mapping[str, str]) -> Iterator[str]:
    yield "### Against ring capacity\n"
    yield f"{sentences.sweep(rows)}\n"
    yield from _table(*table.sweep_rows(rows))
    if "sweep" in plots:
        yield _picture("metrics against ring capacity", name, plots["sweep"])


def _repeat(name: str, found: Mapping[str, Any], plots: Mapping[str, str]) -> Iterator[str]:
    yield "### One defect many times in a row\n"
    yield f"{_code(found['frame_id'])} {sentences.repeated(found)}\n"
    yield from _table(*table.repeat_rows(found))
    yield _picture("score of a repeated defect", name, plots["repeat"])


def _frames(name: str, files: Mapping[str, Any]) -> Iterator[str]:
    """The frames shown, each group with its rule and count."""
    scale = files.get("scale")
    if scale is None:
        return
    yield "### Frames\n"
    yield f"{sentences.PANELS} {sentences.scale(scale)}\n"
    if "legend" in scale:
        yield _picture("colours of the scale, with its ends and the threshold", name, scale["legend"])
    for group in files["shown"]:
        yield f"#### {group['title']}\n"
        yield f"{sentences.chosen(group)}\n"
        for one in group["pictures"]:
            saved = f"; saved as {', '.join(map(_code, one['saved']))}" if one.get("saved") else ""
            yield f"{_code(one['frame_id'])}: {escaped(sentences.frame_words(one))}{saved}\n"
            yield _picture(str(one["frame_id"]), name, one["file"])


def _settings(document: Mapping[str, Any]) -> Iterator[str]:
    yield "## Settings\n"
    yield "```yaml"
    yield yaml.safe_dump(document["config"], sort_keys=False, default_flow_style=None).strip()
    yield "```"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield _row(headings)
    yield "|" + "---:|" * len(headings)
    yield from (_row(row) for row in rows)
    yield ""


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _picture(text: str, name: str, file: str) -> str:
    return f"![{escaped(text)}]({_link(name, file)})\n"


def _blocks(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Name, the name as Markdown, and entry of each category, and of their mean where there are several."""
    for entry in document["categories"]:
        yield entry["category"], escaped(entry["category"]), entry
    if len(document["categories"]) > 1:
        yield "mean", "**mean**", document["mean"]


_MEANT = re.compile(r"[\\`*_{}\[\]<>#|~&$!]")


def escaped(text: object) -> str:
    """Text as Markdown shows it: on one line, and none of it read as Markdown or HTML."""
    return _MEANT.sub(r"\\\g<0>", printable(text))


def _code(text: object) -> str:
    """Text as code, between more backticks than it holds itself."""
    shown = printable(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    space = " " if "`" in shown else ""
    return f"{fence}{space}{shown}{space}{fence}"


def _link(name: str, file: str) -> str:
    return quote(f"{name}/{file}")
