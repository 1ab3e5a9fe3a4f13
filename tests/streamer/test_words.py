"""What an operator can say over the control socket: done and told to everybody, or refused in a line."""

import math
import re

import pytest
from click.testing import CliRunner
from operator_support import LEARNED, learned, line_config, listening, show_parts, words
from snapshot_support import play
from streamer_support import Screen, backbone, control, serving, small_config

from streamer.errors import WireError
from streamer.operate import main as operate_main
from streamer.wire.requests import check_word

pytestmark = pytest.mark.engines("always")

__all__ = ["backbone"]

LEFT = {"label": None, "truth": "good", "pinned": False, "quarantined": False, "name": None}


@pytest.fixture(scope="module")
def line(backbone):
    """One that has learned its product; nothing that is said of it here matters to another test."""
    with serving(line_config(), backbone) as service:
        learned(service)
        yield service


def test_a_threshold_is_tried_then_set(backbone):
    with serving(line_config(ring={"admit": "all"}), backbone) as line, Screen(line, "line/") as screen:
        learned(line)
        shown = control(line, "status")["streams"]["line"]
        asked = {"value": 1e-3, "stream": "line", "who": "anna"}
        tried = control(line, "threshold", preview=True, **asked)
        assert tried["preview"] is True
        assert tried["before"] == {"rule": "fixed", "threshold": 0.12, "wrong": [], "n_wrong": 0}
        assert tried["after"] == {"rule": "fixed", "threshold": 1e-3, "wrong": [], "n_wrong": 0}
        assert (tried["n_to_anomalous"], tried["n_to_normal"], tried["to_normal"]) == (LEARNED, 0, [])
        assert tried["to_anomalous"] == [f"a{seed}" for seed in range(LEARNED)]
        assert control(line, "status")["streams"]["line"] == shown, "a preview changes nothing"
        done = control(line, "threshold", **asked)
        assert {**done, "preview": True} == tried
        (word,) = screen.until(1, "operator")
        revised = screen.until(LEARNED, "revision")
        assert (
            word
            | {
                "stream": "line",
                "who": "anna",
                "what": "threshold",
                "frame_id": None,
                "group": None,
                "before": {"rule": "fixed", "threshold": 0.12},
                "after": {"rule": "fixed", "threshold": 1e-3},
            }
            == word
        )
        assert all(fields["threshold"] == 1e-3 and fields["pred_label"] for fields in revised)
        shown = control(line, "status")["streams"]["line"]
        assert (shown["threshold"], shown["threshold_rule"]) == (1e-3, "fixed")
        assert control(line, "threshold", stream="line", false_alarms=0.05)["after"]["rule"] == "auto"
        assert control(line, "threshold", stream="line", rule="quantile")["after"]["rule"] == "quantile"
        assert control(line, "threshold", stream="line", rule="fixed", value=0.3)["n_to_anomalous"] == 0
        assert len(words(line)) == 4, "previews are not told"


def test_lists_of_an_answer_are_bounded(line, monkeypatch):
    monkeypatch.setattr("streamer.server.words._MOST", 4)
    tried = control(line, "threshold", stream="line", value=1e-3, preview=True)
    assert (tried["n_to_anomalous"], tried["to_anomalous"]) == (LEARNED, ["a36", "a37", "a38", "a39"])


def test_confirmed_frames_are_known_when_they_have_left(backbone):
    with serving(line_config(ring={"capacity": LEARNED + 2}), backbone) as service:
        learned(service)
        with listening(service) as (screen, camera):
            answer = control(service, "confirm", stream="line", frame_id="a2", verdict="good", who="anna")
            assert (answer["frame_id"], answer["known_frames"], answer["images"]) == ("a2", 1, LEARNED)
            assert answer["threshold"] == control(service, "status")["streams"]["line"]["threshold"]
            answer = control(
                service, "confirm", stream="line", frame_id="a3", verdict="defect", name="scratch"
            )
            assert (answer["known_frames"], answer["images"]) == (2, LEARNED - 1)
            good, defect = screen.until(2, "operator")
            facts = {"label": False, "truth": None, "pinned": False, "quarantined": False, "name": None}
            assert (good["who"], good["what"], good["frame_id"]) == ("anna", "confirm", "a2")
            assert (good["before"], good["after"]) == (facts, {**facts, "truth": "good"})
            assert (defect["who"], defect["before"]) == (None, facts)
            assert defect["after"] == {
                "label": True,
                "truth": "defect",
                "pinned": False,
                "quarantined": True,
                "name": "scratch",
            }
            wrong = control(service, "threshold", stream="line", value=0.9, preview=True)["after"]
            assert (wrong["n_wrong"], wrong["wrong"]) == (1, ["a3"])
            control(service, "threshold", stream="line", value=0.9)  # whatever comes is a reference
            show_parts(camera, 0, range(50, 62))
            screen.until(1 + 12, "operator", "score")
            answer = control(service, "confirm", stream="line", frame_id="a2", verdict="defect")
            assert answer["known_frames"] == 2
            (word,) = screen.until(1, "operator")
            assert (word["before"], word["after"]) == (LEFT, {**LEFT, "truth": "defect"})
            with pytest.raises(WireError, match="'a1', which is not in the ring") as refused:
                control(service, "confirm", stream="line", frame_id="a1", verdict="good")
            assert refused.value.code == "unknown_frame"
        assert control(service, "status")["streams"]["line"]["known_frames"] == 2


