"""The log of published messages: bounded, whole after a restart, and what fills a subscriber's gap."""

import sqlite3
import threading

import msgpack
import pytest
from streamer_support import backbone, control, small_config, watched

from streamer.errors import StreamerError
from streamer.server.history import Entry, History

__all__ = ["backbone"]


def entry(number, topic="a/score", size=10):
    return Entry(topic, number, bytes(size), None, ("a", number))


@pytest.mark.parametrize("on_disk", [True, False])
def test_the_oldest_make_room(tmp_path, on_disk):
    history = History(tmp_path / "h.sqlite" if on_disk else None, max_messages=5, max_bytes=1000)
    for number in range(9):
        history.add([entry(number)])
    found, more = history.fetch("a/score", 0, 100, limit=100, max_bytes=10_000)
    assert [one.pub_seq for one in found] == [4, 5, 6, 7, 8]
    assert not more
    assert history.status() == {"messages": 5, "bytes": 50}
    history.add([entry(9, size=990)])
    assert [one.pub_seq for one in history.fetch("a/score", 0, 100, limit=9, max_bytes=10_000)[0]] == [8, 9]
    assert history.scored_ids("a") == list(range(10))  # known beyond their messages
    history.close()


def test_it_goes_on_where_it_was(tmp_path):
    for start in (0, 3):
        history = History(tmp_path / "h.sqlite", max_messages=100, max_bytes=10_000)
        assert history.next_number("a/score") == start
        assert history.next_number("never heard of") == 0
        history.add([entry(start + offset) for offset in range(3)])
        history.close()


def test_pages(tmp_path):
    history = History(None, max_messages=100, max_bytes=10_000)
    history.add([entry(number) for number in range(10)])
    found, more = history.fetch("a/score", 2, 7, limit=3, max_bytes=10_000)
    assert ([one.pub_seq for one in found], more) == ([2, 3, 4], True)
    found, more = history.fetch("a/score", 2, 7, limit=100, max_bytes=25)
    assert ([one.pub_seq for one in found], more) == ([2, 3], True)
    assert history.fetch("b/score", 0, 9, limit=9, max_bytes=99) == ([], False)
    history.close()


def test_a_foreign_file_is_refused(tmp_path):
    path = tmp_path / "h.sqlite"
    path.write_bytes(b"this is no database at all, not even a small one" * 30)
    with pytest.raises(StreamerError, match="is no history"):
        History(path, max_messages=1, max_bytes=1)
    assert path.read_bytes().startswith(b"this is no database")


def test_a_gap_is_filled_word_for_word(backbone):
    with watched(backbone) as (service, screen, camera):
        for seed in range(4):
            camera.picture(seed)
        heard = []
        while len(heard) < 4:
            topic, fields, payload = screen.next()
            heard += [(topic, fields, payload)] if fields["kind"] == "score" else []
        answer = control(service, "history", topic="line/score", first=1, last=2)
        fetched = [(one["topic"], msgpack.unpackb(one["header"]), one["map"]) for one in answer["messages"]]
        assert fetched == heard[1:3]
        assert not answer["more"]


def test_numbers_go_on_after_a_restart(backbone, tmp_path):
    config = small_config(history={"path": str(tmp_path / "h.sqlite")})
    numbers = []
    for seed in (0, 1):
        with watched(backbone, config) as (_, screen, camera):
            camera.picture(seed)
            numbers.append(screen.until(1, "score")[0]["pub_seq"])
    assert numbers == [0, 1]


def test_a_full_disk_stops_no_score(backbone, monkeypatch):
    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    with watched(backbone) as (service, screen, camera):
        with monkeypatch.context() as patch:
            patch.setattr(service.history, "add", full)
            camera.picture(0)
            assert screen.until(1, "score")[0]["frame_id"] == "line-0"
            status = control(service, "status")
            assert (status["state"], status["history"]["failed"]) == ("degraded", "database or disk is full")
        camera.picture(1)
        screen.until(1, "score")
        assert control(service, "status")["history"]["failed"] is None


@pytest.mark.parametrize("on_disk", [True, False])
def test_publishing_goes_on_while_much_is_read(tmp_path, monkeypatch, on_disk):
    """The lock was held for all that one request may read, up to 32 MiB."""
    history = History(tmp_path / "h.sqlite" if on_disk else None, max_messages=1000, max_bytes=10**9)
    history.add([entry(number, size=100_000) for number in range(50)])
    some, added, holds = history._some, [], []

    def one_bite(topic, first, last):
        rows = some(topic, first, last)
        holds.append(sum(row[3] for row in rows))
        # Another thread publishes between any two bites.
        publisher = threading.Thread(target=history.add, args=([entry(100 + len(added), "b/score")],))
        publisher.start()
        publisher.join(60)
        added.append(not publisher.is_alive())
        return rows

    monkeypatch.setattr(history, "_some", one_bite)
    found, more = history.fetch("a/score", 0, 49, limit=1000, max_bytes=32 * 2**20)
    assert ([one.pub_seq for one in found], more) == (list(range(50)), False)
    assert len(added) >= 5
    assert all(added)
    assert max(holds) <= 1_100_000
    monkeypatch.undo()
    assert len(history.fetch("b/score", 0, 999, limit=1000, max_bytes=10**9)[0]) == len(added)
    history.close()


def test_what_is_trimmed_while_it_is_read_is_passed_over(monkeypatch):
    history = History(None, max_messages=100, max_bytes=10**9)
    history.add([entry(number) for number in range(100)])
    some = history._some

    def trimmed(topic, first, last):
        rows = some(topic, first, last)
        if first == 0:
            history.add([entry(number) for number in range(100, 180)])
        return rows

    monkeypatch.setattr(history, "_some", trimmed)
    found, more = history.fetch("a/score", 0, 10_000, limit=10_000, max_bytes=10**9)
    assert ([one.pub_seq for one in found], more) == ([*range(64), *range(80, 180)], False)
    history.close()
