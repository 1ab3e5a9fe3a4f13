"""A real detector, bridge, broker and subscriber; broker and bridge are killed in the middle."""

import signal
import urllib.request

import pytest
from bridge_support import Arrival, Line, Witness, bridging, wait_for_all
from mqtt_support import Listener, broker, needs_mosquitto, retained
from streamer_support import PATIENCE_S, control, until

pytestmark = needs_mosquitto
VERDICTS = "musc/press%204/streams/+/verdict"


def section_of(running, **more):
    return {"address": running.address, "line": "press 4", "timeout_s": 5, **more}


def arrivals(listener):
    return [arrival(one.said) for one in list(listener.heard) if one.topic.endswith("/verdict")]


def arrival(told):
    kind = told["topic"].rpartition("/")[2]
    return Arrival(told["stream"], told["frame_id"], told["revision"], kind, told["pred_label"])


def scored(server, stream, count):
    until(lambda: control(server, "status")["streams"].get(stream, {}).get("scored") == count)


def waiting(bridge):
    """Items in its queue, as its own endpoint says."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{bridge.status}/metrics", timeout=PATIENCE_S) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith("musc_bridge_queue_items{"))


def never_acknowledges(client):
    """What a killed broker had sent is then read to its end: nothing is written that could fail."""
    client.manual_ack_set(True)


@pytest.mark.parametrize("version", ["5", pytest.param("3.1.1", marks=pytest.mark.slow)])
def test_every_verdict_arrives_in_order_whoever_is_killed(tmp_path, detector, version):
    stream = f"killed {version}"
    with (
        broker(tmp_path) as running,
        Listener(running.port, VERDICTS, prepare=never_acknowledges) as listener,
        bridging(tmp_path, detector, "mqtt", section_of(running, version=version)) as bridge,
        Witness(detector) as witness,
        Line(detector, stream) as line,
    ):
        running.save()  # the subscription, lest the bridge be back before its subscriber
        for turn in range(3):
            for number in range(12):
                line.send("stain" if number % 5 == 4 else "good")
                if number == 3 * (turn + 1):
                    running.signal(signal.SIGSTOP)  # what is on its way then is not confirmed
            scored(detector, stream, 12 * (turn + 1))
            until(lambda: waiting(bridge) > 0)
            if turn:
                bridge.kill()
            if turn == 1:
                running.signal(signal.SIGCONT)
            else:
                running.kill()
                running.start()
                listener.wait_back(1 if turn == 0 else 2)
            if turn:
                bridge.start()
        control(detector, "flush", stream=stream)
        wait_for_all(detector, stream, lambda: arrivals(listener))
        mine = [one for one in witness.heard if one.stream == stream]
        assert set(mine) <= set(arrivals(listener))
        assert len(mine) >= 72  # a score and a last word of each at least
        numbers = [one.said["number"] for one in listener.heard if one.said["stream"] == stream]
        assert list(dict.fromkeys(numbers)) == sorted(set(numbers))


def test_the_broker_says_at_once_that_a_killed_bridge_is_offline(tmp_path, detector):
    base = "musc/press%204"
    with (
        broker(tmp_path) as running,
        Listener(running.port, f"{base}/#") as listener,
        bridging(tmp_path, detector, "mqtt", section_of(running)) as bridge,
    ):
        listener.until_last(f"{base}/availability", b"online")
        listener.until_last(f"{base}/detector/availability", b"online")
        bridge.kill()
        listener.until_last(f"{base}/availability", b"offline")
        bridge.start()
        listener.until_last(f"{base}/availability", b"online")
        running.kill()  # nothing is to be told: it is noticed all the same
        running.start()
        listener.wait_back(1)
        until(lambda: retained(running.port, f"{base}/#").get(f"{base}/bridge") is not None)
        until(lambda: retained(running.port, f"{base}/#")[f"{base}/availability"] == b"online")
        assert bridge.terminate() == 0
        listener.until_last(f"{base}/availability", b"offline")


@pytest.mark.slow
def test_a_detector_that_is_gone_is_told_and_the_bridge_stays(tmp_path, detector):
    base = "musc/press%204"
    with (
        broker(tmp_path) as running,
        Listener(running.port, f"{base}/#") as listener,
        bridging(tmp_path, detector, "mqtt", section_of(running)),
    ):
        listener.until_last(f"{base}/detector/availability", b"online")
        detector.kill()
        listener.until_last(f"{base}/detector/availability", b"offline")
        assert retained(running.port, f"{base}/#")[f"{base}/availability"] == b"online"
        detector.start()
        listener.until_last(f"{base}/detector/availability", b"online")


def test_a_bridge_without_a_broker_waits_and_ends_when_it_is_told(tmp_path, detector):
    with broker(tmp_path) as running:
        address = running.address
    section = {"address": address, "password_env": "MUSC_TEST_PASSWORD", "username": "bridge"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUSC_TEST_PASSWORD", "a-secret-of-ours")
        with bridging(tmp_path, detector, "mqtt", section) as bridge:
            until(lambda: "bridge_receiver_down" in bridge.log)
            assert bridge.terminate() == 0
            assert "a-secret-of-ours" not in bridge.log
