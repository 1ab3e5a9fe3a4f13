"""What the page reads and writes over HTTP: its store as it is, and words that a real detector does."""

import csv
import io
import json
import threading
from collections import Counter

import cv2
import msgpack
import numpy as np
import pytest
import zmq
from streamer_support import backbone, picture, serving, small_config, until
from web_support import DAY_NS, HOUR, PATIENCE_S, Visitor, fill, message, page_on, score
from websockets.sync.client import connect

from streamer import auth, overlays
from streamer.ask import ask
from streamer.page.rendering import map_as_png
from streamer.publish import Publisher
from streamer.tables import csv_text

__all__ = ["backbone"]

FORMULA = '=HYPERLINK("http://evil.example")'
MARKUP = "<img src=x onerror=alert(1)>/../..%2f"
QUARTER = HOUR // 4


def kept():
    """Three hours of frames of two streams, every sixth anomalous on arrival, some labelled anew later."""
    messages = []
    for n in range(60):
        at, label = DAY_NS + n * 3 * 60 * 10**9, n % 6 == 0
        meta = {"part_id": f"part {n}", "product_id": "nut"}
        messages.append(score(n, at, n / 100, label=label, meta=meta, seq=n))
        if n % 12 == 0:
            again = {
                **messages[-1],
                "kind": "revision",
                "pred_label": False,
                "revision": 1,
                "raw_score": 0.01,
            }
            messages.append(message("revision", "line", **{k: v for k, v in again.items() if k not in SET}))
    messages.append(score(FORMULA, DAY_NS, 0.7, stream="other", meta={"part_id": "@SUM(A1)"}))
    messages.append(score(MARKUP, DAY_NS + 1, 0.8, stream="other", label=True, known_defect="worn"))
    messages.append(message("dropped", "line", reason="queue_full", frame_id=1, seq=1))
    return messages


def happened(store):
    """At the end of the first hour."""
    for stream, lost in (("line", 3), ("other", 2)):
        store.note_gap(f"{stream}/score", 5, 9, lost, 5 - lost)
    store.note_gap("line/revision", 5, 9, 5, 0)
    store.begin_alarm("line", "silent")
    store.end_alarm("line", "silent")
    store.begin_alarm("other", "silent")
    store.note("line", None, "Anna", "threshold", "new lamp", {"threshold": 0.5}, {"threshold": 0.4})


SET = {"v", "kind", "stream", "pub_seq"}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    fill(folder, kept(), happened)
    with page_on(folder) as page:
        yield page


@pytest.fixture
def operator(page):
    with Visitor(page.url) as visitor:
        yield visitor.redeem(page.logins["operator"])


def everything(visitor, **filters):
    """All frames of `/api/scores`, part by part."""
    found, cursor = [], None
    while True:
        part = visitor.get("/api/scores", limit=7, **filters, **({"cursor": cursor} if cursor else {}))
        found += part["frames"]
        cursor = part["next"]
        if cursor is None:
            assert len(found) == part["total"]
            return found


def table(visitor, path, **params):
    answer = visitor.http.get(path, params=params)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith("attachment")
    return list(csv.DictReader(io.StringIO(answer.text)))


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"stream": "line"},
        {"verdict": "anomalous"},
        {"sort": "score", "stream": "line"},
        {"q": "part 1"},
        {"q": "%2"},
    ],
    ids=str,
)
def test_the_csv_is_the_store(operator, filters):
    rows, frames = table(operator, "/api/export.csv", **filters), everything(operator, **filters)
    assert len(rows) == len(frames)
    assert len(rows) == {"{'q': '%2'}": 1, "{'q': 'part 1'}": 11}.get(str(filters), len(rows)) > 0
    for row, frame in zip(rows, frames, strict=True):
        assert row["frame_id"].removeprefix("'") == str(frame["frame_id"])
        assert row["stream"] == frame["stream"]
        assert float(row["raw"]) == frame["raw"]
        assert float(row["first_raw"]) == frame["first"]["raw"]
        assert row["verdict"] == {True: "anomalous", False: "normal"}[frame["label"]]
        assert (
            np.datetime64(row["captured"].rstrip("Z")).astype("datetime64[ms]").astype(int)
            == frame["captured"] // 1
        )


