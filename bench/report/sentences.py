"""What both reports say in words: whether parity holds, and what the labels that were sent are worth."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from bench.replay import table
from bench.replay.outcome import Entry
from bench.report.frames import JUDGED
from streamer.overlays import OPACITY, Scale

_CLOSE = 0.05
"""F1 within this of the best there could have been is close to it."""


def parity(document: Mapping[str, Any]) -> tuple[Literal["holds", "fails", "open"], str]:
    """Whether the stream ended in the batch result, and one sentence that says so, without a full stop."""
    found = document["categories"]
    failed = [str(entry["category"]) for entry in found if entry["parity"]["holds"] is False]
    asked = sum(entry["parity"]["holds"] is not None for entry in found)
    if failed:
        return "fails", f"Parity does not hold: {', '.join(failed)}"
    if asked == len(found):
        everywhere = "" if len(found) == 1 else ", in every category"
        return "holds", f"The stream ended in the batch result{everywhere}"
    if len(found) == 1:
        return "open", f"Parity was not asked for: {found[0]['parity']['reason']}"
    return "open", f"Parity was not asked for in {len(found) - asked} of {len(found)} categories"


def worth(entry: Entry) -> list[str]:
    """What the labels said last are worth, one sentence each; without true labels, what was said.

    Args:
        entry: of a category, with what `worth.counted` counted where a report was written.
    """
    counts = entry.get("files", {}).get("counts")
    if counts is None:
        return []
    final = entry["verdict"]["final"]
    return list(_unknown(counts["final"]) if final is None else _judged(entry, counts, final))


def _unknown(final: Mapping[str, int]) -> Iterator[str]:
    anomalous, normal = final.get("anomalous", 0), final.get("normal", 0)
    if anomalous or normal:
        yield (
            f"Nothing says which frames are defective: {anomalous} of {anomalous + normal} labelled frames "
            f"were called anomalous{_withheld(final)}."
        )
    else:
        yield "Nothing says which frames are defective, and no frame was given a label: the ranking counts."


def _judged(entry: Entry, counts: Mapping[str, Any], rates: Mapping[str, Any]) -> Iterator[str]:
    final = counts["final"]
    found, missed, alarms, passed = (final.get(kind, 0) for kind in JUDGED)
    if found + missed:
        yield (
            f"Of {counted(found + missed, 'defective frame')} {_were(found)} found and {missed} missed "
            f"(recall {percent(rates['recall'])} %)."
        )
    if alarms + passed:
        yield (
            f"Of {counted(alarms + passed, 'good frame')} {_were(alarms)} called anomalous "
            f"(false alarms {percent(rates['false_alarms'])} %)."
        )
    if found + alarms:
        yield (
            f"Of {counted(found + alarms, 'frame')} called anomalous {found} "
            f"{'is' if found == 1 else 'are'} defective (precision {percent(rates['precision'])} %)."
        )
    if final.get("withheld"):
        truth = counts["withheld"]
        yield (
            f"{counted(final['withheld'], 'frame')} had no label in the end ({truth['anomalous']} defective, "
            f"{truth['normal']} good) and {'is' if final['withheld'] == 1 else 'are'} in none of these rates."
        )
    if rates["f1"] is not None and rates["best_f1"] is not None:
        yield _beside_best(counts, rates["f1"], rates["best_f1"])


def _beside_best(counts: Mapping[str, Any], f1: float, best_f1: float) -> str:
    best, stated = counts["best_threshold"], counts["thresholds"]
    at = "" if best is None else f", {table.three(best)},"
    said = (
        f"F1 of these labels is {percent(f1)}; the best single threshold on the same scores{at} would have "
        f"reached {percent(best_f1)}"
    )
    if best is None or stated is None:
        return f"{said}."
    one = table.three(stated[0]) == table.three(stated[1])
    which = f"{'the threshold' if one else 'the thresholds of the frames'}, {_reach(stated)},"
    if f1 >= best_f1 - _CLOSE:
        return f"{said}: {which} {'is' if one else 'are'} close to the best there is."
    missed, alarms = (counts["final"].get(kind, 0) for kind in ("missed", "false_alarm"))
    # What went wrong says the side; but not against a best one that lies beyond all of them on the other.
    if missed > alarms and best < stated[1]:
        side = "high"
    elif alarms > missed and best > stated[0]:
        side = "low"
    else:
        return f"{said}; {which.rstrip(',')}."
    wrong = f"{missed} missed, {counted(alarms, 'false alarm')}"
    return f"{said}: {which} {'is' if one else 'are'} too {side} for this set ({wrong})."


def _reach(stated: Sequence[float]) -> str:
    """`0.154 to 0.503`, or the one number that both are."""
    low, high = map(table.three, stated)
    return low if low == high else f"{low} to {high}"


def flips(online: Mapping[str, Any]) -> str:
    """How many labels were changed after they had been said."""
    if not online["labels_compared"]:
        return "No frame was given a label on arrival."
    changed, compared = online["labels_flipped"], online["labels_compared"]
    said = f"{changed} of {compared} labels given on arrival were changed by the end."
    kept_out = online["n_kept_out"]
    return said + (f" {kept_out} frames were kept out of the ring (`ring.admit`)." if kept_out else "")


def rate(hit: int, of: int, withheld: int) -> tuple[str, str]:
    """`3 of 5`, or `-` where nobody was judged; and what to add about frames whose label was withheld."""
    return f"{hit} of {of}" if of else "-", f"{withheld} without a label" if withheld else ""


def defect_rows(entry: Entry) -> list[list[str]]:
    """Of each kind of defect: name, frames, found, missed, withheld, then image AUROC, pixel AUROC, PRO.

    The metrics, per cent, are of the last scores of one kind together with all normal images.
    """
    counts = entry.get("files", {}).get("counts") or {}
    measured = {row["defect"]: row["revised"] for row in entry["findings"].get("by_defect", [])}
    if not measured and entry["revised"]:  # of one kind alone the category's own figures are these
        image, raw, pixel = (entry["revised"][level] for level in ("image", "image_raw", "pixel"))
        alone = {"image_auroc": image["auroc"], "image_raw_auroc": raw["auroc"]}
        alone |= {"pixel_auroc": pixel["auroc"], "pro": pixel["pro"]}
        measured = {row["defect"]: alone for row in counts.get("defects", [])}
    rows = []
    for row in counts.get("defects", []):
        said = [row["defect"] or "unnamed", *(str(row[key]) for key in ("n", "found", "missed", "withheld"))]
        rows.append([*said, *(percent(value) for value in (measured.get(row["defect"]) or {}).values())])
    return rows


DEFECT_COLUMNS = (
    "defect", "frames", "found", "missed", "withheld", "image AUROC", "before RsCIN", "pixel AUROC", "PRO",
)  # fmt: skip


PANELS = (
    "Left the frame; in the middle its heat map over it; right the line around what reaches the threshold, "
    "of frames called anomalous, and the true mask in blue, where there is one. No frame is shown twice."
)
_FADED = (
    f"Over the grey frame the colours fade the lower they are, from {OPACITY:.0%} cover to none: they look "
    "paler there than on the scale, and say where it is hot, not a number."
)


def scale(said: Mapping[str, Any]) -> str:
    """What the colours of the pictures mean, and which thresholds the frames had."""
    if said["own"]:
        return f"Each picture has a colour scale of its own, which is said below it. {_FADED}"
    low, high = ends(said)
    return (
        f"One colour scale for all pictures: {low} and below is the first colour, {high} and above the last. "
        f"{_FADED}{_marked(said)}"
    )


def _marked(said: Mapping[str, Any]) -> str:
    stated = said.get("thresholds")
    if said["threshold"] is None or stated is None or _reach(stated) == table.three(said["threshold"]):
        return ""
    return (
        f" The mark is the threshold in the end, {table.three(said['threshold'])}; each frame was judged by "
        f"its own, {_reach(stated)}, which stands below its picture."
    )


def ends(said: Mapping[str, Any]) -> tuple[str, str]:
    """The ends of a scale, `low` and `high`, as its legend says them."""
    scale = Scale(said["low"], said["high"])
    return scale.said(scale.low), scale.said(scale.high)


def chosen(group: Mapping[str, Any]) -> str:
    """How many frames of a group are shown, and which."""
    return f"{len(group['pictures'])} of {group['total']} shown: {group['rule']}."


def frame_words(one: Mapping[str, Any]) -> str:
    """What is said below the picture of a frame: what it is, its scores, and how wrong its place is."""
    kind = {None: "", 0: "good, ", 1: f"{one['defect'] or 'defective'}, "}[one["label"]]
    against = "" if one["threshold"] is None else f", threshold {table.three(one['threshold'])}"
    wrong = f"; {_wrong(one)}" if one["error"] else ""
    scores = f"score {table.three(one['raw'])}{against}, re-scored {table.three(one['rescored'])}"
    colours = one.get("scale")
    own = "" if colours is None else "; colours from {} to {}".format(*ends(colours))
    return f"{kind}{_called(one)}, {scores}{wrong}{own}"


def _called(one: Mapping[str, Any]) -> str:
    words: dict[bool | None, str] = {None: "without a label", False: "normal", True: "anomalous"}
    first, last = one["said_first"], one["said"]
    if last is None:
        return words[None]
    changed = f" ({words[first]} on arrival)" if first is not None and first != last else ""
    return f"called {words[last]}{changed}"


def _wrong(one: Mapping[str, Any]) -> str:
    share = f"{100 * one['error']:.0f}%"
    if one["label"]:
        return f"{share} of the normal images score as high or higher"
    return f"{share} of the anomalous images score as low or lower"


def seconds(spent: Mapping[str, float]) -> str:
    """What the phases took."""
    told = [("backbone", "backbone"), ("batch", "batch"), ("independent", "second way"), ("online", "stream")]
    told.append(("metrics", "metrics"))
    return "Seconds: " + ", ".join(f"{word} {spent[key]:.1f}" for key, word in told if key in spent) + "."


def through(options: Mapping[str, Any]) -> str:
    """Where the frames were scored."""
    return "through a server process over ZeroMQ" if options["through"] == "zmq" else "in this process"


def inputs(config: Mapping[str, Any]) -> str:
    """What the backbone sees of a frame."""
    tiles, size = config["tiles"], f"{config['backbone']['image_size']} px"
    cut = "" if tiles["rows"] * tiles["cols"] == 1 else f"{tiles['rows']} x {tiles['cols']} tiles of "
    return cut + size + {"stretch": "", "pad": ", padded", "crop": ", cropped"}[tiles["fit"]]


def timeline(entry: Entry) -> str:
    """What stands beside the scores in order of arrival."""
    stated = table.threshold(entry)
    said = (
        f"The first {entry['online']['n_warmup']} frames are warm-up: scored, but without a label. "
        f"{flips(entry['online'])} {stated[0].upper()}{stated[1:]}."
    )
    if entry["n_anomalous"] is None:
        return said
    return f"{said} A cross is a wrong label: over a ring as said on arrival, over a dot as said last."


def saved(entry: Entry) -> str:
    """How many files `--save` left; empty where it was not asked for."""
    files = (entry.get("saved") or {}).get("n_files", {})
    if not files:
        return ""
    told = ", ".join(f"{count} {kind}" for kind, count in files.items())
    return f"Saved beside scores.csv, which names them: {told}."


def sweep(rows: Sequence[Mapping[str, Any]]) -> str:
    """What stands above the table of ring capacities."""
    seeds = len({row["seed"] for row in rows})
    spread = "" if seeds == 1 else f" Mean over {seeds} orders of arrival, lowest and highest in brackets."
    return f"Per cent.{spread}"


def repeated(found: Mapping[str, Any]) -> str:
    """What a repeated defect showed; its name goes before it."""
    caught = [str(row["copy"]) for row in found["copies"] if row["label"]]
    return (
        f"(batch score {found['batch_raw']:.3f}) came {len(found['copies'])} times in a row after "
        f"{found['arrivals_before']} other frames. Mutual scoring calls normal what has near twins; perfect "
        "copies are the worst case, and a known weakness of the method. Called anomalous on arrival: "
        f"{'copy ' + ', '.join(caught) if caught else 'none of them'}."
    )


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 frame`, `2 frames`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def percent(value: float | None) -> str:
    """A fraction in per cent, two decimals, or a dash."""
    return "-" if value is None else f"{100 * value:.2f}"


def _were(number: int) -> str:
    return f"{number} {'was' if number == 1 else 'were'}"


def _withheld(final: Mapping[str, int]) -> str:
    count = final.get("withheld", 0)
    return f"; {counted(count, 'frame')} had no label in the end" if count else ""