def test_every_word_on_a_frame_says_who_and_what_changed(line):
    facts = {"label": False, "truth": None, "pinned": False, "quarantined": False, "name": None}
    good = {**facts, "truth": "good"}
    pinned = {**good, "pinned": True}
    with Screen(line, "line/operator") as screen:
        for what, frame_id, before, after in (
            ("pin", "a4", facts, pinned),
            ("unpin", "a4", pinned, good),
            ("false_alarm", "a5", facts, good),
            ("forget", "a5", good, None),
        ):
            control(line, what, stream="line", frame_id=frame_id, who="Zoë, shift 2")
            (word,) = screen.until(1, "operator")
            assert (word["who"], word["what"], word["frame_id"]) == ("Zoë, shift 2", what, frame_id)
            assert (word["before"], word["after"], word["group"]) == (before, after, None)
        control(line, "pin", stream="line", frame_id="a6", a_key_of_an_old_client=1)
        assert screen.until(1, "operator")[0]["who"] is None
        control(line, "unpin", stream="line", frame_id="a6")


FRAME = {"stream": "line", "frame_id": "a0"}
LINE = {"stream": "line"}


REFUSED = [
    ("confirm", FRAME, "bad_value", "verdict: got None, expected 'good' or 'defect'"),
    ("confirm", {**FRAME, "verdict": True}, "bad_value", "verdict: got True, expected"),
    ("confirm", {**FRAME, "verdict": "good", "name": ""}, "bad_value", "name: got '', expected 1 to 200"),
    ("confirm", {**FRAME, "verdict": "good", "name": "x" * 201}, "bad_value", "name: got 'xxx"),
    (
        "confirm",
        {**FRAME, "verdict": "good", "names": "x"},
        "unknown_key",
        "the key 'names', expected of",
    ),
    ("confirm", {"stream": "line", "verdict": "good"}, "bad_value", "frame_id: of a frame in the ring}"),
    ("confirm", {**FRAME, "frame_id": [], "verdict": "good"}, "bad_value", "frame_id: got []"),
    ("pin", {**FRAME, "who": 7}, "bad_value", "who: got 7, expected 1 to 200 printable characters"),
    ("pin", {**FRAME, "who": "a\nb"}, "bad_value", "who: got 'a\\nb', expected"),
    ("pin", {"frame_id": "a0", "stream": "gone"}, "bad_value", "open streams: line"),
    ("threshold", LINE, "bad_value", "expected at least one of rule, value, false_alarms"),
    ("threshold", {"value": 0.1}, "bad_value", "threshold: expected {stream: name}"),
    ("threshold", {**LINE, "value": True}, "bad_value", "value: got True, expected a finite number"),
    ("threshold", {**LINE, "value": "0.1"}, "bad_value", "value: got '0.1', expected a finite number"),
    ("threshold", {**LINE, "false_alarms": 0.5}, "bad_value", "false_alarms: got 0.5, input should be"),
    ("threshold", {**LINE, "rule": "magic"}, "bad_value", "rule: got 'magic', input should be 'auto'"),
    ("threshold", {**LINE, "rule": 3}, "bad_value", "rule: got 3, expected"),
    ("threshold", {**LINE, "rule": "auto", "value": 0.1}, "bad_value", "value: got 0.1 with rule 'auto'"),
    ("threshold", {**LINE, "rule": "mad", "false_alarms": 0.1}, "bad_value", "with rule 'mad', expected"),
    ("threshold", {**LINE, "false_alarms": 0.1, "value": 1}, "bad_value", "0.1 beside value 1"),
    ("threshold", {**LINE, "value": 1, "preview": 1}, "bad_value", "preview: got 1, expected true or"),
    (
        "threshold",
        {**LINE, "value": 1, "preveiw": True},
        "unknown_key",
        "'preveiw', expected of false_al",
    ),
    ("accept", LINE, "bad_value", "group: got None, expected a number"),
    ("accept", {**LINE, "group": True}, "bad_value", "group: got True, expected a number"),
    ("accept", {**LINE, "group": 99}, "unknown_group", "group: got 99, expected one of none"),
    ("accept", {**LINE, "group": 1, "name": "x"}, "unknown_key", "the key 'name', expected of group,"),
    ("reject", {**LINE, "group": 1}, "bad_value", "name: got None, expected 1 to 200"),
    ("reject", {**LINE, "group": "1", "name": "x"}, "bad_value", "group: got '1', expected a number"),
    ("reject", {**LINE, "group": 99, "name": "x"}, "unknown_group", "group: got 99"),
]


