"""`--output DIR`: what a replay leaves for people: report.html and .md, report.json, results.xlsx."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.replay import outcome
from bench.replay.settings import Options
from bench.report import excel, html, text
from bench.report.category import write as write_category
from bench.report.made import Made
from musc_online.errors import DataError

__all__ = ["FILES", "write", "write_category"]

FILES = frozenset({"report.json", "report.html", "report.md", "results.xlsx"})
"""What `write` puts beside the categories' folders."""


def write(folder: Path, document: Mapping[str, Any], options: Options, at: datetime) -> Path:
    """Write the report of a whole replay beside what its categories left there.

    Args:
        folder: of the report.
        document: of the replay.
        options: of the same.
        at: when it was made, with its zone.

    Returns:
        The path of the HTML: of one category all there is to see, of several the page that leads to theirs.

    Raises:
        DataError: the folder cannot be written to.
    """
    outcome.save(folder / "report.json", document)
    path, made = folder / "report.html", Made.here(at)
    found = document["categories"]
    try:
        if options.excel:
            excel.write(folder / "results.xlsx", document)
        (folder / "report.md").write_text(text.markdown(document), encoding="utf-8")
        for entry in found:
            below = folder / entry["category"]
            page = path if len(found) == 1 else below / "report.html"
            page.write_text(html.one_category(document, entry, below, made), encoding="utf-8")
        if len(found) != 1:
            path.write_text(html.index(document, made), encoding="utf-8")
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror}); give another --output") from None
    return path
