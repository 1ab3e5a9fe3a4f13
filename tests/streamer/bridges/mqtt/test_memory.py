"""What the MQTT bridge knows of its runs before: on disk when it says so, and bounded."""

import sqlite3
import stat
from contextlib import closing

import pytest

from streamer.bridges.mqtt.memory import NAME, Memory
from streamer.errors import StreamerError

MIB = 2**20


def test_a_command_is_begun_once_and_its_answer_is_known_after_a_kill(tmp_path):
    memory = Memory(tmp_path)
    assert memory.begin("confirm", "1", b"digest") is None
    killed = Memory(tmp_path)  # another process, while the first has closed nothing
    assert killed.begin("confirm", "1", b"other") == (b"digest", None)
    memory.answered("confirm", "1", b"done")
    assert killed.begin("confirm", "1", b"digest") == (b"digest", b"done")
    assert killed.begin("accept", "1", b"digest") is None
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600
    memory.close()
    killed.close()


def test_answers_take_no_more_than_their_room_and_the_oldest_go_first(tmp_path):
    with closing(Memory(tmp_path)) as memory:
        for number in range(20):
            memory.begin("confirm", str(number), b"digest")
            memory.answered("confirm", str(number), bytes(MIB))
        known = [memory.begin("confirm", str(number), b"digest") for number in range(20)]
    # That they were begun is known of all, so none is done twice.
    assert known == [(b"digest", None)] * 4 + [(b"digest", bytes(MIB))] * 16
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 40 * MIB


def test_so_many_commands_are_known_and_the_oldest_are_forgotten(tmp_path):
    with closing(Memory(tmp_path)) as memory:
        memory.begin("confirm", "first", b"")
        with closing(sqlite3.connect(tmp_path / NAME)) as other, other:
            numbers = range(2, 10_001)
            other.executemany(
                "INSERT INTO command (number, name, id, digest) VALUES (?, 'confirm', ?, x'00')",
                ((number, str(number)) for number in numbers),
            )
        assert memory.begin("confirm", "first", b"") == (b"", None)
        assert memory.begin("confirm", "the 10001st", b"") is None
        assert memory.begin("confirm", "first", b"") is None


def test_what_the_queue_lets_go_of_is_not_undone_by_a_power_cut(tmp_path):
    with closing(Memory(tmp_path)) as memory:
        assert memory._database.execute("PRAGMA synchronous").fetchone() == (2,)  # full


def test_a_file_that_is_damaged_or_of_a_later_release_is_told_in_one_line(tmp_path):
    Memory(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / NAME)) as other:
        other.execute("PRAGMA user_version = 9")
    with pytest.raises(StreamerError, match="is of another release"):
        Memory(tmp_path)
    (tmp_path / NAME).write_bytes(b"no database" * 1000)
    with pytest.raises(StreamerError, match="move it away"):
        Memory(tmp_path)
