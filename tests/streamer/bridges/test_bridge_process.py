"""A real detector, bridge and receiver, each killed in the middle: every verdict arrives, in order."""

import json
import subprocess
import sys
import threading
import urllib.request

import pytest
from bridge_support import Line, Witness, bridging, verdicts_to_tell, wait_for_all
from receiver_support import BRIDGE, own_modules, receiving
from streamer_support import PATIENCE_S, control, one_thread, until

__all__ = ["one_thread", "own_modules"]

pytestmark = pytest.mark.usefixtures("own_modules", "one_thread")


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


def scored(server, stream, count):
    until(lambda: control(server, "status")["streams"].get(stream, {}).get("scored") == count)


def figures(bridge):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{bridge.status}/metrics", timeout=PATIENCE_S) as answer:
        lines = answer.read().decode().splitlines()
    found = dict(line.rsplit(" ", 1) for line in lines if line.startswith("musc_bridge"))
    return {
        key.removeprefix("musc_bridge_").partition("{")[0]: float(value)
        for key, value in found.items()
        if "_created" not in key
    }


def test_every_verdict_arrives_in_order_whoever_is_killed(tmp_path, detector, receiver):
    with (
        bridging(tmp_path, detector, BRIDGE, {"port": receiver.port}, tell={"streams": ["killed"]}) as bridge,
        Witness(detector) as witness,
        Line(detector, "killed") as line,
    ):
        for turn in range(3):
            for number in range(12):
                line.send("stain" if number % 5 == 4 else "good")
                if number == 5 and turn != 1:
                    bridge.kill()
                if number == 5 and turn:
                    receiver.stop()
            scored(detector, "killed", 12 * (turn + 1))
            if turn != 1:
                bridge.start()
            if turn:
                receiver.start()
        control(detector, "flush", stream="killed")
        wait_for_all(detector, "killed", receiver.arrivals)
        assert set(witness.heard) <= set(receiver.arrivals())
        assert len(witness.heard) >= 72
        # What was known to have arrived did not come again: at most one batch a kill and cut.
        numbers = [item["number"] for item in receiver.items]
        assert len(numbers) - len(set(numbers)) <= 4 * 100
        assert "bridge_receiver_down" in bridge.log


@pytest.mark.slow
def test_only_revisions_that_change_the_verdict_are_told(tmp_path, detector, receiver):
    section, tell = {"port": receiver.port}, {"streams": ["changed"], "revisions": "changed"}
    with (
        bridging(tmp_path, detector, BRIDGE, section, tell=tell) as bridge,
        Line(detector, "changed") as line,
    ):
        for number in range(14):
            line.send("stain" if number % 4 == 3 else "good")
            if number == 7:
                bridge.kill()
        scored(detector, "changed", 14)
        bridge.start()
        control(detector, "false_alarm", stream="changed", frame_id="part-0011", who="anna")
        control(detector, "flush", stream="changed")
        wait_for_all(detector, "changed", receiver.arrivals, "changed")
        told = verdicts_to_tell(detector, "changed", "changed")
        assert sum(map(len, told.values())) < sum(map(len, verdicts_to_tell(detector, "changed").values()))
        befores = {}
        # What was under way as the bridge was killed may have come twice.
        items = {(one["header"]["kind"], one["header"]["pub_seq"]): one for one in receiver.of("verdict")}
        for item in items.values():
            frame = item["header"]["frame_id"]
            assert item["before"] == befores.get(frame)
            befores[frame] = item["header"]["pred_label"]
        (word,) = receiver.of("operator")
        assert (word["header"]["what"], word["header"]["who"]) == ("false_alarm", "anna")


def test_verdicts_come_with_their_pictures_and_maps_where_they_are_wanted(tmp_path, detector, receiver):
    tell = {"streams": ["pictured"], "pictures": True, "maps": True}
    with (
        bridging(tmp_path, detector, BRIDGE, {"port": receiver.port}, tell=tell) as bridge,
        Line(detector, "pictured") as line,
    ):
        until(lambda: [item["header"] for item in receiver.of("availability")] == [{"detector": "up"}])
        line.show()  # until a heartbeat names the stream, nobody knows that its frames have pictures
        until(lambda: figures(bridge)["detector_up"] == 1 and len(receiver.of("verdict")) >= 1)
        line.heard("status")
        for _ in range(5):
            line.show()
        until(lambda: len([one for one in receiver.arrivals() if one.kind == "score"]) == 6)
        scores = [item for item in receiver.of("verdict") if item["header"]["kind"] == "score"][1:]
        assert all(item["picture"] > 100 for item in scores)
        assert all(item["payload"] for item in scores)


