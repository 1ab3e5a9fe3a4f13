"""The queue: killed between any two statements it loses nothing, and repeats what was not confirmed alone."""

import itertools
import resource
import shutil
import sqlite3

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from queue_support import PLENTY, a_queue, fill, named
from store_support import verdict

from streamer.bridges.common import Tell
from streamer.bridges.queue import Queue
from streamer.bridges.schema import FILE
from streamer.bridges.telling import Joined, Telling, availability
from streamer.errors import StreamerError
from streamer.following.taken import Hole, Taken

STREAMS = ("left", "right")


class World:
    """A detector's history, a bridge's queue, a receiver; the queue's process may die at any statement."""

    def __init__(self, folder):
        self.folders = (folder / f"life-{number}" for number in itertools.count())
        self.history = {f"{stream}/score": [] for stream in STREAMS}
        self.sent, self.confirmed, self.contents = [], set(), {}
        self.folder = next(self.folders)
        self.folder.mkdir()
        self.left = -1
        self.is_dead = False
        self.queue = None
        self.start()

    def start(self):
        self.queue = Queue(self.folder, "tcp", **PLENTY)
        self.is_dead = False
        self.queue._database.set_trace_callback(self.statement)

    def statement(self, _):
        """Before a statement is done: what is on disk now is what a killed process leaves."""
        if self.left == 0:
            self.copy = next(self.folders)
            shutil.copytree(self.folder, self.copy)
            self.is_dead = True
        self.left -= 1

    def publish(self, stream, count):
        listed = self.history[f"{stream}/score"]
        for _ in range(count):
            number = len(listed)
            listed.append(verdict(f"{stream}-{number}", stream=stream, pub_seq=number))

    def catch_up(self):
        """Keep what the history has beyond the cursors, in one transaction."""
        known = self.queue.topics()
        messages = [
            one for topic, listed in self.history.items() for one in listed[known.get(topic, (-1,))[0] + 1 :]
        ]
        with self.queue.writing() as writing:
            Telling(Tell(), maps=False).write(Taken(), [Joined(one) for one in messages], writing)

    def deliver(self, most, arrives):
        """Hand over a batch, of which so many arrive; they are confirmed unless the process dies first."""
        items = self.queue.first(most)
        if self.is_dead or not items:
            return
        arrived = items[: min(arrives, len(items))]
        for item in arrived:
            assert self.contents.setdefault(item.number, (item.topic, item.pub_seq)) == (
                item.topic,
                item.pub_seq,
            )
            assert item.number not in self.confirmed
        self.sent += [(item.topic, item.pub_seq) for item in arrived]
        self.queue.delivered(arrived)
        if not self.is_dead:
            self.confirmed |= {item.number for item in arrived}

    def end_step(self):
        self.left = -1
        if self.is_dead:
            self.queue.close()
            self.folder = self.copy
            self.start()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["publish", "catch up", "deliver", "deliver"]),
        st.sampled_from(STREAMS),
        st.integers(1, 4),
        st.integers(-20, 40),
    ),
    max_size=25,
)


@settings(max_examples=60)
@given(STEPS)
def test_killed_between_any_two_statements_nothing_is_lost_and_only_the_unconfirmed_repeats(
    tmp_path_factory, steps
):
    world = World(tmp_path_factory.mktemp("world"))
    n_deaths = 0
    for step, stream, count, dies in steps:
        world.left = dies
        match step:
            case "publish":
                world.publish(stream, count)
            case "catch up":
                world.catch_up()
            case "deliver":
                world.deliver(count + 1, count)
        n_deaths += world.is_dead
        world.end_step()
    world.catch_up()
    while world.queue.first():
        world.deliver(100, 100)
    world.queue.close()
    for topic, listed in world.history.items():
        arrived = [number for name, number in world.sent if name == topic]
        assert list(dict.fromkeys(arrived)) == list(range(len(listed)))
    n_repeated = len(world.sent) - len(set(world.sent))
    assert n_repeated <= 4 * n_deaths


def test_what_is_written_outlives_a_power_cut(tmp_path):
    queue = a_queue(tmp_path)
    assert queue._database.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert queue._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    queue.close()


def test_what_is_refused_is_kept_apart_and_put_back_in_its_place(tmp_path):
    queue = a_queue(tmp_path)
    fill(queue, 4)
    first, second, *_ = queue.first()
    queue.refused(first, "no such line")
    queue.refused(second, "no such line")
    assert named(queue.first()) == ["p2", "p3"]
    letters = list(queue.letters())
    assert [(one.item, one.reason) for one in letters] == [(first, "no such line"), (second, "no such line")]
    counters = queue.counters()
    assert (counters["items"], counters["dead"], counters["refused"]) == (2, 2, 2)
    other = Queue(tmp_path, "tcp", **PLENTY)  # as the command does while the bridge runs
    assert other.redeliver() == 2
    other.close()
    assert named(queue.first()) == ["p0", "p1", "p2", "p3"]
    assert queue.first()[0] == first
    counters = queue.counters()
    assert (counters["items"], counters["dead"], counters["dead_bytes"]) == (4, 0, 0)
    queue.delivered(queue.first())
    assert (queue.counters()["items"], queue.counters()["bytes"]) == (0, 0)
    queue.close()


