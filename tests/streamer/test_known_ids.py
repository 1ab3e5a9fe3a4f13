"""A frame is scored once: at any distance, with and without a disk, and under one id one picture."""

import shutil
import sqlite3
import tracemalloc

import msgpack
import pytest
from stops_support import Dealer
from streamer_support import (
    Camera,
    Screen,
    backbone,
    control,
    header,
    picture,
    png,
    serving,
    small_config,
)

from streamer.errors import StreamerError
from streamer.server import known_ids
from streamer.server.history import Entry, History
from streamer.server.known_ids import ANY_PICTURE, KnownIds, Scored, picture_digest
from streamer.wire.frame import FrameMessage

pytestmark = pytest.mark.engines

__all__ = ["backbone"]


@pytest.fixture(params=["memory", "disk"])
def known(request, tmp_path):
    path = tmp_path / "ids.sqlite" if request.param == "disk" else None
    made = KnownIds(path, per_stream=5, streams=2)
    yield made
    made.close()


def test_the_newest_of_each_stream_are_known(known):
    known.add([Scored("a", number, b"digest") for number in range(4)])
    for number in range(20):
        known.add([Scored("b", f"b{number}")])
    assert known.ids("a") == [0, 1, 2, 3]
    assert known.ids("b") == [f"b{number}" for number in range(15, 20)]
    assert (known.find("a", 1), known.find("b", "b15"), known.find("b", "b14")) == (b"digest", b"", None)
    assert known.find("a", "1") is None
    known.add([Scored("a", 1, b"again")])
    assert known.ids("a") == [0, 2, 3, 1]
    known.forget("a")
    assert known.ids("a") == []
    assert known.find("b", "b19") == ANY_PICTURE


def test_streams_silent_for_longest_are_forgotten(known):
    for stream in ("a", "b", "a", "c"):
        known.add([Scored(stream, 1)])
    assert [known.ids(stream) for stream in "abc"] == [[1], [], [1]]


def test_what_a_reset_stream_had_on_its_way_is_not_known(known):
    known.add([Scored("a", 1, counts=lambda: False), Scored("a", 2)])
    assert known.ids("a") == [2]


def test_a_snapshot_teaches_what_is_missing(known):
    known.add([Scored("a", 1, b"one")])
    known.learn("a", [1, 2])
    assert (known.find("a", 1), known.find("a", 2)) == (b"one", ANY_PICTURE)


def test_an_older_snapshot_takes_no_room_of_what_was_scored_since(known):
    known.add([Scored("a", number, b"digest") for number in range(9)])  # 4 to 8 are known
    known.learn("a", [1, 2, 3])  # long before
    known.learn("a", range(7))  # in the middle
    known.learn("a", range(9))  # a clean stop, of a ring larger than the bound
    assert known.ids("a") == [4, 5, 6, 7, 8]
    known.add([Scored("b", number) for number in (3, 4)])
    known.learn("b", [0, 1, 2, 3, 4])
    assert known.ids("b") == [0, 1, 2, 3, 4]
    known.learn("b", [3, 4, 5, 6])  # ids from before the snapshot
    assert known.ids("b") == [2, 3, 4, 5, 6]


@pytest.mark.one_process
def test_a_full_disk_is_no_reason_to_score_twice(known, monkeypatch):
    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(known, "_insert", full)
        with pytest.raises(sqlite3.OperationalError):
            known.add([Scored("a", 1, b"one")])
        assert known.find("a", 1) == b"one"
    known.add([Scored("a", 2, b"two")])
    assert known.ids("a") == [1, 2]


def test_ids_of_a_history_of_before_are_known(tmp_path):
    path = tmp_path / "h.sqlite"
    with sqlite3.connect(path) as old:
        old.executescript("""
            CREATE TABLE messages (
                id INTEGER PRIMARY KEY, topic TEXT NOT NULL, pub_seq INTEGER NOT NULL, header BLOB NOT NULL,
                map BLOB, bytes INTEGER NOT NULL, UNIQUE (topic, pub_seq));
            CREATE TABLE topics (topic TEXT PRIMARY KEY, pub_seq INTEGER NOT NULL);
            CREATE TABLE scored (
                id INTEGER PRIMARY KEY, stream TEXT NOT NULL, frame_id BLOB NOT NULL,
                UNIQUE (stream, frame_id));
        """)
        rows = [("b", 7), ("a", 3), ("a", "x"), ("a", 1)]
        old.executemany(
            "INSERT INTO scored (stream, frame_id) VALUES (?, ?)",
            [(stream, msgpack.packb(one)) for stream, one in rows],
        )
        old.execute("INSERT INTO messages (topic, pub_seq, header, bytes) VALUES ('a/error', 0, x'00', 1)")
    old.close()
    for _ in range(2):
        history = History(path, max_messages=10, max_bytes=1000)
        assert history.known.ids("a") == [3, "x", 1]
        assert history.known.find("b", 7) == ANY_PICTURE
        assert history.status() == {"messages": 1, "bytes": 1}
        history.close()


