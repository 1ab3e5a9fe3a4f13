"""The page's store: what it keeps of every kind of message, and what it tells of it."""

import sqlite3
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest
from store_support import NOON, SECOND, Clock, a_store, jpeg, message, picture_message, verdict

from streamer.errors import StreamerError
from streamer.maps import PatchGrid, encode_map, interpolate
from streamer.page.health import Health
from streamer.page.overview import Overview
from streamer.page.queries import Queries


@pytest.fixture
def store(tmp_path):
    store = a_store(tmp_path)
    yield store
    store.close()


def types(updates):
    return [one.header["type"] for one in updates]


def word(what, **fields):
    known = {
        "who": "anna",
        "frame_id": None,
        "group": None,
        "before": None,
        "after": None,
        "operator_ns": NOON,
    }
    return message("operator", what=what, **{**known, **fields})


def event(frame_ids, **fields):
    known = {"event": "repeat", "group": 3, "since": frame_ids[0], "n_frames": len(frame_ids), "name": None}
    known |= {"frame_ids": frame_ids, "regions": [[1, 2, 3, 4, 0.5]], "event_ns": NOON}
    return message("event", **{**known, **fields})


def test_the_first_verdict_stays_and_the_last_counts(store):
    told = store.take(verdict("part-1", label=False, meta={"part_id": 8841, "product_id": "A"}))
    assert types(told) == ["score"]
    told = store.take_all(
        [
            verdict("part-1", "revision", label=True, revision=1),
            verdict("part-1", "revision", label=True, revision=2),
        ]
    )
    assert types(told) == ["revised", "alarm"]
    revised = told[0].header
    assert (revised["n"], [one["key"] for one in revised["flips"]]) == (1, ["s:part-1"])
    frame = Queries(store).frame("line", "s:part-1")
    assert frame["first"] == {
        "raw": 0.3,
        "label": False,
        "threshold": 0.5,
        "scored": (NOON + SECOND // 10) / 1e6,
    }
    assert (frame["raw"], frame["label"], frame["revision"], frame["final"]) == (0.7, True, 2, False)
    assert frame["scored"] == frame["first"]["scored"]
    assert frame["flipped"] == (NOON + SECOND // 10 + 2 * SECOND) / 1e6
    assert (frame["part_id"], frame["product_id"], frame["latency_ms"]) == ("8841", "A", 12.5)
    assert frame["meta"] == {"part_id": 8841, "product_id": "A"}
    assert frame["change"] == store.cursor == 2


def test_a_revision_that_flips_nothing_is_one_update_that_may_be_dropped(store):
    store.take_all([verdict(number) for number in range(5)])
    told = store.take_all([verdict(number, "revision", revision=r) for r in (1, 2) for number in range(5)])
    assert [(one.header["type"], one.header["n"], one.header["flips"]) for one in told] == [
        ("revised", 5, [])
    ]
    assert not told[0].must_arrive


def test_a_revision_before_its_score(store):
    store.take(verdict(7, "revision", label=True, revision=3))
    frame = Queries(store).frame("line", "i:7")
    assert (frame["label"], frame["first"]["scored"], frame["alarm"]) == (True, None, 1)
    store.take(verdict(7, label=False))
    frame = Queries(store).frame("line", "i:7")
    assert (frame["label"], frame["revision"], frame["first"]["label"]) == (True, 3, False)
    assert Queries(store).scores()["total"] == 1


def test_a_revision_that_knows_no_time_is_counted_when_its_score_came(store):
    """The detector no longer knew when the frame was taken: its score says it."""
    store.take(verdict("a", "revision", label=True, capture_ns=0))
    store.take(verdict("a", label=False, capture_ns=NOON - 7200 * SECOND))
    two_hours_ago = NOON / 1e6 - 7_200_000
    assert Queries(store).tallies(two_hours_ago, two_hours_ago + 900_000) == {"line": (1, 1)}
    assert Queries(store).tallies(two_hours_ago + 900_000, 4e15) == {"line": (0, 0)}


def test_numbers_and_texts_are_two_ids(store):
    store.take_all([verdict(17), verdict("17"), verdict(2**64 - 1), verdict(-3)])
    keys = {frame["key"]: frame["frame_id"] for frame in Queries(store).scores()["frames"]}
    assert keys == {"i:17": 17, "s:17": "17", f"i:{2**64 - 1}": 2**64 - 1, "i:-3": -3}


@pytest.mark.parametrize(("seconds", "counts"), [(3600, (2, 1)), (0, (1, 0))], ids=["another", "the same"])
def test_an_id_used_again_is_another_frame(store, seconds, counts):
    """Both were inspected, unless it is the same one sent again: of that one the last score counts."""
    store.take_all([verdict("a", label=True), verdict("a", "revision", label=True)])
    store.review("line", "s:a", "defect", "anna", "scratch", None)
    store.take(picture_message("a", jpeg()))
    picture = Queries(store).picture_path("line", "s:a")
    assert picture.is_file()
    told = store.take(verdict("a", at=seconds, scored_ns=NOON + 3700 * SECOND))
    assert types(told) == ["score"]
    frame = Queries(store).frame("line", "s:a")
    assert (frame["label"], frame["revision"], frame["review"], frame["picture"]) == (False, 0, None, False)
    assert not picture.exists()
    tallies = Queries(store).tallies(0, 4e15)
    assert tallies == {"line": counts}


def test_the_same_message_twice_changes_nothing(store):
    sent = [
        verdict("a", label=True),
        verdict("a", "revision", label=False),
        word("pin", frame_id="a", after={"pinned": True}),
        event(["a"]),
    ]
    store.take_all(sent)

    def everything():
        queries = Queries(store)
        frame = {**queries.frame("line", "s:a"), "change": None}
        return frame, queries.alarms(), queries.events(), queries.audit(), queries.tallies(0, 4e15)

    before = everything()
    store.take_all(sent)
    assert everything() == before


def test_pictures_are_files_named_by_rows(store, tmp_path):
    hostile = "../../<img src=x onerror=alert(1)>"
    store.take(verdict(hostile))
    told = store.take(picture_message(hostile, jpeg(1)))
    assert [one.header for one in told] == [{"type": "picture", "stream": "line", "key": f"s:{hostile}"}]
    files = list(tmp_path.rglob("*.jpg"))
    assert [path.parent.parent for path in files] == [tmp_path / "pictures"]
    assert files[0].name == "1.jpg"
    assert Queries(store).picture_path("line", f"s:{hostile}").read_bytes() == jpeg(1)
    frame = Queries(store).frame("line", f"s:{hostile}")
    assert (frame["picture"], frame["shape"], frame["frame_id"]) == (True, [48, 64], hostile)


def test_a_picture_before_its_score_shows_nothing_yet(store):
    store.take(picture_message("a", jpeg()))
    assert Queries(store).scores()["frames"] == []
    store.take(verdict("a"))
    (frame,) = Queries(store).scores()["frames"]
    assert (frame["picture"], frame["label"]) == (True, False)
    assert Queries(store).tallies(0, 4e15) == {"line": (1, 0)}


@pytest.mark.parametrize(
    "payload", [b"", b"\xff\xd8", b"GIF89a", b"\xff\xd8\xff\xe0\0\x10JFIF", b"\xff" * 5_000_000]
)
def test_what_is_no_jpeg_is_not_kept(store, tmp_path, payload):
    store.take(verdict("a"))
    assert store.take(picture_message("a", payload)) == []
    assert store.bad == 1
    assert not list(tmp_path.rglob("*.jpg"))
    assert Queries(store).scores()["frames"][0]["picture"] is False


def test_pictures_that_no_row_knows_are_swept(tmp_path):
    store = a_store(tmp_path)
    store.take_all([verdict("a"), picture_message("a", jpeg())])
    kept = Queries(store).picture_path("line", "s:a")
    store.close()
    (kept.parent / "99.jpg").write_bytes(jpeg())
    (kept.parent / "98.part").write_bytes(b"half")
    (tmp_path / "pictures" / "2001-01-01").mkdir()
    store = a_store(tmp_path)
    assert [path for path in (tmp_path / "pictures").rglob("*") if path.is_file()] == [kept]
    assert not (tmp_path / "pictures" / "2001-01-01").exists()
    store.close()


def test_files_of_others_beside_the_pictures_stay(tmp_path):
    """`store.path` may be set to where somebody has pictures already."""
    mine = [
        tmp_path / "pictures" / name for name in ("2024/1.jpg", "2024-01-01/beach.jpg", "1.jpg", "a/b/2.jpg")
    ]
    mine += [tmp_path / "pictures" / "2024-01-02" / "3.jpg" / "within.txt"]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"mine")
    a_store(tmp_path).close()
    assert [path for path in mine if not path.exists()] == []


@pytest.mark.parametrize("encoding", ["grid", "float32", "png16"])
def test_a_map_is_kept_as_its_grid(store, encoding):
    scores = np.random.default_rng(0).random((7, 9)).astype(np.float32)
    entry, part = encode_map(interpolate(scores, (40, 50)), encoding, PatchGrid(scores))
    (told, *_) = store.take(verdict("a", anomaly_map=entry, payload=part))
    grid, rows, cols = Queries(store).grid("line", "s:a")
    assert told.grid == grid
    assert len(grid) == 4 * rows * cols
    frame = Queries(store).frame("line", "s:a")
    assert frame["map"]["max"] == pytest.approx(entry["max"])
    if encoding == "grid":
        assert (np.frombuffer(grid, "<f4").reshape(rows, cols) == scores).all()
        sides = {"rows": 7, "cols": 9, "min": entry["min"], "max": entry["max"]}
        assert frame["map"] == {**sides, "view": None, "ignored": False}


def test_a_damaged_map_costs_its_verdict_nothing(store):
    entry = {
        "encoding": "grid",
        "shape": [10, 10],
        "grid": [4, 4],
        "view": None,
        "min": 0,
        "max": 1,
        "mask_bytes": 0,
    }
    for number, wrong in enumerate(
        ({"grid": [4000, 4000]}, {"grid": "x"}, {"mask_bytes": 2**60}, {"shape": None})
    ):
        told = store.take(verdict(number, anomaly_map={**entry, **wrong}, payload=bytes(64)))
        assert types(told) == ["score"]
        assert told[0].grid is None
    assert store.bad == 4


def test_alarms_join_within_the_cooldown_and_ask_until_acknowledged(store):
    for at, frame_id in ((0, "a"), (5, "b"), (14, "c"), (40, "d")):
        store.take(verdict(frame_id, label=True, at=at))
    alarms = Queries(store).alarms()
    assert [(one["key"], one["n_frames"]) for one in alarms] == [("s:d", 1), ("s:a", 3)]
    told = store.acknowledge(1, "anna").header["alarm"]
    assert (told["ack_by"], told["ack_at"]) == ("anna", NOON / 1e6)
    assert store.acknowledge(1, "berta").header["alarm"]["ack_by"] == "anna"
    assert [one["id"] for one in Queries(store).alarms(open_only=True)] == [2]
    assert Queries(store).frame("line", "s:b")["acked"] is True
    assert Queries(store).frame("line", "s:d")["acked"] is False
    store.acknowledge(2, "anna")
    store.take(verdict("e", label=True, at=41))  # acknowledged is over: this one asks anew
    assert [one["id"] for one in Queries(store).alarms(open_only=True)] == [3]
    with pytest.raises(StreamerError, match="no alarm"):
        store.acknowledge(99, "anna")


def test_an_alarm_whose_frames_turn_out_normal_is_revised_and_stays(store):
    store.take_all([verdict("a", label=True), verdict("b", label=True, at=1)])
    store.take(verdict("a", "revision", label=False, revision=1))
    assert Queries(store).alarms()[0]["revised"] is None
    told = store.take(verdict("b", "revision", label=False, revision=1, at=1))
    assert [one["revised"] is not None for one in Queries(store).alarms()] == [True]
    assert told[-1].header["alarm"]["revised"] is not None
    store.take(verdict("b", "revision", label=True, revision=2, at=1))
    assert [one["revised"] for one in Queries(store).alarms()] == [None]


def test_a_frame_that_turns_anomalous_later_is_an_alarm(store):
    store.take(verdict("a", label=None))
    assert Queries(store).alarms() == []
    told = store.take(verdict("a", "revision", label=True))
    assert types(told) == ["revised", "alarm"]
    assert all(one.must_arrive for one in told)


def test_an_event_is_one_alarm_however_often_it_is_told(store):
    store.take_all([event(["p0", "p1"]), event(["p0", "p1", "p2"], event_ns=NOON + SECOND)])
    (told,) = Queries(store).events()
    assert (told["n_frames"], told["keys"], told["since"]) == (3, ["s:p0", "s:p1", "s:p2"], "s:p0")
    (alarm,) = Queries(store).alarms()
    assert (alarm["cause"], alarm["n_frames"], alarm["group"]) == ("repeat", 3, 3)
    facts = {"before": {"name": None, "n_frames": 3}, "after": {"name": "worn tool", "n_frames": 3}}
    assert types(store.take(word("reject", group=3, **facts))) == ["operator", "event"]
    (told,) = Queries(store).events()
    assert (told["decision"], told["who"], told["name"]) == ("reject", "anna", "worn tool")
    store.take(event(["q0", "q1"], event_ns=NOON + 9 * SECOND))  # the detector began anew, and counts again
    assert [one["decision"] for one in Queries(store).events()] == [None, "reject"]
    assert len(Queries(store).alarms()) == 2


@pytest.mark.parametrize("first", ["note", "word"])
def test_the_reason_of_a_threshold_stands_beside_it(store, first):
    facts = {"before": {"rule": "mad", "threshold": 0.5}, "after": {"rule": "fixed", "threshold": 0.4}}
    said = word("threshold", who="anna (admin)", operator_ns=NOON + SECOND, **facts)

    def note():
        store.note("line", None, "anna (admin)", "threshold", "scratches were missed")

    if first == "note":
        note()
    store.take_all([said, verdict("a")])
    if first == "word":
        note()
    (line,) = Queries(store).audit()
    assert (line["after"], line["note"]) == ({"rule": "fixed", "threshold": 0.4}, "scratches were missed")
    threshold = Queries(store).threshold("line")
    assert (threshold["rule"], threshold["who"], threshold["why"]) == (
        "fixed",
        "anna (admin)",
        "scratches were missed",
    )
    assert threshold["since"] == (NOON + SECOND) / 1e6
    assert threshold["threshold"] == 0.4, "no frame was scored by it yet"
    assert threshold["scores"] == [
        {"key": "s:a", "raw": 0.3, "label": False, "final": False, "decision": None}
    ]
    store.take(verdict("b", at=5, threshold=0.45))  # a rule goes on from where it was set
    assert Queries(store).threshold("line")["threshold"] == 0.45


def test_a_review_stays_beside_its_frame(store):
    store.take(verdict("a"))
    told = store.review("line", "s:a", "defect", "anna", "scratch", "left edge").header
    assert (told["type"], told["review"]["decision"]) == ("review", "defect")
    store.review("line", "s:a", "good", "berta", None, None)
    frame = Queries(store).frame("line", "s:a")
    assert (frame["review"]["decision"], frame["review"]["who"]) == ("good", "berta")
    assert [(one["what"], one["before"], one["note"]) for one in frame["words"]] == [
        ("review", None, "left edge"),
        ("review", {"decision": "defect", "kind": "scratch"}, None),
    ]
    for wrong in (("line", "s:b", "good"), ("other", "s:a", "good"), ("line", "s:a", "fine")):
        with pytest.raises(StreamerError):
            store.review(*wrong, "anna", None, None)


def test_losses_are_counted_by_reason(store):
    store.take_all([message("dropped", reason="drop_oldest", frame_id=1) for _ in range(3)])
    store.take_all(
        [
            message("error", stream="-", code="bad_header", text="x"),
            message("error", code="duplicate", text="x"),
        ]
    )
    lost = {"dropped": {"drop_oldest": 3}, "error": {"bad_header": 1, "duplicate": 1}}
    assert Queries(store).losses(None, 0, 4e15) == lost
    assert Queries(store).losses("line", 0, 4e15)["error"] == {"duplicate": 1}


def test_the_number_of_a_message_is_kept_with_it(tmp_path):
    store = a_store(tmp_path)
    store.take_all(
        [
            verdict("a", pub_seq=4),
            verdict("b", pub_seq=5),
            message("error", stream="-", pub_seq=9, code="x", text="x"),
        ]
    )
    assert store.last_pub_seq() == {"line/score": 5, "-/error": 9}
    store.close()
    store = a_store(tmp_path)
    assert store.last_pub_seq() == {"line/score": 5, "-/error": 9}
    assert store.cursor == 1
    store.close()


def write_much(store):
    for _ in range(1000):
        store.note("line", None, "anna", "note", "x" * 2000)


def test_a_full_disk_is_told_and_scores_are_shown(tmp_path):
    store = a_store(tmp_path)
    store.take(verdict("a", pub_seq=0))
    pages = store._database.execute("PRAGMA page_count").fetchone()[0]
    store._database.execute(f"PRAGMA max_page_count = {pages}")
    meta = {"note": "x" * 12_000}
    told = store.take_all(
        [verdict("b", pub_seq=1, label=True, meta=meta), verdict("c", pub_seq=2, meta=meta)]
    )
    assert [(one.header["frame"]["key"], one.header["frame"]["label"]) for one in told] == [
        ("s:b", True),
        ("s:c", False),
    ]
    assert store.failed == "database or disk is full"
    assert store.last_pub_seq() == {"line/score": 0}
    with pytest.raises(StreamerError, match="free some space"):
        write_much(store)
    store._database.execute("PRAGMA max_page_count = 1000000")
    store.take_all([verdict("b", pub_seq=1), verdict("c", pub_seq=2)])
    assert store.failed is None
    assert Queries(store).scores()["total"] == 3
    store.close()


def test_a_foreign_file_is_refused(tmp_path):
    other = sqlite3.connect(tmp_path / "page.sqlite")
    other.execute("CREATE TABLE cheese (name)")
    other.commit()
    other.close()
    with pytest.raises(StreamerError, match="another program's database"):
        a_store(tmp_path)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "page.sqlite").write_bytes(b"this is no database at all" * 100)
    with pytest.raises(StreamerError, match="is no store of this page"):
        a_store(tmp_path / "b")


