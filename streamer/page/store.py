"""The page's memory: frames, verdicts, alarms and words in SQLite, pictures in files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamer.page.updates import Update
from streamer.wire.published import Message


class Store:
    """Keeps what a detector publishes; safe from any thread."""

    failed: str | None = None
    cursor: int = 0

    def __init__(
        self, folder: Path, *, days: float, max_bytes: int, alarm_cooldown_s: float = 10.0
    ) -> None: ...

    def take(self, message: Message) -> list[Update]: ...
    def take_all(self, messages: Sequence[Message]) -> list[Update]: ...
    def note_gap(self, topic: str, first: int, last: int, lost: int, filled: int) -> None: ...
    def last_pub_seq(self) -> dict[str, int]: ...
    def review(
        self, stream: str, key: str, decision: str, who: str, kind: str | None, note: str | None
    ) -> Update: ...
    def acknowledge(self, alarm: int, who: str) -> Update: ...
    def note(
        self,
        stream: str | None,
        key: str | None,
        who: str,
        what: str,
        note: str | None,
        before: Any = None,
        after: Any = None,
    ) -> Update: ...
    def read(self) -> Any: ...  # `with store.read() as connection:` a read-only sqlite3.Connection, rows by name
    def close(self) -> None: ...
