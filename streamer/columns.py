"""Rows for a terminal: a table where it fits, else a list; a name may fold, a number never does."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streamer.printable import printable

LEAST = 8
"""Columns of a terminal that a name has at least."""
_GAP = 2


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        title: its head; of the first column of a list it is left out.
        kind: a `name` folds where there is no room for it; a `word` (a state, a time) and a `number` do not,
            and numbers stand on the right.
    """

    title: str
    kind: Literal["name", "word", "number"] = "number"


def laid_out(columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int) -> Table | Text:
    """Rows as a table of `width` columns, or, where that would cut a number, a line for each cell.

    Args:
        columns: at least one; the first is what a row is called.
        rows: a cell a column each; what came from outside is written out as `printable` does.
        width: of the terminal, in columns.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    needed = [_needed(column, [row[at] for row in cells]) for at, column in enumerate(columns)]
    if sum(needed) + _GAP * (len(columns) - 1) > width:
        return _list(columns, cells, width)
    return _table(columns, cells, needed)


def _needed(column: Column, cells: Sequence[str]) -> int:
    """Columns of the terminal that a column has at least."""
    widest = max(map(cell_len, (column.title, *cells)))
    return min(widest, LEAST) if column.kind == "name" else widest


def _table(columns: Sequence[Column], rows: Sequence[Sequence[str]], needed: Sequence[int]) -> Table:
    table = Table(box=box.HORIZONTALS, show_edge=False, pad_edge=False, collapse_padding=True)
    for column, least in zip(columns, needed, strict=True):
        folds = column.kind == "name"
        table.add_column(
            column.title,
            justify="right" if column.kind == "number" else "left",
            overflow="fold",
            no_wrap=not folds,
            min_width=least,
        )
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _list(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> Text:
    """Each row's name, and below it its cells by their titles; what is longer than a line folds."""
    titles = [column.title for column in columns[1:]]
    left = max(map(cell_len, titles), default=0) + 2 * _GAP
    lines = []
    for name, *cells in rows:
        lines += chop_cells(name, width)
        for title, cell in zip(titles, cells, strict=True):
            first, *more = chop_cells(cell, max(LEAST, width - left)) or [""]
            lines.append(f"{' ' * _GAP}{title.ljust(left - _GAP)}{first}")
            lines += [" " * left + part for part in more]
    return Text("\n".join(lines))


def wrapped(line: Text, width: int) -> Text:
    """A line that is longer than `width` in several, broken between words; all but the first are indented."""
    if line.cell_len <= width:
        return line
    parts = line.wrap(Console(width=width), max(LEAST, width - _GAP), overflow="fold")
    return Text("\n" + " " * _GAP).join(parts)
