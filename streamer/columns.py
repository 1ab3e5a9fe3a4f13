"""Rows for a terminal: a table where it fits, else a list; a text may fold, an id or a number never does."""

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
"""Columns of a terminal that a text has at least."""
_GAP = 2


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        title: its head; of the first column of a list it is left out.
        kind: a `text` folds where there is no room for it; an `id`, which people copy, a `word` (a state, a
            time) and a `number` do not, and numbers stand on the right.
    """

    title: str
    kind: Literal["id", "text", "word", "number"] = "number"


def laid_out(columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int) -> Table | Text:
    """Rows as a table of `width` columns, or, where that would cut an id or a number, a line for each cell.

    Args:
        columns: at least one; the first is what a row is called.
        rows: a cell a column each; what came from outside is written out as `printable` does.
        width: of the terminal, in columns. In the list only an id that is longer by itself is wider: whoever
            prints it leaves its line whole (`soft_wrap`), and the terminal breaks it without a line end.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    needed = [_needed(column, [row[at] for row in cells]) for at, column in enumerate(columns)]
    if sum(needed) + _GAP * (len(columns) - 1) > width:
        return _list(columns, cells, width)
    return _table(columns, cells, needed)


def _needed(column: Column, cells: Sequence[str]) -> int:
    """Columns of the terminal that a column has at least."""
    widest = max(map(cell_len, (column.title, *cells)))
    return min(widest, LEAST) if column.kind == "text" else widest


def _table(columns: Sequence[Column], rows: Sequence[Sequence[str]], needed: Sequence[int]) -> Table:
    table = Table(box=box.HORIZONTALS, show_edge=False, pad_edge=False, collapse_padding=True)
    for column, least in zip(columns, needed, strict=True):
        folds = column.kind == "text"
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
    """Each row's name, and below it its cells by their titles; a text that is longer than a line folds."""
    first, *others = columns
    left = max((cell_len(column.title) for column in others), default=0) + 2 * _GAP
    room = max(LEAST, width - left)
    lines = []
    for name, *cells in rows:
        lines += _folded(first, name, width)
        for column, cell in zip(others, cells, strict=True):
            head, (begun, *more) = " " * _GAP + column.title, _folded(column, cell, room)
            if cell_len(begun) > room:  # below its title it has the whole line
                lines += [head, begun]
            else:
                lines.append(f"{head.ljust(left)}{begun}")
            lines += [" " * left + part for part in more]
    return Text("\n".join(lines))


def _folded(column: Column, cell: str, room: int) -> list[str]:
    """At least one line; an id is one, however long."""
    return ([cell] if column.kind == "id" else chop_cells(cell, room)) or [""]


def wrapped(line: Text, width: int) -> Text:
    """A line that is longer than `width` in several, broken between words; all but the first are indented."""
    if line.cell_len <= width:
        return line
    parts = line.wrap(Console(width=width), max(LEAST, width - _GAP), overflow="fold")
    return Text("\n" + " " * _GAP).join(parts)
