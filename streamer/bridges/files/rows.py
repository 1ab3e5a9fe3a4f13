"""An item as one line: of a table whose columns stay what they are, and of JSON lines."""

import csv
import io
import json
from datetime import datetime
from typing import Any

from streamer.bridges import plain
from streamer.bridges.sink import Item
from streamer.printable import printable
from streamer.tables import cell, time_text

COLUMNS = (
    "number", "bridge", "kind", "what", "at", "stream", "frame_id", "part_id", "product_id", "seq",
    "captured", "verdict", "before", "raw", "rscin", "pred", "threshold", "state", "revision", "final",
    "references", "known_defect", "regions", "late", "overlay", "who", "group", "name", "lost", "text",
)  # fmt: skip
HEAD = (",".join(COLUMNS) + "\r\n").encode("ascii")
_LONGEST = 1000
# Characters of a cell: some programs read no more of one than 32,767, and the JSON lines have all of them.
OBJECT = b'{"bridge": "'
"""Every JSON line begins so."""


def csv_line(item: Item, bridge: str, overlay: str | None, local: bool) -> bytes:
    """A row by RFC 4180, in UTF-8, on one line whatever it holds; no spreadsheet finds a formula in it.

    Args:
        overlay: of the picture that was made of it, relative to the folder.
        local: whether times are those of this machine's zone; else they are UTC.
    """
    buffer = io.StringIO()
    values = _values(item, bridge, overlay, local)
    csv.writer(buffer).writerow([_cell(values.get(column)) for column in COLUMNS])
    return buffer.getvalue().encode()


def json_line(item: Item, bridge: str, overlay: str | None) -> bytes:
    """An object on one line, in ASCII: `plain.fields` with the bridge, and the picture's file."""
    told = {"bridge": bridge, **plain.fields(item)}
    if overlay is not None:
        told["overlay"] = overlay
    return json.dumps(told, allow_nan=False).encode("ascii") + b"\n"


def csv_number(line: str) -> tuple[str, int] | None:
    """Bridge and number of a row, or None where it is none of ours."""
    try:
        row = next(csv.reader([line], strict=True))
        return (row[1], int(row[0])) if len(row) == len(COLUMNS) else None
    except (csv.Error, StopIteration, ValueError):
        return None


def json_number(line: str) -> tuple[str, int] | None:
    """Bridge and number of a JSON line, or None where it is none of ours."""
    try:
        told = json.loads(line)
        bridge, number = told["bridge"], told["number"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return (bridge, number) if isinstance(bridge, str) and isinstance(number, int) else None


def _values(item: Item, bridge: str, overlay: str | None, local: bool) -> dict[str, Any]:
    header = item.header
    values: dict[str, Any] = {
        "number": item.number,
        "bridge": bridge,
        "kind": item.kind,
        "what": plain.what(item),
        "at": _time(plain.at_ns(item), local),
        "stream": item.stream,
        "overlay": overlay,
    }
    values |= {
        key: header.get(key)
        for key in ("frame_id", "seq", "who", "group", "lost", "text", "known_defect", "late")
    }
    values["captured"] = _time(plain.nanoseconds(header.get("capture_ns")), local)
    meta = header.get("meta")
    if isinstance(meta, dict):
        values |= {key: meta.get(key) for key in ("part_id", "product_id")}
    if item.kind == "verdict":
        values |= _verdict(item)
    else:
        after = header.get("after")
        values["name"] = header.get("name", after.get("name") if isinstance(after, dict) else None)
    return values


def _verdict(item: Item) -> dict[str, Any]:
    header = item.header
    keys = {"raw": "raw_score", "rscin": "rscin_score", "pred": "pred_score", "references": "n_references"}
    values = {column: header.get(key) for column, key in keys.items()}
    regions = header.get("regions")
    return values | {
        "verdict": _word(plain.label(header.get("pred_label"))),
        "before": _word(item.before),
        **{key: header.get(key) for key in ("threshold", "state", "revision")},
        "final": header.get("is_final"),
        "regions": len(regions) if isinstance(regions, list | tuple) else None,
    }


def _word(label: bool | None) -> str:
    return {None: "", True: "anomalous", False: "normal"}[label]


def _time(ns: int | None, local: bool) -> str:
    if ns is None or not local:
        return time_text(None if ns is None else ns // 10**6)
    return datetime.fromtimestamp(ns // 10**6 / 1000).astimezone().isoformat(timespec="milliseconds")


def _cell(value: Any) -> Any:
    """A value of one cell: what is no number and no text has no place in a table."""
    value = plain.plain(value)
    if isinstance(value, dict | list):
        return ""
    if isinstance(value, str):
        value = printable(value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…")
    return cell(value)