def test_a_full_disk_is_told_changes_nothing_and_is_mended(tmp_path):
    queue = a_queue(tmp_path)
    fill(queue, 2)
    pages = queue._database.execute("PRAGMA page_count").fetchone()[0]
    queue._database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(sqlite3.Error, match="full"):
        fill(queue, 10, begin=2, meta={"note": "x" * 12_000})
    assert "full" in queue.failed
    assert named(queue.first()) == ["p0", "p1"]
    assert queue.topics()["line/score"][0] == 1
    queue._database.execute("PRAGMA max_page_count = 1000000")
    assert queue.mend()
    assert queue.failed is None
    fill(queue, 10, begin=2)
    assert len(queue.first()) == 12
    queue.close()


def test_a_file_that_is_deleted_meanwhile_is_no_place_to_write_to(tmp_path):
    queue = a_queue(tmp_path)
    (tmp_path / FILE).unlink()
    with pytest.raises(sqlite3.Error, match="deleted"):
        fill(queue, 1)
    assert "deleted or replaced" in queue.failed
    assert not queue.mend()
    queue.close()


def test_files_that_are_no_queue_of_this_bridge_are_told_and_left_alone(tmp_path):
    a_queue(tmp_path / "webhook").close()
    with pytest.raises(StreamerError, match="queue of the bridge 'tcp', not of 'mqtt'"):
        Queue(tmp_path / "webhook", "mqtt", **PLENTY)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    with sqlite3.connect(foreign / FILE) as database:
        database.execute("CREATE TABLE frames (id)")
    database.close()
    with pytest.raises(StreamerError, match="another program's database"):
        a_queue(foreign)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / FILE).write_bytes(b"SQLite format 3\0" + bytes(5000))
    with pytest.raises(StreamerError, match="is no queue of a bridge, or is damaged"):
        a_queue(damaged)
    for version in (1, 9):  # 1: its table `topic` had no rowid
        other = a_queue(tmp_path / f"{version}")
        other._database.execute(f"PRAGMA user_version = {version}")
        other.close()
        with pytest.raises(StreamerError, match=rf"another version .* \(format {version}, expected 2\)"):
            a_queue(tmp_path / f"{version}")


def test_a_disk_that_has_no_room_is_not_mended_by_what_fits_the_log(tmp_path):
    """A write may grow no file beyond its bound, as on a disk that is full; within the log one succeeds."""
    queue = a_queue(tmp_path)
    bounds = resource.getrlimit(resource.RLIMIT_FSIZE)
    fill(queue, 20)
    log_bytes = (tmp_path / f"{FILE}-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (log_bytes, bounds[1]))
    try:
        with pytest.raises(sqlite3.Error):
            fill(queue, 40, begin=100, meta={"note": "x" * 20_000})
        failed = queue.failed
        assert failed
        assert not queue.mend()
        assert queue.failed == failed
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, bounds)
    assert queue.mend()
    assert queue.failed is None
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".probe") == []
    queue.close()


def test_the_queue_is_its_owners_alone(tmp_path):
    a_queue(tmp_path).close()
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


def test_items_keep_what_belongs_to_them(tmp_path):
    queue = a_queue(tmp_path)
    score = verdict("a", payload=b"map", anomaly_map={"encoding": "png16"})
    gone, filled = Hole("line/score", 3, 7, lost=5, filled=0), Hole("line/score", 8, 9, lost=0, filled=2)
    with queue.writing() as writing:
        Telling(Tell(), maps=True).write(Taken(), [Joined(score, b"jpeg"), gone, filled], writing)
        writing.put(availability("down"))
    first, hole, down = queue.first()
    assert (first.payload, first.picture, first.stream, first.before) == (b"map", b"jpeg", "line", None)
    assert first.header == dict(score)
    assert first.is_partial
    assert (hole.kind, hole.stream, hole.topic) == ("dropped", "line", "line/score")
    assert {key: hole.header[key] for key in ("lost", "first", "last", "topic")} == {
        "lost": 5, "first": 3, "last": 7, "topic": "line/score",
    }  # fmt: skip
    assert (down.kind, down.stream, down.header) == ("availability", None, {"detector": "down"})
    assert queue.counters()["lost"] == 5
    queue.close()