def test_a_picture_is_told_from_another():
    def digest(**fields):
        return picture_digest(FrameMessage("s", 1, **fields))

    raw = {"encoding": "raw", "payload": bytes(24)}
    assert digest(**raw, shape=(2, 4, 3)) == digest(**raw, shape=(2, 4, 3), seq=5, meta={"a": 1})
    differ = [
        digest(**raw, shape=(2, 4, 3)),
        digest(**raw, shape=(4, 2, 3)),
        digest(encoding="png", payload=bytes(24)),
    ]
    assert len({*differ, digest(encoding="jpeg", payload=bytes(24))}) == 4


def test_what_is_no_database_is_set_aside(tmp_path):
    path = tmp_path / known_ids.FILE
    path.write_bytes(b"no database" * 1000)
    assert known_ids.prepare(tmp_path) == path
    assert [one.name.startswith(f"{known_ids.FILE}.refused-") for one in tmp_path.iterdir()] == [True]
    folder = tmp_path / "rings"
    (folder / known_ids.FILE).mkdir(parents=True)
    known_ids.prepare(folder)
    assert not (folder / known_ids.FILE).exists()
    (tmp_path / "h").write_bytes(b"no database" * 1000)
    with pytest.raises(StreamerError, match="is no history"):
        History(tmp_path / "h", max_messages=1, max_bytes=1)


def sections(kind, folder):
    return {
        "memory": {},
        "history": {"history": {"path": str(folder / "h.sqlite")}},
        "snapshots": {"snapshot": {"path": str(folder), "every_s": 3600}},
    }[kind]


@pytest.mark.parametrize("kind", ["memory", "history", "snapshots"])
def test_a_frame_resent_after_many_others_is_not_scored_again(backbone, tmp_path, kind):
    """Beyond the ring it was scored again, though the history knew it."""
    config = small_config(ring={"capacity": 4}, **sections(kind, tmp_path))
    with serving(config, backbone) as service, Screen(service, "line/") as screen, Dealer(service) as dealer:
        for seed in range(10):
            dealer.send(seed)
        assert dealer.acks(10) == [(f"line-{seed}", "scored", "") for seed in range(10)]
        dealer.send(0)
        dealer.send(5, "line-0")
        assert dealer.acks(2) == [("line-0", "scored", "duplicate"), ("line-0", "refused", "id_reused")]
        with Camera(service.endpoints["frames"]) as camera:
            camera.picture(1)
            camera.send(header("line-1"), png(picture(6)))
            errors = screen.until(3, "error")
        assert [(one["frame_id"], one["code"]) for one in errors] == [
            ("line-0", "id_reused"),
            ("line-1", "duplicate"),
            ("line-1", "id_reused"),
        ]
        assert control(service, "status")["scored"] == 10


@pytest.mark.parametrize("kind", ["history", "snapshots"])
def test_a_killed_service_knows_what_it_scored(backbone, tmp_path, kind):
    """The files as a `kill -9` leaves them: ids newer than the snapshot, or than none at all."""
    living, dead = tmp_path / "living", tmp_path / "dead"
    living.mkdir()
    with serving(small_config(ring={"capacity": 4}, **sections(kind, living)), backbone) as service:
        with Dealer(service) as dealer:
            for seed in range(7):
                dealer.send(seed)
                if seed == 2 and kind == "snapshots":
                    dealer.acks(3)
                    control(service, "snapshot")
            dealer.acks(7 if kind == "history" else 4)
        shutil.copytree(living, dead)
    again = small_config(ring={"capacity": 4}, **sections(kind, dead))
    with serving(again, backbone) as service, Dealer(service) as dealer:
        for seed in range(8):
            dealer.send(seed)
        acks = dealer.acks(8)
        assert acks == [(f"line-{seed}", "scored", "duplicate" if seed < 7 else "") for seed in range(8)]
        dealer.send(9, "line-5")
        assert dealer.acks(1) == [("line-5", "refused", "id_reused")]


