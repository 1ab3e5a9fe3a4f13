"""The report's Markdown: verdict first, then the figures, then each category with its pictures."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import yaml

from bench.replay import table
from bench.replay.outcome import Entry
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
    failed = [entry["category"] for entry in found if entry["parity"]["holds"] is False]
    asked = [entry["category"] for entry in found if entry["parity"]["holds"] is not None]
    if failed:
        yield f"**Parity does not hold: {escaped(', '.join(failed))}.** The distances below say where.\n"
    elif len(asked) == len(found):
        yield "**The stream ended in the batch result, in every category.**\n"
    else:
        yield "**Parity was not asked for everywhere** (see each category for why).\n"
    yield (
        f"{_count(len(found), 'category', 'categories')}, {n_images} images, backbone {backbone['name']} at "
        f"{_inputs(config)}, blocks {backbone['stages']}. Frames arrived {options['order']} "
        f"(seed {options['seeds'][0]}), scored {_through(options)}.\n"
    )
    yield from (f"- {escaped(table.verdict(entry))}" for entry in found)
    yield from (f"- {escaped(table.counted_by_name(entry))}" for entry in found)
    yield ""


def _inputs(config: Mapping[str, Any]) -> str:
    """What the backbone sees of a frame."""
    tiles, size = config["tiles"], f"{config['backbone']['image_size']} px"
    cut = "" if tiles["rows"] * tiles["cols"] == 1 else f"{tiles['rows']} x {tiles['cols']} tiles of "
    return cut + size + {"stretch": "", "pad": ", padded", "crop": ", cropped"}[tiles["fit"]]


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
    name, online, files = str(entry["category"]), entry["online"], entry.get("files", {})
    anomalous = "no labels" if entry["n_anomalous"] is None else f"{entry['n_anomalous']} anomalous"
    yield f"## {escaped(name)}\n"
    held = f"{entry['n_images']} images ({anomalous}), ring of {entry['capacity']}."
    yield f"{held} {_seconds(entry['seconds'])}\n"
    plots = files.get("plots", {})
    if "timeline" in plots:
        yield "### Scores in order of arrival\n"
        yield (
            f"The first {online['n_warmup']} frames are warm-up: scored, but without a label. "
            f"{_flips(online)} {_sentence(table.threshold(entry))} "
            f"Scores of every image: [scores.csv]({_link(name, files['scores'])}).\n"
        )
        if entry["n_anomalous"] is not None:
            yield "A cross is a wrong label: over a ring as said on arrival, over a dot as said last.\n"
        yield _picture("scores in order of arrival", name, plots["timeline"])
    if "curves" in plots:
        yield "### ROC and PRO\n"
        yield _picture("ROC of images and PRO of pixels", name, plots["curves"])
    yield from _by_defect(entry["findings"].get("by_defect", []))
    yield from _findings(name, entry["findings"], plots)
    for kind, title in (("worst", "Worst images"), ("best", "Best images")):
        yield from _overlays(name, title, files.get(kind, []))


def _by_defect(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    yield "### By kind of defect\n"
    yield "The final scores of one kind of defect together with all normal images, per cent.\n"
    yield _row(["defect", "images", "image AUROC", "before RsCIN", "pixel AUROC", "PRO"])
    yield "|---|---:|---:|---:|---:|---:|"
    for row in rows:
        yield _row(
            [escaped(row["defect"]), row["n_images"], *(_percent(value) for value in row["revised"].values())]
        )
    yield ""


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
    seeds = len({row["seed"] for row in rows})
    spread = "" if seeds == 1 else f" Mean over {seeds} orders of arrival, lowest and highest in brackets."
    yield f"Per cent.{spread}\n"
    yield from _table(*table.sweep_rows(rows))
    if "sweep" in plots:
        yield _picture("metrics against ring capacity", name, plots["sweep"])


def _repeat(name: str, found: Mapping[str, Any], plots: Mapping[str, str]) -> Iterator[str]:
    rows = found["copies"]
    caught = [row["copy"] for row in rows if row["label"]]
    yield "### One defect many times in a row\n"
    yield (
        f"{_code(found['frame_id'])} (batch score {found['batch_raw']:.3f}) came {len(rows)} times in a row "
        f"after {found['arrivals_before']} other frames. Mutual scoring calls normal what has near twins; "
        "perfect copies are the worst case, and a known weakness of the method. Called anomalous on arrival: "
        f"{'copy ' + ', '.join(map(str, caught)) if caught else 'none of them'}.\n"
    )
    yield from _table(*table.repeat_rows(found))
    yield _picture("score of a repeated defect", name, plots["repeat"])


def _overlays(name: str, title: str, shown: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not shown:
        return
    yield f"### {title}\n"
    yield "Left the frame, then the heat map, then the mask (green) and what is above the threshold (red).\n"
    for one in shown:
        kind = {None: "", 0: "normal, ", 1: f"{escaped(one['defect'] or 'anomalous')}, "}[one["label"]]
        wrong = "" if one["error"] is None else f", {_wrong(one)}"
        scores = f"score {table.three(one['raw'])}, re-scored {table.three(one['rescored'])}"
        yield f"{_code(one['frame_id'])}: {kind}{scores}{wrong}\n"
        yield _picture(str(one["frame_id"]), name, one["file"])


def _wrong(one: Mapping[str, Any]) -> str:
    share = f"{100 * one['error']:.0f}%"
    if one["label"]:
        return f"{share} of the normal images score as high or higher"
    return f"{share} of the anomalous images score as low or lower"


def _settings(document: Mapping[str, Any]) -> Iterator[str]:
    yield "## Settings\n"
    yield "```yaml"
    yield yaml.safe_dump(document["config"], sort_keys=False, default_flow_style=None).strip()
    yield "```"


def _through(options: Mapping[str, Any]) -> str:
    return "through a server process over ZeroMQ" if options["through"] == "zmq" else "in this process"


def _flips(online: Mapping[str, Any]) -> str:
    if not online["labels_compared"]:
        return "No frame was given a label on arrival."
    changed, compared = online["labels_flipped"], online["labels_compared"]
    said = f"{changed} of {compared} labels given on arrival were changed by the end."
    kept_out = online["n_kept_out"]
    return said + (f" {kept_out} frames were kept out of the ring (`ring.admit`)." if kept_out else "")


def _seconds(seconds: Mapping[str, float]) -> str:
    told = [("backbone", "backbone"), ("batch", "batch"), ("independent", "second way"), ("online", "stream")]
    told.append(("metrics", "metrics"))
    return "Seconds: " + ", ".join(f"{word} {seconds[key]:.1f}" for key, word in told if key in seconds) + "."


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


def _sentence(line: str) -> str:
    return f"{line[0].upper()}{line[1:]}."


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
