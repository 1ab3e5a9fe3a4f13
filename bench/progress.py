"""Progress of long work on standard error: bars with time left on a terminal, a line a phase elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from streamer.printable import printable


class Phases:
    """The phases of one piece of work, shown and timed; `seconds` holds what each took."""

    def __init__(self, title: str, console: Console) -> None:
        self.title = title
        self.seconds: dict[str, float] = {}
        self._console = console

    def warn(self, line: str) -> None:
        """Say something odd about the work's data."""
        self._console.print(f"warning: {self.title}: {line}", highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def phase(self, name: str, total: int | None = None, shown: str = "") -> Iterator[Callable[[int], None]]:
        """Show a phase while the block runs; what is yielded is told how many more steps are done.

        Args:
            name: key in `seconds`.
            total: steps; None shows that work goes on, not how far it is.
            shown: what a person reads; the name if empty.
        """
        started = time.perf_counter()
        label = printable(f"{self.title}: {shown or name}")
        bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        with bars:
            task = bars.add_task(label, total=total)
            yield lambda count: bars.advance(task, count)
        spent = time.perf_counter() - started
        self.seconds[name] = self.seconds.get(name, 0.0) + spent
        self._console.print(f"{label}: {spent:.1f} s", highlight=False, markup=False, soft_wrap=True)
