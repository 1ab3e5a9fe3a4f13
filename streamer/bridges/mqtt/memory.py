"""What the bridge must know of its runs before: commands done, states, topics to be removed again."""

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from streamer.errors import StreamerError

NAME = "mqtt.sqlite"
_SCHEMA = 1
_COMMANDS = 10_000
_ANSWER_BYTES = 16 * 2**20
"""Of all answers that are kept; of the oldest beyond it only that they were begun is known."""
_TABLES = """
CREATE TABLE IF NOT EXISTS command (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, id TEXT NOT NULL, digest BLOB NOT NULL, answer BLOB,
    UNIQUE (name, id)
);
CREATE TABLE IF NOT EXISTS state (stream TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS announced (topic TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_FORGET = """
UPDATE command SET answer = NULL WHERE answer IS NOT NULL AND number <= (
    SELECT max(number) FROM (
        SELECT number, sum(length(answer)) OVER (ORDER BY number DESC) AS together FROM command
        WHERE answer IS NOT NULL
    ) WHERE together > ?
)
"""


class Memory:
    """A small database in the bridge's folder, for one process; some tens of MiB at most.

    Args:
        folder: that is there; only its owner may read the file.

    Raises:
        StreamerError: it cannot be opened, or is of a later release.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / NAME
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise StreamerError(f"{path}: cannot be opened ({error})") from None
        try:
            self._prepare(path)
        except (StreamerError, sqlite3.Error) as error:
            self._database.close()
            if isinstance(error, StreamerError):
                raise
            raise StreamerError(
                f"{path}: cannot be used ({error}); move it away: what it knows of commands is lost then"
            ) from None

    def _prepare(self, path: Path) -> None:
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version not in {0, _SCHEMA}:
            raise StreamerError(f"{path}: is of another release (version {version}, expected {_SCHEMA})")
        self._database.execute("PRAGMA journal_mode = WAL")
        # What the queue lets go of, and what a command has begun, must not be undone by a power cut.
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.executescript(_TABLES)
        self._database.execute(f"PRAGMA user_version = {_SCHEMA}")

    def close(self) -> None:
        """Nothing is kept after it."""
        self._database.close()

    def begin(self, name: str, command_id: str, digest: bytes) -> tuple[bytes, bytes | None] | None:
        """Enter a command that is about to be done, so that it never is again; on disk when this returns.

        Args:
            name: of the command.
            command_id: as its sender gave it.
            digest: of what it says.

        Returns:
            None where it is new; else the digest and the answer of the one that was begun under this id, None
            for an answer that was never known, or is no longer.

        Raises:
            StreamerError: it cannot be written; then it must not be done.
        """
        try:
            found = self._database.execute(
                "SELECT digest, answer FROM command WHERE name = ? AND id = ?", (name, command_id)
            ).fetchone()
            if found is not None:
                return found[0], found[1]
            made = self._database.execute(
                "INSERT INTO command (name, id, digest) VALUES (?, ?, ?)", (name, command_id, digest)
            )
            self._database.execute(
                "DELETE FROM command WHERE number <= ?", ((made.lastrowid or 0) - _COMMANDS,)
            )
        except sqlite3.Error as error:
            raise StreamerError(f"{NAME}: cannot be written ({error})") from None
        return None

    def answered(self, name: str, command_id: str, answer: bytes) -> None:
        """Keep the answer for who asks again.

        Raises:
            StreamerError: it cannot be written.
        """
        self._write(
            [
                ("UPDATE command SET answer = ? WHERE name = ? AND id = ?", (answer, name, command_id)),
                (_FORGET, (_ANSWER_BYTES,)),
            ]
        )

    def states(self) -> dict[str, dict[str, Any]]:
        """States by stream, as `keep_states` was given them.

        Raises:
            StreamerError: they cannot be read.
        """
        try:
            rows = self._database.execute("SELECT stream, body FROM state").fetchall()
            return {stream: json.loads(body) for stream, body in rows}
        except (sqlite3.Error, ValueError) as error:
            raise StreamerError(f"{NAME}: is damaged ({error}); move it away: counts begin anew") from None

    def keep_states(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep the states of some streams.

        Raises:
            StreamerError: they cannot be written.
        """
        self._write(
            ("INSERT OR REPLACE INTO state VALUES (?, ?)", (stream, json.dumps(body)))
            for stream, body in states.items()
        )

    def announced(self) -> set[str]:
        """Topics with something retained that is to be removed when it is no longer wanted."""
        return {topic for (topic,) in self._database.execute("SELECT topic FROM announced")}

    def announce(self, topics: Iterable[str]) -> None:
        """Keep the names of topics, before they are published.

        Raises:
            StreamerError: they cannot be written.
        """
        self._write(("INSERT OR IGNORE INTO announced VALUES (?)", (topic,)) for topic in topics)

    def removed(self, topics: Iterable[str]) -> None:
        """Nothing is retained there any more.

        Raises:
            StreamerError: it cannot be written.
        """
        self._write(("DELETE FROM announced WHERE topic = ?", (topic,)) for topic in topics)

    def _write(self, statements: Iterable[tuple[str, tuple[Any, ...]]]) -> None:
        try:
            with closing(self._database.cursor()) as cursor:
                cursor.execute("BEGIN IMMEDIATE")
                try:
                    for statement, values in statements:
                        cursor.execute(statement, values)
                except BaseException:
                    cursor.execute("ROLLBACK")
                    raise
                cursor.execute("COMMIT")
        except sqlite3.Error as error:
            raise StreamerError(f"{NAME}: cannot be written ({error})") from None