def test_no_cell_is_a_formula(operator):
    rows = table(operator, "/api/export.csv", stream="other")
    assert {row["frame_id"] for row in rows} == {f"'{FORMULA}", MARKUP}
    assert {row["part_id"] for row in rows} == {"'@SUM(A1)", ""}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("text", ["=1", " =1", "x;=1", ';"=1', "x\r\n=1", "x\n;-1", "\t@A1", '"+1', "x\t+1"])
def test_no_spreadsheet_finds_a_formula(text, separator):
    """Whatever it takes for the separator: that of a whole country may be the semicolon."""
    written = "".join(csv_text(("a", "b"), [("first", text), (text, "last")]))
    rows = list(csv.reader(io.StringIO(written, newline=""), delimiter=separator))
    assert not [cell for row in rows for cell in row if cell.lstrip(' "\r\n\t').startswith(tuple("=+-@"))]
    plain = "part-1; left, 5 - 3 = 2"
    assert plain in "".join(csv_text(("a",), [(plain,)]))


def test_ids_of_any_kind_are_found_by_their_key(operator):
    for frame_id in (FORMULA, MARKUP):
        frame = operator.get("/api/frame", stream="other", key=f"s:{frame_id}")
        assert frame["frame_id"] == frame_id
    assert operator.get("/api/frame", stream="line", key="i:17")["part_id"] == "part 17"
    answer = operator.http.get("/api/frame", params={"stream": "line", "key": "s:17"})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_frame")


