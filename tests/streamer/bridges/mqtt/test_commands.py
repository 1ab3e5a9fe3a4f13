"""Operators' words by way of a real broker and bridge to a real detector, and what must not get there."""

import asyncio
import json

import pytest
from bridge_support import Line, bridging, published
from mqtt_items import score
from mqtt_sinks import between, run, sinking
from mqtt_support import Listener, begun, broker, needs_mosquitto, retained, stopped
from streamer_support import PATIENCE_S, until
from structlog.testing import capture_logs

pytestmark = needs_mosquitto
BASE = "musc/press"
ALLOW = ["confirm", "threshold", "accept"]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with broker(tmp_path_factory.mktemp("broker")) as one:
        yield one


@pytest.fixture(scope="module")
def bridge(tmp_path_factory, running, detector):
    section = {"address": running.address, "line": "press", "commands": {"allow": ALLOW, "who": "scada"}}
    with bridging(tmp_path_factory.mktemp("bridge"), detector, "mqtt", section) as one:
        yield one


@pytest.fixture
def operator(running, bridge):
    """A client of the broker that says words and hears the answers."""
    with Listener(running.port, f"{BASE}/#", "operator") as one:
        one.until_last(f"{BASE}/availability", b"online")
        yield one
    assert bridge.pid


def said(operator, command, told, **properties):
    """Say it, and its answer."""
    topic = properties.get("ResponseTopic", f"{BASE}/answers/{command}")
    before = len(operator.of(topic))
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    operator.say(f"{BASE}/commands/{command}", body, **properties)
    return operator.until(topic, before + 1)[-1].said


def counts(operator):
    """Of the bridge, as it tells them last."""
    return operator.of(f"{BASE}/bridge")[-1].said["counts"]


def shown(detector, stream, count=6):
    """Ids of good parts that the detector has scored."""
    with Line(detector, stream) as line:
        return [line.show().frame_id for _ in range(count)]


def words(detector, stream):
    """What operators said of a stream, as the detector keeps it."""
    return published(detector, stream, ("operator",))["operator"]


def test_words_are_done_and_answered_where_the_sender_wants_it(operator, detector):
    stream = "words"
    part = shown(detector, stream)[2]
    confirmed = said(
        operator, "confirm",
        {"id": "c1", "stream": stream, "frame_id": part, "verdict": "defect", "name": "dent", "who": "anna"},
        ResponseTopic=f"{BASE}/answers/panel-7", CorrelationData=b"\x01\x02",
    )  # fmt: skip
    answer = operator.of(f"{BASE}/answers/panel-7")[-1]
    assert answer.properties.CorrelationData == b"\x01\x02"
    assert not answer.retain
    assert (confirmed["ok"], confirmed["code"], confirmed["id"], confirmed["command"]) == (
        True, None, "c1", "confirm",
    )  # fmt: skip
    assert confirmed["answer"]["frame_id"] == part
    preview = said(operator, "threshold", {"stream": stream, "value": 0.9, "preview": True})
    assert (preview["ok"], preview["answer"]["after"]["threshold"]) == (True, 0.9)
    moved = said(operator, "threshold", {"stream": stream, "value": 0.9})
    assert moved["answer"]["preview"] is False
    assert [(one["what"], one["who"]) for one in words(detector, stream)] == [
        ("confirm", "scada:anna"), ("threshold", "scada"),
    ]  # fmt: skip
    unknown = said(operator, "accept", {"stream": stream, "group": 99})
    assert (unknown["ok"], unknown["code"]) == (False, "unknown_group")
    # The bridge tells of them as of everybody's words.
    told = [one.said for one in operator.until(f"{BASE}/streams/{stream}/operator", 2)]
    assert [one["who"] for one in told] == ["scada:anna", "scada"]


def test_what_is_not_in_the_list_is_not_even_heard(operator, detector):
    part = shown(detector, "refused", 2)[0]
    for word in ("reject", "pin", "forget", "shutdown"):
        operator.say(f"{BASE}/commands/{word}", json.dumps({"stream": "refused", "frame_id": part}).encode())
    assert said(operator, "threshold", {"stream": "refused", "preview": True})["ok"]
    assert {one.topic for one in operator.heard if "/answers/" in one.topic} == {f"{BASE}/answers/threshold"}
    assert words(detector, "refused") == []


