"""`--output DIR`: what a replay leaves for people: report.md with its pictures, report.json, results.xlsx."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.replay import outcome
from bench.replay.settings import Options
from bench.report import excel, text
from bench.report.category import write as write_category
from musc_online.errors import DataError

__all__ = ["write", "write_category"]


def write(folder: Path, document: Mapping[str, Any], options: Options) -> Path:
    """Write the report of a whole replay beside what its categories left there; returns the Markdown's path.

    Raises:
        DataError: the folder cannot be written to.
    """
    outcome.save(folder / "report.json", document)
    path = folder / "report.md"
    try:
        if options.excel:
            excel.write(folder / "results.xlsx", document)
        path.write_text(text.markdown(document), encoding="utf-8")
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror}); give another --output") from None
    return path