@pytest.mark.parametrize(("start", "end"), [(0, 12), (2, 5), (0.5, 2.75), (3.1, 3.7), (1.2, 9.9)])
def test_the_shift_report_is_a_count(operator, start, end):
    """By whole quarters of hours from tallies, at the ends from frames: the same as counting all of them."""
    edges = {"from": (DAY_NS + start * QUARTER) / 1e6, "to": (DAY_NS + end * QUARTER) / 1e6}
    report = operator.get("/api/report", stream="line", **edges)
    frames = [
        frame
        for frame in everything(operator, stream="line")
        if edges["from"] <= frame["captured"] < edges["to"]
    ]
    assert report["inspected"] == len(frames) > 0
    assert report["anomalous"] == sum(frame["label"] for frame in frames)
    flipped = sum(frame["first"]["label"] and not frame["label"] for frame in frames)
    assert (report["revised_to_normal"], report["revised_to_anomalous"]) == (flipped, 0)
    worst = sorted((frame["raw"] for frame in frames), reverse=True)[:8]
    assert [frame["raw"] for frame in report["worst"]] == worst
    first = int(start) * QUARTER // 10**6
    hours = Counter(int((frame["captured"] - DAY_NS / 1e6 - first) // 3_600_000) for frame in frames)
    assert {
        (hour["from"] - DAY_NS / 1e6 - first) / 3.6e6: hour["inspected"] for hour in report["by_hour"]
    } == hours
    rows = table(operator, "/api/report.csv", stream="line", **edges)
    assert {row["figure"]: row["value"] for row in rows}["inspected"] == str(len(frames))


def test_what_stood_still_was_lost_and_was_changed(operator):
    hour = {"from": DAY_NS / 1e6, "to": (DAY_NS + 2 * HOUR) / 1e6}
    at = (DAY_NS + HOUR) / 1e6
    line = operator.get("/api/report", stream="line", **hour)
    assert line["lost"] == 3
    assert line["dropped"] == {"queue_full": 1}
    assert line["stops"] == [{"stream": "line", "cause": "silent", "from": at, "to": at}]
    (change,) = line["thresholds"]
    assert (change["at"], change["who"], change["why"]) == (at, "Anna", "new lamp")
    both = operator.get("/api/report", **hour)
    assert both["lost"] == 5
    assert [(stop["stream"], stop["to"]) for stop in both["stops"]] == [("line", at), ("other", None)]
    later = {"from": hour["to"], "to": hour["to"] + 1}
    assert operator.get("/api/report", stream="line", **later)["lost"] == 0
    # What goes on is told of every time since.
    assert [stop["stream"] for stop in operator.get("/api/report", **later)["stops"]] == ["other"]
    rows = table(operator, "/api/report.csv", stream="line", **hour)
    assert {row["figure"] for row in rows} >= {"threshold", "stop from", "lost", "dropped", "worst"}


def test_a_report_of_no_time_is_refused(operator):
    for edges in ({"from": 2e12, "to": 1e12}, {"from": 0, "to": 1e13}):
        answer = operator.http.get("/api/report", params=edges)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_value")


def test_reviews_are_kept_told_and_counted(page, operator):
    edges = {"from": DAY_NS / 1e6, "to": (DAY_NS + 3 * HOUR) / 1e6}
    before = operator.get("/api/report", **edges)
    said = (
        ("i:6", "good", None),
        ("i:7", "defect", "scratch"),
        ("i:18", "defect", "=scratch"),
        ("i:9", "unsure", None),
    )
    with hearing(page, operator) as heard:
        for key, decision, kind in said:
            body = {"stream": "line", "key": key, "decision": decision, "kind": kind, "note": "by hand"}
            answer = operator.post("/api/review", body)
            assert answer.status_code == 200
            told = next_of(heard, "review")
            assert (told["key"], told["review"]) == (key, answer.json()["review"])
    frame = operator.get("/api/frame", stream="line", key="i:7")
    assert {**frame["review"], "at": 0} == {
        "decision": "defect", "who": "operator", "at": 0, "kind": "scratch", "note": "by hand"
    }  # fmt: skip
    assert [word["what"] for word in frame["words"]] == ["review"]
    report = operator.get("/api/report", **edges)
    assert report["reviewed"] == before["reviewed"] + 4
    # Labelled anomalous on arrival are 0, 6, 12, 18, ...
    assert (report["false_alarms"], report["missed"]) == (1, 1)
    assert sorted(kind["kind"] for kind in report["kinds"]) == ["=scratch", "scratch"]
    rows = {row["frame_id"]: row for row in table(operator, "/api/export.csv", stream="line", reviewed="yes")}
    assert rows["18"]["review_kind"] == "'=scratch"
    wrong = operator.post("/api/review", {"stream": "line", "key": "i:999", "decision": "good"})
    assert wrong.status_code == 400


def test_who_was_away_is_told_of_a_review_while_no_detector_is_there(page, operator):
    with hearing(page, operator) as heard:
        cursor = next_of(heard, "hello")["cursor"]
    operator.post("/api/review", {"stream": "line", "key": "i:30", "decision": "unsure"})
    with hearing(page, operator, f"?cursor={cursor}") as heard:
        assert next_of(heard, "missed")["n"] > 0


def test_an_alarm_is_acknowledged_by_name(page, operator):
    alarm = operator.get("/api/alarms", open=1, stream="other")["alarms"][0]
    with hearing(page, operator) as heard:
        assert operator.post("/api/ack", {"id": alarm["id"], "who": "Anna"}).status_code == 200
        assert next_of(heard, "alarm")["alarm"]["ack_by"] == "Anna (operator)"
    assert alarm["id"] not in {one["id"] for one in operator.get("/api/alarms", open=1)["alarms"]}
    assert operator.get("/api/audit", limit=1)["audit"][0]["who"] == "Anna (operator)"


def hearing(page, visitor, query=""):
    address = f"{page.url.replace('http', 'ws', 1)}/ws{query}"
    return connect(address, origin=page.url, additional_headers={"Cookie": visitor.cookie}, proxy=None)


def next_of(heard, kind):
    """The next message of a type; the header of one with a grid."""
    while True:
        said = heard.recv(PATIENCE_S)
        if isinstance(said, bytes):
            size = int.from_bytes(said[:4], "little")
            found = {**json.loads(said[4 : 4 + size]), "grid": said[4 + size :]}
        else:
            found = json.loads(said)
        if found["type"] == kind:
            return found


@pytest.fixture(scope="module")
def line(tmp_path_factory, backbone):
    """A real detector with keys, a page that may ask and one that may only look, and ten frames."""
    folder = tmp_path_factory.mktemp("line")
    roles = {"camera": "publishers", "page-1": "pages", "wall": "subscribers"}
    auth.create_keys(folder / "keys", roles)
    config = small_config(
        security={"keys": str(folder / "keys")},
        history={"path": str(folder / "history.sqlite")},
        transport={"map_encoding": "grid"},
    )
    with serving(config, backbone) as service:
        where = {name: service.endpoints[name] for name in ("scores", "control")}

        def page(name):
            keys = {
                "key": folder / "keys" / "clients" / f"{name}.key_secret",
                "server_key": folder / "keys" / "server.key",
            }
            return page_on(
                folder / name, detector={**where, **{key: str(path) for key, path in keys.items()}}
            )

        with page("page-1") as ours, page("wall") as wall:
            yield service, ours, wall, folder / "keys"


@pytest.fixture
def camera(line):
    service, _, _, keys = line
    own = auth.load_client(keys / "clients" / "camera.key_secret", keys / "server.key")

    def send(stream, count):
        with Publisher(service.endpoints["frames"], stream, keys=own, wait_s=PATIENCE_S) as camera:
            for seed in range(count):
                camera.send(picture(seed), f"{stream}-{seed}")

    return send


def admin_of(page):
    return Visitor(page.url).redeem(page.logins["admin"])


def test_words_reach_the_detector_with_who_said_them(line, camera):
    _, page, _, _ = line
    with admin_of(page) as admin, hearing(page, admin, "?streams=words") as heard:
        camera("words", 4)
        frames = [next_of(heard, "score") for _ in range(4)]
        assert len(frames[-1]["grid"]) == 4 * 4 * 4  # warm-up has no map
        key = frames[0]["frame"]["key"]
        body = {"stream": "words", "key": key, "kind": "false_alarm", "who": "Anna", "note": "dust"}
        assert admin.post("/api/operate", body).json()["frame_id"] == "words-0"
        word = next_of(heard, "operator")["word"]
        assert (word["who"], word["what"], word["key"]) == ("Anna (admin)", "false_alarm", key)
        until(lambda: admin.get("/api/frame", stream="words", key=key)["words"][-1:] and True)
        (kept,) = admin.get("/api/frame", stream="words", key=key)["words"]
        assert (kept["who"], kept["note"]) == ("Anna (admin)", "dust")
        asked = {"stream": "words", "value": 0.01, "preview": True}
        preview = admin.post("/api/threshold", asked).json()
        assert preview["keys_to_anomalous"] == [f"s:{frame_id}" for frame_id in preview["to_anomalous"]]
        done = admin.post("/api/threshold", {**asked, "preview": False, "why": "new lamp"}).json()
        assert (done["before"], done["after"]["threshold"]) == (preview["before"], 0.01)
        until(lambda: admin.get("/api/threshold", stream="words")["why"] == "new lamp")
        (change,) = admin.get("/api/report", stream="words")["thresholds"]
        assert (change["who"], change["why"]) == ("admin", "new lamp")
        review = {"stream": "words", "key": key, "decision": "good", "confirm": True}
        assert admin.post("/api/review", review).json()["confirm"]["known_frames"] == 1
        assert admin.post("/api/operate", {"kind": "reset", "stream": "words"}).json()["reset"] == 1
        wrong = admin.post("/api/operate", {"kind": "pin", "stream": "words", "key": "s:nothing"})
        assert (wrong.status_code, wrong.json()["code"]) == (409, "unknown_frame")
        wrong = admin.post("/api/operate", {"kind": "accept", "stream": "words", "group": 99})
        assert (wrong.status_code, wrong.json()["code"]) == (409, "unknown_group")


def test_the_grid_is_the_map(line, camera):
    _, page, _, _ = line
    with admin_of(page) as admin, hearing(page, admin, "?streams=maps") as heard:
        camera("maps", 3)
        frame = [next_of(heard, "score") for _ in range(3)][-1]
        key = frame["frame"]["key"]
        answer = admin.http.get("/api/grid", params={"stream": "maps", "key": key})
        assert (answer.headers["x-rows"], answer.headers["x-cols"]) == ("4", "4")
        assert answer.content == frame["grid"]
        grid = np.frombuffer(answer.content, "<f4")
        assert np.isclose(grid.max(), frame["frame"]["map"]["max"])
        drawn = admin.http.get("/api/map.png", params={"stream": "maps", "key": key, "scale": 8})
        assert drawn.headers["content-type"] == "image/png"
        assert drawn.content.startswith(b"\x89PNG")
        picture = cv2.imdecode(np.frombuffer(drawn.content, np.uint8), cv2.IMREAD_COLOR)
        threshold = frame["frame"]["threshold"]
        expected = map_as_png(frame["grid"], 4, 4, 8, threshold)
        assert drawn.content == expected
        assert (picture[:32, 32:] == 255).all()
        assert (picture[32:] == overlays.legend(overlays.Scale.about(threshold, grid), threshold, 120)).all()


def test_a_page_that_may_only_look_says_so(line, camera):
    _, _, wall, _ = line
    # Of its stream alone: this page may still be told of what other tests have shown.
    with admin_of(wall) as admin, hearing(wall, admin, "?streams=wall") as heard:
        until(lambda: admin.get("/api/hello")["detector"]["up"])  # it listens: there is no history for it
        camera("wall", 1)
        assert next_of(heard, "score")["frame"]["frame_id"] == "wall-0"
        until(lambda: admin.get("/api/hello")["read_only"])
        said = admin.post("/api/operate", {"kind": "flush"})
        assert (said.status_code, said.json()["code"]) == (409, "read_only")
        body = {"stream": "wall", "key": "s:wall-0", "decision": "good", "confirm": True}
        kept = admin.post("/api/review", body)
        assert (kept.status_code, kept.json()["confirm"]["code"]) == (200, "read_only")


def test_status_answers_the_page_s_key_alone(line):
    service, _, _, keys = line
    own = auth.load_client(keys / "clients" / "page-1.key_secret", keys / "server.key")
    assert ask({"kind": "status"}, service.endpoints["control"], keys=own, timeout_s=PATIENCE_S)["ok"]


class Impostor:
    """What sits where a detector should: its heartbeats and answers are what it likes."""

    def __init__(self):
        self._context = zmq.Context()
        self._scores, self._control = self._context.socket(zmq.PUB), self._context.socket(zmq.REP)
        ports = [socket.bind_to_random_port("tcp://127.0.0.1") for socket in (self._scores, self._control)]
        self.endpoints = dict(
            zip(("scores", "control"), (f"tcp://127.0.0.1:{n}" for n in ports), strict=True)
        )
        self.answer, self._ending = {"ok": True, "messages": []}, threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ending.set()
        self._thread.join()
        self._context.destroy(linger=0)

    def _serve(self):
        while not self._ending.is_set():
            for stream, facts in (("-", {}), ("line", {"capacity": 7.5, "state": 5, "threshold": "x"})):
                fields = {"v": 1, "kind": "status", "pub_seq": 0, "stream": stream, **facts}
                self._scores.send_multipart([f"{stream}/status".encode(), msgpack.packb(fields)])
            while self._control.poll(100):
                kind = msgpack.unpackb(self._control.recv())["kind"]
                history = {"ok": True, "messages": []}
                self._control.send(msgpack.packb(history if kind == "history" else self.answer))


def test_no_answer_whatever_is_a_fault_of_the_page(tmp_path):
    with (
        Impostor() as detector,
        page_on(tmp_path, detector=detector.endpoints) as page,
        Visitor(page.url) as admin,
    ):
        admin.redeem(page.logins["admin"])
        until(lambda: [one["stream"] for one in admin.get("/api/streams")["streams"]] == ["line"])
        assert admin.get("/api/threshold", stream="line")["window"] == 7
        for wrong in (
            {"before": 5}, {"after": None}, {"to_anomalous": [None]}, {"to_normal": 5}, {"x": b"\xff"},
            {"x": float("nan")}, {"to_normal": [{"a": 1}]},
        ):  # fmt: skip
            detector.answer = {"ok": True, **wrong}
            answer = admin.post("/api/threshold", {"stream": "line", "preview": True, "value": 0.5})
            assert (answer.status_code, answer.json()["code"]) == (502, "bad_answer"), wrong
            if "x" in wrong:
                answer = admin.post("/api/operate", {"kind": "snapshot"})
                assert (answer.status_code, answer.json()["code"]) == (502, "bad_answer"), wrong
        detector.answer = {"ok": True, "before": {}, "after": {}, "to_normal": [1, "1"], "to_anomalous": []}
        answer = admin.post("/api/threshold", {"stream": "line", "preview": True, "value": 0.5})
        assert answer.json()["keys_to_normal"] == ["i:1", "s:1"]


def test_no_detector_is_said_at_once(page, operator):
    body = {"stream": "line", "key": "i:1", "kind": "pin"}
    answer = operator.post("/api/operate", body)
    assert (answer.status_code, answer.json()["code"]) == (504, "no_detector")
