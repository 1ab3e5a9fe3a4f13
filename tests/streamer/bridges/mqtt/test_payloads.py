import dataclasses
import json
from pathlib import Path

import pytest
from mqtt_items import revision, score

from streamer.bridges.mqtt.counted import in_status
from streamer.bridges.mqtt.payloads import FIELDS, encode, payload
from streamer.bridges.mqtt.states import COUNTS, STREAMS, States
from streamer.bridges.sink import Item, Refused

MOST = 256 * 1024
BRIDGE = "0123456789abcdef"


def said(item, most=MOST, **more):
    return json.loads(payload(item, BRIDGE, most=most, **more))


def test_a_verdict_has_the_same_fields_whatever_its_header_lacks():
    whole, bare = said(score(3)), said(Item(4, "verdict", "a/revision", 0, "a", {}))
    assert list(whole) == list(bare)
    assert whole["frame_id"] == "part-0003"
    assert whole["number"] == whole["pub_seq"] == 3
    assert whole["bridge"] == BRIDGE
    assert whole["before"] is None
    assert whole["is_partial"] is True
    assert "anomaly_map" not in whole
    assert bare["raw_score"] is None


def test_every_field_stands_on_the_page():
    page = (Path(__file__).parents[4] / "docs" / "bridges-mqtt.md").read_text()
    states = States(BRIDGE)
    states.take(score(1))
    fields = {
        *said(score(1)),
        *states.body("line"),
        *COUNTS,
        *(name for names in FIELDS.values() for name in names),
    }
    assert not {name for name in fields if f"`{name}`" not in page}


def test_a_revision_says_what_was_told_before():
    told = said(revision(9, of=3, revision=2, label=True, before=False, is_final=True))
    assert (told["before"], told["pred_label"], told["revision"]) == (False, True, 2)
    assert told["is_partial"] is False
    assert told["topic"] == "line/revision"


@pytest.mark.parametrize("frame_id", [17, "17", -(2**63), 2**64 - 1, "Prüfteil\n\u202e"])
def test_a_frame_id_stays_number_or_text(frame_id):
    told = said(score(0, frame_id=frame_id))["frame_id"]
    assert (type(told), told) == (type(frame_id), frame_id)


def test_what_json_cannot_say_is_null_and_the_rest_stays():
    meta = {"a": float("nan"), "b": float("-inf"), "c": b"x", "d": [1, float("nan")], "e": "\u2028"}
    told = said(score(0, raw_score=float("nan"), meta=meta))
    assert told["raw_score"] is None
    assert told["meta"] == {"a": None, "b": None, "c": None, "d": [1, None], "e": "\u2028"}
    deep: list = []
    for _ in range(5000):
        deep = [deep]
    assert said(score(0, meta=deep))["meta"]  # cut off, and no error


def test_every_payload_is_ascii_on_one_line():
    encoded = payload(score(0, frame_id="a\nb\u2029c\x7f"), BRIDGE, most=MOST)
    assert encoded.isascii()
    assert b"\n" not in encoded


def test_of_what_is_too_long_parts_are_left_out_and_named():
    item = score(0, meta={"note": "x" * 3000}, regions=[[1, 2, 3, 4, 0.5]] * 64)
    told = said(item, most=2500)
    assert told["cut"] == ["meta"]
    assert told["meta"] is None
    assert len(told["regions"]) == 64
    assert said(item, most=1000)["cut"] == ["meta", "regions"]
    with pytest.raises(Refused, match=r"verdict 0: has \d+ bytes"):
        payload(item, BRIDGE, most=300)


@pytest.mark.parametrize("kind", [kind for kind in FIELDS if kind != "verdict"])
def test_other_kinds_have_their_fields(kind):
    header = dict.fromkeys(FIELDS[kind], 1) | {"anomaly_map": 1, "new_key": 1}
    told = said(Item(1, kind, f"a/{kind}", 5, "a", header))
    assert {name for name in told if told[name] == 1} == {"v", "number", *FIELDS[kind]}
    assert told["kind"] == kind


def test_what_is_gone_from_the_history_says_of_which_topic():
    lost = Item(1, "dropped", "", -1, "a", {"lost": 3, "first": 5, "last": 7, "topic": "a/score"})
    told = said(lost)
    assert [told[key] for key in ("topic", "lost", "first", "last", "reason")] == ["a/score", 3, 5, 7, None]


def test_the_state_is_the_newest_score_and_later_words_of_the_same_frame():
    states = States(BRIDGE)
    states.take(score(1))
    states.take(score(2, pred_label=True))
    assert states.body("line")["pred_label"] is True
    states.take(revision(3, of=1, revision=1, label=True, before=False, threshold=0.7))
    body = states.body("line")
    assert (body["frame_id"], body["revision"], body["threshold"]) == ("part-0002", 0, 0.7)
    states.take(revision(4, of=2, revision=1, label=False, before=True))
    body = states.body("line")
    assert (body["frame_id"], body["revision"], body["pred_label"]) == ("part-0002", 1, False)
    assert {name: body["counts"][name] for name in ("scores", "anomalous", "revisions", "changed")} == {
        "scores": 2, "anomalous": 1, "revisions": 2, "changed": 2,
    }  # fmt: skip


def test_what_comes_again_is_counted_once_also_after_a_restart():
    states = States(BRIDGE)
    items = [score(1), score(2), Item(3, "dropped", "line/dropped", -1, "line", {"lost": 4})]
    assert all(map(states.take, items))
    again = States(BRIDGE, {stream: json.loads(encode(states.body(stream))) for stream in states.streams})
    assert not any(map(again.take, items))
    assert again.take(score(4))
    assert again.body("line")["counts"] == dict.fromkeys(COUNTS, 0) | {"scores": 3, "dropped": 4}


def test_a_state_of_another_queue_begins_anew_whose_numbers_are_lower():
    states = States(BRIDGE)
    states.take(score(5000))
    body = json.loads(encode(states.body("line")))
    anew = States("f" * 16, {"line": body})
    assert anew.streams == ["line"]  # so the broker is told that nothing is known of it
    assert (anew.body("line")["frame_id"], anew.body("line")["counts"]["scores"]) == (None, 0)
    assert anew.take(score(1, pred_label=True))
    assert (anew.body("line")["frame_id"], anew.body("line")["pred_label"]) == ("part-0001", True)
    assert (anew.body("line")["bridge"], body["bridge"]) == ("f" * 16, BRIDGE)


def test_a_number_and_the_same_as_text_are_two_frames():
    states = States(BRIDGE)
    states.take(score(1, frame_id="17"))
    late = revision(2, of=1, revision=1, label=True, before=False)
    states.take(dataclasses.replace(late, header={**late.header, "frame_id": 17}))
    assert states.body("line")["pred_label"] is False


def test_streams_that_never_end_do_not_fill_the_memory():
    states = States(BRIDGE)
    for number in range(STREAMS + 10):
        states.take(score(number, f"s{number}"))
    assert len(states.streams) == STREAMS


def test_the_status_has_every_count_under_a_name_that_stays():
    said = {"connections": 2, "lost": 1, "commands_done": 3, "commands_again": 1, "commands_busy": 4}
    said |= {"commands_malformed": 5, "commands_lost": 6, "commands_response_topic_refused": 7}
    counts = {name: count for name, (_, count) in in_status(said).items()}
    assert counts == {
        "connections": 2,
        "connections_lost": 1,
        "pictures_left_out": 0,
        "topics_left_out": 0,
        "commands": 3,
        "commands_refused": 9,
        "commands_lost": 6,
    }
    assert in_status({}).keys() == counts.keys()
