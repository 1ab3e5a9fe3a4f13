"""What is odd about images that are used all the same, for a person: counted, the first ones named."""

from collections import Counter
from collections.abc import Iterable

from streamer.images.depth import Warned

_NAMED = 3


class Oddities:
    """Collects what `read_file` warns of, over the images of a folder or data set."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, list[str]] = {}
        self._text: dict[str, str] = {}

    def add(self, name: str, warnings: Iterable[Warned]) -> None:
        """Take note of an image's warnings."""
        for code, text in warnings:
            self._counts[code] += 1
            self._text.setdefault(code, text.partition(": ")[2])
            first = self._first.setdefault(code, [])
            if len(first) < _NAMED:
                first.append(name)

    def lines(self) -> list[str]:
        """One line a kind: how many, which came first, and what is odd about the very first."""
        return [
            f"{code}: {count} images, among them {', '.join(self._first[code])}: {self._text[code]}"
            for code, count in self._counts.items()
        ]