def test_a_bridge_says_how_it_is(tmp_path, detector, receiver):
    with (
        bridging(
            tmp_path, detector, BRIDGE, {"port": receiver.port}, tell={"streams": ["figures"]}
        ) as bridge,
        Line(detector, "figures") as line,
    ):
        until(lambda: figures(bridge)["up"] == 1)
        receiver.stop()
        for _ in range(4):
            line.show()
        until(lambda: figures(bridge)["queue_items"] >= 4)
        until(lambda: figures(bridge)["up"] == 0)
        until(lambda: figures(bridge)["lag_seconds"] > 0)
        until(lambda: figures(bridge)["retries_total"] > 0)
        receiver.start()
        # That the detector is up, and the verdicts, of which the last may come when the queue was empty once.
        until(lambda: figures(bridge)["delivered_total"] >= 5)
        until(lambda: figures(bridge)["queue_items"] == 0)
        now = figures(bridge)
        assert (now["up"], now["lag_seconds"], now["dead_total"], now["detector_up"]) == (1, 0, 0, 1)
        named = ("dropped_total", "letters_dropped_total", "lost_total", "bad_messages_total")
        assert [now[name] for name in named] == [0, 0, 0, 0]
        assert "bridge_receiver_down" in bridge.log
        assert bridge.log.count("bridge_receiver_up") == 2


def command(bridge, *options):
    line = [sys.executable, "-m", "streamer.bridge", BRIDGE, "--config", str(bridge.config), *options]
    return subprocess.run(line, capture_output=True, text=True, check=True, timeout=PATIENCE_S).stdout


@pytest.mark.slow
def test_what_is_refused_is_listed_and_sent_again_while_the_bridge_runs(tmp_path, detector, receiver):
    with (
        bridging(tmp_path, detector, BRIDGE, {"port": receiver.port}, tell={"streams": ["dead"]}) as bridge,
        Line(detector, "dead") as line,
    ):
        receiver.refuses = lambda item: item["header"].get("frame_id") == "part-0001"
        for _ in range(3):
            line.show()
        until(lambda: figures(bridge)["dead_total"] == 1)
        until(lambda: {one.frame_id for one in receiver.arrivals()} == {"part-0000", "part-0002"})
        (letter,) = map(json.loads, command(bridge, "--dead").splitlines())
        assert (letter["stream"], letter["header"]["frame_id"]) == ("dead", "part-0001")
        assert letter["reason"] == "the receiver says no"
        assert command(bridge, "--dead", "--redeliver").count("\n") == 1
        until(lambda: figures(bridge)["dead_total"] == 2)  # it is refused once more
        receiver.refuses = lambda _: False
        command(bridge, "--redeliver")
        until(lambda: "part-0001" in {one.frame_id for one in receiver.arrivals()})
        assert command(bridge, "--dead") == ""
        (again,) = [item for item in receiver.items if item["header"].get("frame_id") == "part-0001"]
        assert again["number"] == letter["number"]


def test_at_sigterm_what_is_being_delivered_is_finished(tmp_path, detector, receiver):
    with (
        bridging(tmp_path, detector, BRIDGE, {"port": receiver.port}, tell={"streams": ["ended"]}) as bridge,
        Line(detector, "ended") as line,
    ):
        until(lambda: receiver.items)
        # Only verdicts wait: what else may come first goes by, that a busy detector was away for one.
        receiver.holds = lambda item: item["kind"] == "verdict"
        receiver.answers.clear()
        line.show()
        until(lambda: [one["kind"] for one in receiver.got].count("verdict"))
        ended = []
        ending = threading.Thread(target=lambda: ended.append(bridge.terminate()))
        ending.start()
        receiver.answers.set()
        ending.join(PATIENCE_S)
        assert ended == [0]
        line.show()
        bridge.start()
        until(lambda: {one.frame_id for one in receiver.arrivals()} == {"part-0000", "part-0001"})
        numbers = [item["number"] for item in receiver.of("verdict")]
        assert len(numbers) == len(set(numbers))


@pytest.mark.slow
def test_a_detector_that_is_killed_is_told_and_what_it_said_before_and_after_arrives(
    tmp_path, detector, receiver
):
    tell = {"streams": ["gone"]}
    with bridging(tmp_path, detector, BRIDGE, {"port": receiver.port}, tell=tell) as bridge:
        with Line(detector, "gone") as line:
            line.learn(6)
            until(lambda: len(receiver.arrivals()) >= 6)
            bridge.kill()
            line.learn(6)
        detector.kill()
        bridge.start()
        until(lambda: {"detector": "down"} in [item["header"] for item in receiver.of("availability")])
        detector.start()
        until(lambda: receiver.of("availability")[-1]["header"] == {"detector": "up"})
        with Line(detector, "gone") as line:
            for number in range(6):
                line.show(frame_id=f"after-{number}")
        control(detector, "flush", stream="gone")
        wait_for_all(detector, "gone", receiver.arrivals)
        assert "bridge_detector_down" in bridge.log
        assert "bridge_counted_anew" not in bridge.log