MALFORMED = [
    (b"", "malformed"),
    (b"\xff\xfe", "malformed"),
    (b"[1]", "malformed"),
    (b'{"stream": NaN}', "malformed"),
    (b"[" * 4000, "malformed"),
    (b'{"group": ' + b"9" * 3000 + b"}", "malformed"),
    (b'{"value": 1e999, "stream": "a"}', "bad_value"),
    (b" " * 5000, "payload_too_large"),
    (b'{"stream": "a/b", "value": 1}', "bad_value"),
    (b'{"stream": "a\\u0000", "value": 1}', "bad_value"),
    (b'{"stream": ["a"], "value": 1}', "bad_value"),
    (b'{"stream": "a", "value": 1, "kind": "shutdown"}', "unknown_key"),
    (b'{"stream": "a", "value": 1, "more": 1}', "unknown_key"),
    (b'{"stream": "a", "value": 1, "who": "x\\ny"}', "bad_value"),
    (b'{"stream": "a", "value": 1, "who": ""}', "bad_value"),
    (b'{"stream": "a", "value": 1, "id": {}}', "bad_value"),
    (b'{"stream": "a", "value": 1, "id": "\\ud800"}', "bad_value"),
    (b'{"stream": "no such stream", "value": 1}', "bad_value"),
]


def test_what_is_malformed_is_answered_in_one_line_and_counted(operator, running):
    for body, code in MALFORMED:
        answer = said(operator, "threshold", body)
        assert (answer["ok"], answer["code"], "\n" in answer["text"]) == (False, code, False), body
    for expected in {code for _, code in MALFORMED}:
        many = sum(code == expected for _, code in MALFORMED)
        operator.wait(
            lambda key=f"commands_{expected}", many=many: counts(operator).get(key, 0) >= many, expected
        )
    # What is larger than any command the broker keeps for itself, and the connection stands.
    operator.say(f"{BASE}/commands/threshold", b" " * 100_000)
    assert said(operator, "threshold", b"{}")["code"] == "bad_value"
    assert counts(operator)["connections"] == 1


@pytest.mark.parametrize(
    "topic", [f"{BASE}/availability", f"{BASE}/commands/threshold", "elsewhere", "$SYS/a"]
)
def test_an_answer_goes_to_no_topic_that_is_not_for_answers(operator, topic):
    before = len(operator.of(f"{BASE}/answers/threshold"))
    operator.say(f"{BASE}/commands/threshold", b"{}", ResponseTopic=topic)
    assert operator.until(f"{BASE}/answers/threshold", before + 1)[-1].said["code"] == "bad_value"
    assert operator.of(f"{BASE}/availability")[-1].payload == b"online"


def test_a_retained_command_is_not_done_and_its_sender_told(operator, bridge, running, detector):
    shown(detector, "kept", 2)
    command = {"id": "kept", "stream": "kept", "value": 0.8}
    topic, body = f"{BASE}/commands/threshold", json.dumps(command).encode()
    before = len(operator.of(f"{BASE}/answers/threshold"))
    operator.say(topic, body, retain=True)
    assert operator.until(f"{BASE}/answers/threshold", before + 1)[-1].said["code"] == "retained"
    bridge.terminate()
    bridge.start()  # it is there again, now as something kept
    assert operator.until(f"{BASE}/answers/threshold", before + 2)[-1].said["code"] == "retained"
    operator.say(topic, b"", retain=True)
    assert words(detector, "kept") == []


def test_a_command_that_comes_twice_is_done_once(operator, detector):
    part = shown(detector, "twice", 3)[1]
    command = {"id": "7", "stream": "twice", "frame_id": part, "verdict": "good"}
    first, again = (said(operator, "confirm", command) for _ in range(2))
    assert first["ok"]
    assert again == first
    other = said(operator, "confirm", {**command, "verdict": "defect"})
    assert (other["ok"], other["code"]) == (False, "id_reused")
    assert len(words(detector, "twice")) == 1


def test_a_command_that_a_killed_bridge_had_begun_is_not_begun_again(tmp_path, running, detector):
    shown(detector, "cut", 3)
    base, client = "musc/cut", "cut-off-bridge"
    section = {
        "address": running.address, "line": "cut", "client_id": client, "session_expiry_s": 3600,
        "commands": {"allow": ["threshold"]},
    }  # fmt: skip
    with (
        Listener(running.port, f"{base}/#", "other operator") as operator,
        bridging(tmp_path, detector, "mqtt", section) as bridge,
    ):
        operator.until_last(f"{base}/availability", b"online")
        with stopped(detector):
            for command in ({"id": "a", "value": 0.7}, {"value": 0.75}):
                told = json.dumps({"stream": "cut", **command}).encode()
                operator.say(f"{base}/commands/threshold", told)
            until(lambda: begun(bridge.queue) == ["a"])
            until(lambda: running.log.count(f"Sending PUBLISH to {client} (d0, q1") == 2)
            bridge.kill()
        bridge.start()  # the broker sends both again
        answers = [one.said for one in operator.until(f"{base}/answers/threshold", 2)]
        assert [one["code"] for one in answers] == ["outcome_unknown", "duplicate"]
        told = {"id": "b", "stream": "cut", "value": 0.8}
        operator.say(f"{base}/commands/threshold", json.dumps(told).encode())
        assert operator.until(f"{base}/answers/threshold", 3)[-1].said["ok"]
    assert [one["after"]["threshold"] for one in words(detector, "cut")] in ([0.7, 0.8], [0.8])


