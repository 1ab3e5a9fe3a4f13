"""The tables of the HTML report: captions, headings and rows, all text."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bench.replay import table
from bench.replay.outcome import Entry
from bench.report import sentences
from bench.report.frames import JUDGED, Frame

MOST_FRAMES = 5000
_MOST_CHARACTERS = 1_000_000
_KINDS = {
    "found": "found",
    "missed": "missed",
    "false_alarm": "false alarm",
    "passed": "passed",
    "anomalous": "anomalous",
    "normal": "normal",
    "withheld": "no label",
}
_SAID = {None: "no label", True: "anomalous", False: "normal"}


class Table(NamedTuple):
    """A table with a heading a column; the first cell of a row is the row's heading.

    From column `numbers` on, the cells are numbers.
    """

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: int = 1


class FrameTable(NamedTuple):
    """Every frame, and how many were left out of the table."""

    table: Table
    kinds: Sequence[str]
    """Of each row what became of the frame, one of `Kind`."""
    left_out: int


def figures(document: Mapping[str, Any]) -> Table | None:
    """The published metrics of each category and of their mean, per cent; None without any true labels."""
    if not any(entry["revised"] for entry in document["categories"]):
        return None
    blocks = [(str(entry["category"]), entry) for entry in document["categories"]]
    if len(blocks) > 1:
        blocks.append(("mean", document["mean"]))
    rows = [
        [name, stage, *cells]
        for name, entry in blocks
        for stage, cells in table.lines(entry, document["published"].get(name))
    ]
    headings = ["category", "scores", *(heading.replace("\n", " ") for _, _, heading in table.COLUMNS)]
    return Table("Metrics, per cent", headings, rows, 2)


def labels(document: Mapping[str, Any]) -> Table | None:
    """What the labels that were sent are worth, per cent; None where there are no true labels."""
    rows = table.label_rows(document)
    if not rows:
        return None
    headings = ["category", "said", *(heading.replace("\n", " ") for _, heading in table.LABEL_COLUMNS)]
    return Table("Labels as they were sent, per cent of the frames that had one", headings, rows, 2)


def overview(document: Mapping[str, Any]) -> Table:
    """One row a category: whether parity holds, what was found, and the main metrics of the last scores."""
    headings = ["category", "images", "parity", "found", "false alarms", "image AUROC", "pixel PRO"]
    return Table("Categories", headings, [_summary(entry) for entry in document["categories"]], 1)


def _summary(entry: Entry) -> list[str]:
    parity = {True: "holds", False: "does not hold", None: "not asked for"}[entry["parity"]["holds"]]
    known = entry["verdict"]["final"] is not None
    revised = entry["revised"] or {"image": {"auroc": None}, "pixel": {"pro": None}}
    return [
        str(entry["category"]),
        str(entry["n_images"]),
        parity,
        *([", ".join(filter(None, one)) for one in rates(entry)] if known else ["-", "-"]),
        sentences.percent(revised["image"]["auroc"]),
        sentences.percent(revised["pixel"]["pro"]),
    ]


def rates(entry: Entry) -> tuple[tuple[str, str], tuple[str, str]]:
    """Of the defective frames those found, of the good ones the false alarms: each as `sentences.rate`."""
    counts = entry.get("files", {}).get("counts") or {}
    final, withheld = counts.get("final", {}), counts.get("withheld", {"anomalous": 0, "normal": 0})
    found, missed, alarms, passed = (final.get(kind, 0) for kind in JUDGED)
    return (
        sentences.rate(found, found + missed, withheld["anomalous"]),
        sentences.rate(alarms, alarms + passed, withheld["normal"]),
    )


def defects(entry: Entry) -> Table | None:
    """What was found of each kind of defect; None without a defect."""
    rows = sentences.defect_rows(entry)
    return Table("By kind of defect", sentences.DEFECT_COLUMNS, rows) if rows else None


def every_frame(
    frames: Sequence[Frame] | None, ranking: Sequence[Mapping[str, Any]] = ()
) -> FrameTable | None:
    """All frames, the highest last score first; at most 5000, and a million characters of names.

    Args:
        frames: of a category; None where they are not known.
        ranking: of a category without true labels: says where in each frame the score comes from.
    """
    if frames is None:
        return None
    ranked = sorted(frames, key=lambda frame: float("inf") if frame.raw is None else -frame.raw)
    known = any(frame.truth is not None for frame in frames)
    where = {row["frame_id"]: _where(row) for row in ranking}
    names = [*(["defect", "outcome"] if known else []), "last label", "first label"]
    names += ["where (x, y, width, height)"] if where else []
    headings = ["frame", *names, "score", "threshold", "first score", "re-scored", "arrival"]
    rows, spent = [], 0
    for frame in ranked[:MOST_FRAMES]:
        spent += len(frame.frame_id) + len(frame.defect)
        if spent > _MOST_CHARACTERS:
            break
        place = [where.get(frame.frame_id, "-")] if where else []
        rows.append(_frame_row(frame, place, known=known))
    shown = Table("Every frame, the highest score first", headings, rows, len(names) + 1)
    return FrameTable(shown, [frame.kind for frame in ranked[: len(rows)]], len(frames) - len(rows))


def _where(row: Mapping[str, Any]) -> str:
    """The highest region that reaches the threshold, or the place of the highest value."""
    return ", ".join(map(str, row["box"] or row["peak"]))


def _frame_row(frame: Frame, place: Sequence[str], *, known: bool) -> list[str]:
    about = []
    if known:
        about = [(frame.defect or "unnamed") if frame.truth else "good", _KINDS[frame.kind]]
    scores = (frame.raw, frame.threshold, frame.first, frame.rescored)
    said = [_SAID[frame.said], _SAID[frame.said_first]]
    return [frame.frame_id, *about, *said, *place, *map(table.three, scores), str(frame.arrival)]
