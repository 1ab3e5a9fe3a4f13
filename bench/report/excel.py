"""`results.xlsx`: the metrics of every category in per cent, and the settings they were made with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openpyxl import Workbook
from openpyxl.styles import Font
from openpyxl.worksheet.worksheet import Worksheet

from bench.replay.outcome import LEVELS, STAGES
from streamer.printable import printable

_BOLD = Font(bold=True)


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Write the workbook: sheets `results` and `settings`."""
    book = Workbook()
    _results(book.active, document)
    _settings(book.create_sheet("settings"), document)
    book.save(path)


def _results(sheet: Worksheet, document: Mapping[str, Any]) -> None:
    sheet.title = "results"
    metrics = [(level, name) for level, names in LEVELS.items() for name in names]
    _row(
        sheet, ["category", "scores", "images", "anomalous", *(f"{level} {name}" for level, name in metrics)]
    )
    for cell in sheet[1]:
        cell.font = _BOLD
    for name, entry in [
        *((one["category"], one) for one in document["categories"]),
        ("mean", document["mean"]),
    ]:
        rows = {stage: entry.get(stage) for stage in STAGES} | {"published": document["published"].get(name)}
        for stage, values in rows.items():
            if values:
                cells = [_percent((values.get(level) or {}).get(metric)) for level, metric in metrics]
                _row(sheet, [name, stage, entry.get("n_images"), entry.get("n_anomalous"), *cells])
    for row in sheet.iter_rows(min_row=2, min_col=5):
        for cell in row:
            cell.number_format = "0.00"
    sheet.freeze_panes = "C2"
    for column, width in (("A", 16), ("B", 12)):
        sheet.column_dimensions[column].width = width
    for cell in sheet[1][4:]:
        sheet.column_dimensions[cell.column_letter].width = 16


def _settings(sheet: Worksheet, document: Mapping[str, Any]) -> None:
    for key, value in [
        ("dataset", document["dataset"]),
        *_flat(document["options"]),
        *_flat(document["config"]),
    ]:
        _row(sheet, [key, value])
    sheet.column_dimensions["A"].width = 28
    sheet.column_dimensions["B"].width = 40


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", value if isinstance(value, int | float) else str(value)))
    return rows


def _row(sheet: Worksheet, cells: list[Any]) -> None:
    sheet.append([spreadsheet(cell) for cell in cells])


def spreadsheet(cell: Any) -> Any:
    """A cell for a workbook or a CSV: a text that a spreadsheet would run as a formula begins with a quote.

    A folder or file may be named so; and what no workbook can hold, such as a control character, is written
    out.
    """
    if not isinstance(cell, str):
        return cell
    return f"'{printable(cell)}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else printable(cell)


def _percent(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 4)