def test_what_the_log_has_not_told_of_commands_is_told_at_the_end(tmp_path, running):
    async def work(operator):
        async with sinking(tmp_path, running.address, line="told", commands={"allow": ["threshold"]}):
            for _ in range(3):
                operator.say("musc/told/commands/threshold", b"no JSON")
            await asyncio.to_thread(operator.until, "musc/told/answers/threshold", 3)

    with Listener(running.port, "musc/told/#", "told operator") as operator, capture_logs() as lines:
        run(work(operator))
    assert [line["times"] for line in lines if line["event"] == "mqtt_command"] == [1, 2]


def test_a_command_on_its_way_does_not_hold_up_the_end(tmp_path, running, detector):
    shown(detector, "ending", 2)
    section = {
        "address": running.address, "line": "ending",
        "commands": {"allow": ["threshold"], "timeout_s": 600},
    }  # fmt: skip
    with (
        Listener(running.port, "musc/ending/#", "ending operator") as operator,
        bridging(tmp_path, detector, "mqtt", section) as bridge,
    ):
        operator.until_last("musc/ending/availability", b"online")
        with stopped(detector):
            told = {"id": "a", "stream": "ending", "value": 0.7}
            operator.say("musc/ending/commands/threshold", json.dumps(told).encode())
            until(lambda: begun(bridge.queue) == ["a"])
            assert bridge.terminate() == 0
        operator.until_last("musc/ending/availability", b"offline")


def test_answers_and_verdicts_together_are_no_more_than_the_broker_takes(tmp_path, detector):
    """Whoever may publish commands could else have a strict broker cut the bridge off."""
    told = json.dumps({"id": "a", "stream": "no such", "value": 0.5}).encode()
    control = {"control": detector.endpoints["control"]}
    section = {"client_id": "us", "timeout_s": PATIENCE_S, "commands": {"allow": ["threshold"]}}
    with (
        broker(tmp_path, ["allow_anonymous true", "max_inflight_messages 2"]) as running,
        Listener(running.port, "musc/line/#") as operator,
    ):

        def sent(what):
            return [one for one in running.log.splitlines() if f"Received PUBLISH from us (d0, {what}" in one]

        async def work():
            async with (
                between(running.port) as (address, speaks),
                sinking(tmp_path, address, detector=control, **section) as sink,
            ):
                with stopped(detector):  # the command waits for it
                    operator.say("musc/line/commands/threshold", told)
                    await asyncio.to_thread(until, lambda: begun(tmp_path / "queue") == ["a"])
                    before = len(sent("q1"))
                    speaks.clear()  # nothing is confirmed from here on
                    verdicts = asyncio.ensure_future(sink.deliver([score(n) for n in range(1, 50)]))
                    await asyncio.to_thread(until, lambda: len(sent("q1")) > before)
                while not sink.counts()["commands_refused"][1]:
                    await asyncio.sleep(0.01)
                # On the same connection, behind whatever else was sent; at QoS 0 it counts for nothing.
                sink._connection._client.publish("mark", qos=0)
                await asyncio.to_thread(until, lambda: sent("q0"))
                on_the_way = len(sent("q1")) - before
                speaks.set()
                assert await verdicts == 49
                await asyncio.to_thread(operator.until, "musc/line/answers/threshold")
                return on_the_way

        assert run(work()) == 2


@pytest.mark.slow
def test_words_go_through_a_broker_of_before_as_well(tmp_path, running, detector):
    part = shown(detector, "old", 2)[0]
    section = {
        "address": running.address,
        "line": "old",
        "version": "3.1.1",
        "commands": {"allow": ["confirm"]},
    }
    with (
        Listener(running.port, "musc/old/#", "old operator") as operator,
        bridging(tmp_path, detector, "mqtt", section),
    ):
        operator.until_last("musc/old/availability", b"online")
        told = {"id": 1, "stream": "old", "frame_id": part, "verdict": "good"}
        operator.say("musc/old/commands/confirm", json.dumps(told).encode())
        answer = operator.until("musc/old/answers/confirm")[-1].said
        assert (answer["ok"], answer["id"]) == (True, "1")
        assert "musc/old/answers/confirm" not in retained(running.port)
