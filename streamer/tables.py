"""CSV for spreadsheets: a block at a time, and nothing in it that they would take for a formula."""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

_ROWS = 500
_FORMULA = re.compile(r"""[\t\r\n]|[\s"]*[=+@-]""")
_INNER = re.compile(r"""[;\t\r\n][\s"]*(?=[=+@-])""")
# A spreadsheet that separates by semicolons begins a cell behind each one, whatever quotes stand around it.


def csv_text(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    """CSV a block of rows at a time; spreadsheets get a `'` before what would be a formula."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(columns)
    for count, row in enumerate(rows, 1):
        writer.writerow([cell(value) for value in row])
        if count % _ROWS == 0:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def cell(value: Any) -> Any:
    """A value as a spreadsheet may read it: numbers as they are, text never as a formula."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, str):
        return value
    text = _INNER.sub(r"\g<0>'", value)
    return f"'{text}" if _FORMULA.match(text) else text


def time_text(ms: float | None) -> str:
    """Milliseconds since 1970 as `2026-11-29T14:02:03.250Z`."""
    if ms is None:
        return ""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
