"""The store against a plain dictionary: random messages, in any order, repeated, with restarts in between."""

from collections import Counter

import hypothesis.strategies as st
from hypothesis import given, settings
from store_support import NOON, SECOND, a_store, jpeg, picture_message, verdict

from streamer.page.filters import Filters
from streamer.page.queries import Queries

FRAMES = st.tuples(st.sampled_from(["line", "board"]), st.sampled_from([1, "1", "part-2", -5]))
LABELS = st.sampled_from([True, False, None])
MESSAGES = st.lists(
    st.one_of(
        st.tuples(st.just("score"), FRAMES, LABELS, st.integers(0, 2)),
        st.tuples(st.just("revision"), FRAMES, LABELS, st.integers(1, 4), st.booleans()),
        st.tuples(st.just("picture"), FRAMES),
        st.tuples(st.just("review"), FRAMES),
    ),
    max_size=40,
)


class Model:
    """What the store should know: the newest scoring of each id, its first verdict and its last."""

    def __init__(self):
        self.frames, self.pictures, self.reviews = {}, set(), set()

    def take(self, kind, frame, label=None, number=0, final=False):
        if kind == "picture":
            self.pictures.add(frame)
            return
        if kind == "review":
            if frame in self.frames or frame in self.pictures:
                self.reviews.add(frame)
            return
        known = self.frames.get(frame)
        if kind == "score":
            scored = NOON + number * 100 * SECOND + SECOND // 10
            first = {"label": label, "scored": scored}
            if known is None or (known["first"] is not None and known["first"]["scored"] != scored):
                if known is not None:
                    self.pictures.discard(frame)
                    self.reviews.discard(frame)
                self.frames[frame] = {"first": first, "label": label, "order": (0, False), "scored": scored}
            elif known["first"] is None:
                known["first"] = first
            return
        scored = NOON + SECOND // 10 + number * SECOND
        now = {"label": label, "order": (number, final), "scored": scored}
        if known is None:
            self.frames[frame] = {"first": None, **now}
        elif scored > known["scored"] or (number, final) > known["order"]:
            known.update(now)

    def rows(self):
        return {
            (stream, frame_id, type(frame_id)): (
                one["first"] and one["first"]["label"],
                one["first"] and one["first"]["scored"] / 1e6,
                one["label"],
                *one["order"],
                (stream, frame_id) in self.pictures,
                (stream, frame_id) in self.reviews,
            )
            for (stream, frame_id), one in self.frames.items()
        }


def rows_of(store):
    found = {}
    for frame in Queries(store).export():
        key = frame["stream"], frame["frame_id"], type(frame["frame_id"])
        first = frame["first"]
        found[key] = (
            first["label"], first["scored"], frame["label"], frame["revision"], frame["final"],
            frame["picture"], frame["review"] is not None,
        )  # fmt: skip
        assert frame["alarm"] is not None or not frame["label"]
    return found


def message_of(kind, frame, label=None, number=0, final=False):
    stream, frame_id = frame
    if kind == "picture":
        return picture_message(frame_id, jpeg(), stream=stream)
    if kind == "score":
        return verdict(frame_id, stream=stream, label=label, at=number * 100, capture_ns=NOON)
    return verdict(frame_id, "revision", stream=stream, label=label, revision=number, is_final=final)


@settings(max_examples=60)
@given(MESSAGES, st.lists(st.integers(1, 12), max_size=40), st.sets(st.integers(0, 39)))
def test_the_store_is_the_dictionary(tmp_path_factory, messages, sizes, restarts):
    folder = tmp_path_factory.mktemp("store")
    store, model = a_store(folder), Model()
    waiting = list(messages)
    for turn, size in enumerate([*sizes, len(waiting) + 1]):
        batch, waiting = waiting[:size], waiting[size:]
        kept = []
        for kind, frame, *more in batch:
            model.take(kind, frame, *more)
            if kind != "review":
                kept.append(message_of(kind, frame, *more))
                continue
            store.take_all(kept)
            kept = []
            if (frame in model.frames) or (frame in model.pictures):
                key = f"{'i' if isinstance(frame[1], int) else 's'}:{frame[1]}"
                store.review(frame[0], key, "good", "anna", None, None)
        cursor = store.cursor
        told = store.take_all(kept)
        assert store.failed is None
        changed = {frame["key"] for frame in Queries(store).export(since=cursor)}
        assert {one.header["frame"]["key"] for one in told if one.header["type"] == "score"} <= changed
        if turn in restarts:
            store.close()
            store = a_store(folder)
    rows = rows_of(store)
    assert rows == model.rows()
    tally = Queries(store).tallies(0, 4e15)
    inspected = Counter(stream for stream, *_ in rows)
    anomalous = Counter(stream for (stream, *_), row in rows.items() if row[2])
    assert {stream: counts for stream, counts in tally.items() if counts != (0, 0)} == {
        stream: (inspected[stream], anomalous[stream]) for stream in inspected
    }
    assert sum(row[5] for row in rows.values()) <= len(list(folder.rglob("*.jpg")))
    with store.read() as database:
        sizes = database.execute("SELECT sum(bytes + picture_bytes) FROM frame").fetchone()[0] or 0
    assert store.n_bytes == sizes
    store.close()


SORTS = st.sampled_from(["time", "score"])


@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from([None, 0.1, 0.25, 1 / 3]), LABELS), max_size=30),
    SORTS,
    st.sampled_from(["any", "anomalous", "normal", "none"]),
    st.integers(1, 7),
    st.one_of(st.none(), st.sampled_from(["p1", "1", "%", "_", "p"])),
    st.tuples(st.integers(0, 5), st.integers(0, 6)),
)
def test_pages_of_a_list_are_the_list(tmp_path_factory, frames, sort, wanted, limit, q, between):
    store = a_store(tmp_path_factory.mktemp("store"))
    store.take_all(
        [
            verdict(f"p{number}", at=at, raw_score=raw, label=label)
            for number, (at, raw, label) in enumerate(frames)
        ]
    )
    filters = {"sort": sort, "verdict": wanted, "q": q}
    filters |= {"start": NOON / 1e6 + 1000 * between[0], "end": NOON / 1e6 + 1000 * between[1]}
    label_of = {"anomalous": True, "normal": False, "none": None}
    expected = [
        (at, raw, number)
        for number, (at, raw, label) in enumerate(frames)
        if (wanted == "any" or label is label_of[wanted])
        and (q is None or q in f"p{number}")
        and between[0] <= at < between[1]
    ]
    if sort == "time":
        expected.sort(key=lambda one: (one[0], one[2]), reverse=True)
    else:
        expected.sort(key=lambda one: (one[1] is not None, one[1] or 0, one[2]), reverse=True)
    queries, found, cursor = Queries(store), [], None
    while True:
        page = queries.scores(cursor=cursor, limit=limit, **filters)
        assert page["total"] == len(expected)
        found += page["frames"]
        cursor = page["next"]
        if cursor is None:
            break
    assert [frame["frame_id"] for frame in found] == [f"p{number}" for *_, number in expected]
    assert [frame["key"] for frame in queries.export(**filters)] == [frame["key"] for frame in found]
    assert Filters(q="%").where()[1][1:] == ["%!%%", "%!%%"]
    store.close()
