"""Names that were heard of, so many at most: the least recent give way, and first those of little account."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

MOST = 1024
"""Streams of one detector that are remembered."""

Kept = TypeVar("Kept")


class Recent(Generic[Kept]):
    """What is known of each name.

    A name is sure once it was heard of as one that the detector has; of others, that any sender can make up,
    it is not known. Sure ones give way only to sure ones.

    Args:
        most: names that are kept.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._sure: OrderedDict[str, Kept] = OrderedDict()
        self._others: OrderedDict[str, Kept] = OrderedDict()

    def __iter__(self) -> Iterator[str]:
        """The names, sure ones first, each of both the least recent first."""
        return iter([*self._sure, *self._others])

    def get(self, name: str) -> Kept | None:
        """What is known of a name; it becomes no more recent by this."""
        return (self._sure if name in self._sure else self._others).get(name)

    def items(self) -> list[tuple[str, Kept]]:
        """Names and what is known of them."""
        return [*self._sure.items(), *self._others.items()]

    def heard(self, name: str, new: Callable[[], Kept], *, sure: bool) -> Kept | None:
        """A name was heard of: what is known of it; None where there is no room.

        Args:
            name: of a stream.
            new: makes what is known of one that was not there.
            sure: whether the detector has such a stream.
        """
        if name in self._sure:
            self._sure.move_to_end(name)
            return self._sure[name]
        if len(self._sure) >= self._most and not sure:
            return None
        known = self._others.pop(name) if name in self._others else new()
        (self._sure if sure else self._others)[name] = known
        if len(self._sure) + len(self._others) > self._most:
            (self._others or self._sure).popitem(last=False)
        return known

    def forget(self, name: str) -> None:
        """Nothing is known of a name any more."""
        self._sure.pop(name, None)
        self._others.pop(name, None)