@pytest.mark.parametrize(("kind", "fields", "code", "text"), REFUSED)
def test_a_wrong_word_is_refused_in_one_line_and_not_told(line, kind, fields, code, text):
    told, shown = len(words(line)), control(line, "status")["streams"]["line"]
    with pytest.raises(WireError, match=re.escape(text)) as refused:
        control(line, kind, **fields)
    assert (refused.value.code, "\n" in refused.value.text) == (code, False)
    assert (len(words(line)), control(line, "status")["streams"]["line"]) == (told, shown)


def test_numbers_that_are_none_are_refused(line):
    """`ask` sends null for them, others may not."""
    for key, number in (("value", math.nan), ("false_alarms", math.inf)):
        with pytest.raises(WireError, match=f"{key}: got {number}, expected a finite number"):
            check_word("threshold", {"stream": "line", key: number})
        option = f"--{key.replace('_', '-')}"
        done = CliRunner().invoke(operate_main, ["threshold", "--stream", "line", option, str(number)])
        wrong = f"error: Invalid value for '{option}': got {number}, expected a number of at most 1e+12\n"
        assert (done.exit_code, done.stderr) == (2, wrong)


def test_a_fixed_rule_needs_a_value_once(backbone):
    with serving(line_config(threshold={"rule": "auto"}), backbone) as service:
        learned(service)
        with pytest.raises(WireError, match="value: missing, expected a raw score"):
            control(service, "threshold", stream="line", rule="fixed")
        control(service, "threshold", stream="line", value=0.5)
        control(service, "threshold", stream="line", rule="auto")
        assert control(service, "threshold", stream="line", rule="fixed")["after"]["threshold"] == 0.5


def test_a_stream_without_a_ring_has_nothing_to_speak_of(backbone):
    with serving(small_config(), backbone) as service:
        play(service, range(2))
        control(service, "reset")
        for kind, fields, code in (
            ("confirm", {"frame_id": "line-0", "verdict": "good"}, "unknown_frame"),
            ("accept", {"group": 1}, "unknown_group"),
            ("threshold", {"value": 0.1}, "bad_value"),
        ):
            with pytest.raises(WireError, match="stream") as refused:
                control(service, kind, stream="line", **fields)
            assert refused.value.code == code


def test_what_cannot_be_done_with_a_frame_is_no_unknown_frame(backbone):
    with (
        serving(line_config(ring={"capacity": 6}), backbone) as service,
        listening(service) as (screen, camera),
    ):
        show_parts(camera, 0, range(6))
        show_parts(camera, 1, range(1))
        screen.until(7, "score")
        for seed in range(6):
            control(service, "pin", stream="line", frame_id=f"a{seed}")
        with pytest.raises(WireError, match="all 6 slots are pinned") as refused:
            control(service, "pin", stream="line", frame_id="b0")
        assert refused.value.code == "bad_frame"
        assert words(service)[-1]["frame_id"] == "a5"


def test_a_word_is_the_same_for_null_and_nothing():
    asked = {"stream": "line", "frame_id": 1, "verdict": "good"}
    assert check_word("confirm", asked) == check_word("confirm", {**asked, "name": None, "who": None})
