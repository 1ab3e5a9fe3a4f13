"""A real detector, a webhook's own process and a web server, each killed under load: all arrives in order."""

import urllib.request

import pytest
from bridge_support import Arrival, Line, bridging, published, wait_for_all
from streamer_support import PATIENCE_S, control, one_thread, until
from web_support import certificate
from webhook_support import Receiver, answer, secret_file

__all__ = ["one_thread"]

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]
A_TURN = 10


def arrivals(receiver):
    return [Arrival.of(one["header"]) for one in receiver.told() if one["kind"] == "verdict"]


def figure(bridge, name):
    """Of the bridge's own status."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{bridge.status}/metrics", timeout=PATIENCE_S) as page:
        lines = page.read().decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return float(values[f'musc_bridge_{name}{{bridge="webhook"}}'])


def scored(server, stream):
    return len(published(server, stream, ("score",))["score"])


def test_every_verdict_arrives_in_order_whoever_is_killed(tmp_path, detector):
    """In batches, which are harder than one by one: what was on its way is posted again as it was."""
    stream, batch = "in batches", 20
    tls = certificate(tmp_path, "IP:127.0.0.1")
    with Receiver(tls) as receiver:
        receiver.next.extend([answer(500), answer(429, retry_after="1"), answer(503)])
        section = {
            "url": receiver.url,
            "ca_file": str(tls[0]),
            "secret_files": [str(secret_file(tmp_path))],
            "batch": batch,
            "timeout_s": 5.0,
        }
        tell = {"streams": [stream]}
        with (
            bridging(tmp_path, detector, "webhook", section, tell=tell) as bridge,
            Line(detector, stream) as line,
        ):
            for turn, killed in enumerate(("bridge", "receiver", "hangs", "detector")):
                for number in range(A_TURN):
                    line.send("stain" if number % 5 == 4 else "good")
                    if number == A_TURN // 2:
                        match killed:
                            case "bridge":
                                bridge.kill()
                            case "receiver":
                                receiver.die()
                            case "hangs":
                                receiver.next.append(receiver.hang)
                until(lambda n=A_TURN * (turn + 1): scored(detector, stream) == n)
                match killed:
                    case "bridge":
                        bridge.start()
                    case "receiver":
                        receiver.come_back()
                    case "hangs":  # killed with a request on its way
                        assert receiver.hanging.wait(PATIENCE_S)
                        bridge.kill()
                        receiver.let_go.set()
                        bridge.start()
                    case "detector":
                        detector.kill()
                        detector.start()
            control(detector, "flush", stream=stream)
            wait_for_all(detector, stream, lambda: arrivals(receiver))
            assert figure(bridge, "up") == 1
        log = bridge.log
    assert receiver.unsigned == 0
    ids = {}
    for name, _, body in receiver.tried:  # what came again came under its old id, and was the same
        assert ids.setdefault(name, body) == body
    # An item that came twice has one number.
    numbers = [one["number"] for one in receiver.told()]
    assert sorted(set(numbers)) == list(dict.fromkeys(numbers))
    assert "whsec_" not in log
    assert "/told" not in log


def test_what_is_refused_is_kept_and_told_and_holds_nothing_up(tmp_path, detector):
    with Receiver() as receiver:
        section = {"url": receiver.url, "secret_files": [str(secret_file(tmp_path))]}
        receiver.next.append(answer(422, b"no such part"))
        with bridging(
            tmp_path, detector, "webhook", section, tell={"streams": ["webhook refused"]}
        ) as bridge:
            with Line(detector, "webhook refused") as line:
                line.learn(4)
                until(lambda: len(arrivals(receiver)) >= 3)
            assert figure(bridge, "dead_letters") == 1
            assert "422 (no such part)" in bridge.log