def test_only_so_many_are_known_and_none_after_a_reset(backbone, tmp_path):
    config = small_config(ring={"capacity": 4}, limits={"known_ids": 6}, **sections("history", tmp_path))
    for _ in range(2):  # after a restart as before
        with serving(config, backbone) as service, Dealer(service) as dealer:
            for seed in range(8):
                dealer.send(seed)
            assert {status for _, status, _ in dealer.acks(8)} == {"scored"}
            dealer.send(0)
            assert dealer.acks(1) == [("line-0", "scored", "")]
            dealer.send(7)
            assert dealer.acks(1) == [("line-7", "scored", "duplicate")]
            control(service, "reset")
            dealer.send(7)
            assert dealer.acks(1) == [("line-7", "scored", "")]
            control(service, "reset")


def test_a_hundred_thousand_ids_are_not_loaded(tmp_path):
    known = KnownIds(tmp_path / "ids.sqlite", per_stream=100_000, streams=16)
    known.add([Scored("a", f"part-{number}", b"12345678") for number in range(100_000)])
    known.close()
    tracemalloc.start()
    known = KnownIds(tmp_path / "ids.sqlite", per_stream=100_000, streams=16)
    assert known.find("a", "part-0") == b"12345678"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000  # of them all it would be ten times that
    known.add([Scored("a", "new")])
    assert (known.find("a", "part-0"), known.find("a", "part-1")) == (None, b"12345678")
    known.close()


@pytest.mark.one_process
def test_a_full_disk_beside_the_snapshots_costs_no_message(tmp_path, monkeypatch):
    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    history = History(None, max_messages=9, max_bytes=999, known_path=tmp_path / known_ids.FILE)
    entries = [Entry("a/score", number, b"x", None, Scored("a", number, b"digest")) for number in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(history.known, "_insert", full)
        with pytest.raises(sqlite3.OperationalError):
            history.add(entries[:1])
    assert history.known.find("a", 0) == b"digest"
    history.add(entries[1:])
    assert history.status()["messages"] == 2
    history.close()
    again = KnownIds(tmp_path / known_ids.FILE, per_stream=9, streams=1)
    assert again.ids("a") == [0, 1]
    again.close()


def foreign(table):
    def make(path):
        database = sqlite3.connect(path)
        database.execute(table)
        database.commit()
        database.close()

    return make


def damaged(path):
    made = KnownIds(path, per_stream=1000, streams=9)
    made.add([Scored("a", number, b"12345678") for number in range(1000)])
    made.close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"U" * (len(content) - 4096))


def beside(rest):
    return lambda path: path.with_name(path.name + rest).mkdir()


@pytest.mark.parametrize(
    "make",
    [
        foreign("CREATE TABLE known_ids (x)"),
        foreign("CREATE VIEW known_ids AS SELECT 1"),
        foreign("CREATE TABLE known_ids (stream, number, frame_id, digest, extra NOT NULL)"),
        damaged,
        beside("-wal"),
        beside("-shm"),
        lambda path: path.with_name(f"{path.name}-wal").symlink_to("/nowhere/at/all"),
    ],
)
def test_what_lies_in_the_place_of_the_ids_stops_no_start(make, tmp_path):
    make(tmp_path / known_ids.FILE)
    path = known_ids.prepare(tmp_path)
    history = History(None, max_messages=9, max_bytes=1000, known_path=path)
    history.add([Entry("line/score", 0, b"", scored=("line", 7))])
    assert history.known.ids("line") == [7]
    history.close()
    assert [one.name for one in tmp_path.iterdir() if ".refused-" in one.name]
    assert known_ids.prepare(tmp_path) == path
    assert len([one.name for one in tmp_path.iterdir() if ".refused-" in one.name]) == 1


def test_a_disk_without_room_for_ids_ends_no_start(tmp_path):
    path = tmp_path / "known_ids.sqlite"
    path.mkdir()  # what SQLite says of it is what it says of a disk it cannot write to
    history = History(None, max_messages=10, max_bytes=10_000, known_path=path)
    history.known.add([Scored("a", 1)])
    assert history.known.ids("a") == [1]
    history.close()
