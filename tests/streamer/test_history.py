"""The log of published messages: bounded, whole after a restart, and what fills a subscriber's gap."""

import shutil
import sqlite3
import threading

import msgpack
import pytest
from streamer_support import backbone, control, identity_holds, serving, small_config, until, watched

from streamer.errors import StreamerError
from streamer.server.history import Entry, History

pytestmark = pytest.mark.engines

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
    assert history.known.ids("a") == list(range(10))  # known beyond their messages
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
        assert (answer["more"], answer["next"]) == (False, 4)
        assert control(service, "history", topic="another/score")["next"] == 0


def test_numbers_go_on_after_a_restart(backbone, tmp_path):
    config = small_config(history={"path": str(tmp_path / "h.sqlite")})
    numbers = []
    for seed in (0, 1):
        with watched(backbone, config) as (_, screen, camera):
            camera.picture(seed)
            numbers.append(screen.until(1, "score")[0]["pub_seq"])
    assert numbers == [0, 1]


@pytest.mark.one_process
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
@pytest.mark.one_process
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


@pytest.mark.one_process
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


def complaint(number, topic="-/error", peer="10.0.0.1", size=10):
    return Entry(topic, number, bytes(size), None, None, peer)


def test_what_goes_wrong_pushes_out_no_scores():
    history = History(None, max_messages=1000, max_bytes=10**6)
    history.add([entry(number) for number in range(6)])
    for number in range(6000):
        history.add([complaint(number)])
    assert history.status()["messages"] == 6 + 62  # a quarter of a quarter
    for number in range(3000):
        history.add([complaint(number, "a/dropped", "")])
        history.add([complaint(6000 + number, peer=f"10.0.1.{number % 200}")])
    assert history.status()["messages"] == 6 + 250
    assert len(history.fetch("a/score", 0, 99, limit=99, max_bytes=10**6)[0]) == 6
    for number in range(6, 3000):
        history.add([entry(number)])
    assert history.status()["messages"] == 1000
    assert not history.fetch("-/error", 0, 9999, limit=99, max_bytes=10**6)[0]  # older than all of these
    history.close()


def test_large_complaints_are_bounded_by_size():
    history = History(None, max_messages=1000, max_bytes=16_000)
    history.add([entry(number) for number in range(6)])
    for number in range(100):
        history.add([complaint(number, size=300)])
    assert history.status() == {"messages": 6 + 3, "bytes": 60 + 900}
    history.add([complaint(100, size=5000)])  # the newest is kept, whatever its size
    assert history.status() == {"messages": 6 + 1, "bytes": 60 + 5000}
    history.close()


@pytest.mark.one_process
def test_bounds_hold_across_a_restart_and_a_failed_write(tmp_path, monkeypatch):
    path = tmp_path / "h.sqlite"
    history = History(path, max_messages=160, max_bytes=10**6)
    history.add([complaint(number) for number in range(9)])
    history.close()
    history = History(path, max_messages=160, max_bytes=10**6)
    with monkeypatch.context() as patch:
        patch.setattr(history, "_keep_tallies", lambda _: (_ for _ in ()).throw(sqlite3.OperationalError()))
        with pytest.raises(sqlite3.OperationalError):
            history.add([complaint(9), complaint(10), entry(0)])
    assert history.status()["messages"] == 9
    assert history.known.find("a", 0) == b""  # published all the same: known, on disk with the next
    history.add([complaint(9), complaint(10)])
    assert history.status()["messages"] == 10
    assert history.known.ids("a") == [0]
    history.close()


def test_tallies_are_those_of_the_messages(tmp_path):
    history = History(tmp_path / "h.sqlite", max_messages=9, max_bytes=999)
    history.add([entry(0)], {"a": {"scored": 1}, "b": {"scored": 2}})
    history.add([entry(1)], {"a": {"scored": 3}, "b": None})
    history.close()
    history = History(tmp_path / "h.sqlite", max_messages=9, max_bytes=999)
    assert history.tallies() == {"a": {"scored": 3}}
    history.close()


@pytest.mark.parametrize("snapshots", [False, True])
def test_a_killed_service_goes_on_counting_where_its_history_ends(backbone, tmp_path, snapshots):
    """The tallies were those of the last snapshot: 697 of 800 scored."""

    def config(folder):
        path = str(folder) if snapshots else None
        history = {"path": str(folder / "h.sqlite")}
        return small_config(history=history, snapshot={"path": path, "every_s": 3600})

    living, dead = tmp_path / "living", tmp_path / "dead"
    living.mkdir()
    with watched(backbone, config(living)) as (service, screen, camera):
        for seed in range(3):
            camera.picture(seed)
        screen.until(3, "score")
        if snapshots:
            control(service, "snapshot")
        for seed in range(2, 6):  # one that is known already
            camera.picture(seed)
        camera.send({}, b"")
        screen.until(3, "score")
        camera.picture(2)
        screen.until(1, "error")
        until(lambda: not service.ledger._changed)
        before = service.ledger.streams()
        shutil.copytree(living, dead)
    with serving(config(dead), backbone) as service:
        assert service.ledger.streams() == before
        assert before["line"]["scored"] == 6
        assert control(service, "status")["streams"]["line"]["last_frame"]["frame_id"] == "line-5"
        assert identity_holds(control(service, "status"))
