"""Names of categories, defects, files and options, as tables and plots show them."""

from rich.text import Text

from streamer.printable import printable


def plain(name: object) -> Text:
    """A name for a table of rich: no markup is read in it, and it cannot leave its line."""
    return Text(printable(name))


def drawn(name: object) -> str:
    """A name for matplotlib, which reads formulas between dollar signs."""
    return printable(name).replace("$", "\\$")