def test_a_store_that_is_held_is_not_called_damaged(tmp_path):
    a_store(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "page.sqlite", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE counter SET value = 1")
        with pytest.raises(StreamerError, match=r"page\.sqlite: cannot be used \(database is locked\)"):
            a_store(tmp_path)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_deleted_under_the_page_is_told(store, tmp_path, replaced):
    store.take(verdict("a", pub_seq=0))
    (tmp_path / "page.sqlite").unlink()
    if replaced:
        (tmp_path / "page.sqlite").write_bytes(b"")
    told = store.take(verdict("b", pub_seq=1, label=True))
    assert [one.header["frame"]["key"] for one in told] == ["s:b"]
    assert "was deleted or replaced" in store.failed
    with pytest.raises(StreamerError, match="was deleted or replaced"):
        store.review("line", "s:a", "good", "anna", None, None)


def test_a_store_that_cannot_be_read_is_told_and_read_again_once_it_can(tmp_path):
    """Not a fault of the page's own, with a traceback every second: one line, until it is mended."""
    clock = Clock()
    store = a_store(tmp_path, clock)
    store.take(verdict("a"))
    queries, path = Queries(store), tmp_path / "page.sqlite"
    overview = Overview(store, Health(), SimpleNamespace(scores="s", control="c"))
    with closing(sqlite3.connect(path)) as other:
        other.execute("ALTER TABLE tally RENAME TO away")
    with pytest.raises(StreamerError, match=r"cannot be read \(no such table: tally\)"):
        queries.tallies(0, 4e15)
    assert "no such table" in overview.detector()["store"]["failed"]
    assert overview.streams() == []
    with closing(sqlite3.connect(path)) as other:
        other.execute("ALTER TABLE away RENAME TO tally")
    assert queries.tallies(0, 4e15) == {"line": (1, 0)}
    clock.now += 60 * SECOND
    assert overview.detector()["store"]["failed"] is None
    store.close()


def test_a_message_that_trips_the_store_costs_no_other(store, monkeypatch):
    """An error of ours, whatever it is: the batch is kept but for one, and nothing is asked for again."""
    score = store._verdicts.score

    def trips(verdict, written):
        score(verdict, written)
        if verdict.key == "s:b":
            raise ZeroDivisionError("of ours")

    monkeypatch.setattr(store._verdicts, "score", trips)
    told = store.take_all([verdict(one, pub_seq=number) for number, one in enumerate("abc")])
    assert [one.header["frame"]["key"] for one in told] == ["s:a", "s:c"]
    assert (Queries(store).scores()["total"], store.bad, store.failed) == (2, 1, None)
    store.take(verdict("b", pub_seq=3))
    assert store.last_pub_seq() == {"line/score": 3}


def test_a_folder_is_one_page_s(store, tmp_path):
    with pytest.raises(StreamerError, match="in use by another page"):
        a_store(tmp_path)


def test_good_frames_go_first(tmp_path):
    clock = Clock()
    store = a_store(tmp_path, clock, days=1)
    store.take_all(
        [
            verdict("good"),
            verdict("bad", label=True),
            verdict("seen"),
            picture_message("good", jpeg()),
            picture_message("bad", jpeg()),
        ]
    )
    store.review("line", "s:seen", "good", "anna", None, None)

    def kept(days):
        clock.now = NOON + round(days * 86400) * SECOND
        while store.tidy():
            pass
        return sorted(frame["frame_id"] for frame in Queries(store).scores()["frames"])

    assert kept(0.99) == ["bad", "good", "seen"]
    assert kept(1.01) == ["bad", "seen"]
    assert len(list(tmp_path.rglob("*.jpg"))) == 1
    assert kept(3.99) == ["bad", "seen"]
    assert kept(4.01) == []
    assert list(tmp_path.rglob("*.jpg")) == []
    assert (Queries(store).alarms(), Queries(store).audit(), store.n_bytes) == ([], [], 0)
    store.close()


def test_bytes_are_bounded(tmp_path):
    clock = Clock()
    store = a_store(tmp_path, clock, max_bytes=200_000)
    for number in range(300):
        clock.now += SECOND
        store.take_all([verdict(number, label=number % 10 == 0), picture_message(number, jpeg(number))])
    assert store.n_bytes > 200_000
    while store.tidy():
        pass
    assert store.n_bytes <= 200_000
    left = Queries(store).scores(limit=200)
    oldest_good = min(frame["frame_id"] for frame in left["frames"] if not frame["label"])
    oldest_bad = min(frame["frame_id"] for frame in left["frames"] if frame["label"])
    assert oldest_bad < oldest_good
    assert {frame["frame_id"] for frame in left["frames"] if not frame["label"]} == {
        n for n in range(oldest_good, 300) if n % 10
    }
    pictures = list(tmp_path.rglob("*.jpg"))
    assert len(pictures) == left["total"]
    assert store.n_bytes >= sum(path.stat().st_size for path in pictures)
    store.close()
