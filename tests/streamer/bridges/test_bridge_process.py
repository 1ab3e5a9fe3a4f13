"""A real detector, bridge and receiver, each killed in the middle: every verdict arrives, in order."""

import pytest
from bridge_support import Line, Witness, bridging, detecting, wait_for_all
from receiver_support import BRIDGE, own_modules, receiving
from streamer_support import control, one_thread, until

__all__ = ["one_thread", "own_modules"]

pytestmark = pytest.mark.usefixtures("own_modules", "one_thread")
SMALL = {"backbone": {"image_size": 56}, "transport": {"heartbeat_s": 0.2}}


def scored(server, count):
    until(lambda: control(server, "status")["scored"] == count)


def test_every_verdict_arrives_in_order_whoever_is_killed(tmp_path):
    with (
        detecting(tmp_path / "detector", **SMALL) as server,
        receiving() as receiver,
        bridging(tmp_path, server, BRIDGE, {"port": receiver.port}) as bridge,
        Witness(server) as witness,
        Line(server, "line") as line,
    ):
        for turn in range(3):
            for number in range(12):
                line.send("stain" if number % 5 == 4 else "good")
                if number == 5:
                    match turn:
                        case 0:
                            bridge.kill()
                        case 1:
                            receiver.stop()
                        case 2:
                            bridge.kill()
                            receiver.stop()
            scored(server, 12 * (turn + 1))
            if turn != 1:
                bridge.start()
            if turn:
                receiver.start()
        control(server, "flush")
        wait_for_all(server, "line", receiver.arrivals)
        assert set(witness.heard) <= set(receiver.arrivals())
        assert len(witness.heard) >= 72
