"""A real detector, the bridge as a process, and a PLC: kill -9 under load, and a client that was away."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from asyncua import Client, ua
from bridge_support import Line, bridging, wait_for_all
from opcua_support import ENDPOINT, Plc, call, node_of, run
from streamer_support import until

from streamer.ask import ask
from streamer.process import BridgeProcess, ServerProcess


@dataclass(frozen=True)
class Plant:
    server: ServerProcess
    bridge: BridgeProcess
    endpoint: str


def serving(bridge: BridgeProcess, times: int = 1) -> str:
    """Where the bridge serves, once it has begun so many times in its lives."""
    found: list[str] = []

    def begun() -> bool:
        found[:] = re.findall(r" serving .*endpoint=(\S+)", bridge.log)
        return len(found) >= times

    until(begun)
    return found[-1]


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory, detector: ServerProcess) -> Iterator[Plant]:
    folder = tmp_path_factory.mktemp("opcua-line")
    tell = {"streams": ["opcua-line", "opcua-words"]}  # of the detector that tests share
    section = {"endpoint": ENDPOINT, "commands": {"allow": ["confirm", "threshold"]}}
    with bridging(folder / "bridge", detector, "opcua", section, tell=tell) as bridge:
        endpoint = serving(bridge)
        bridge._settings["opcua"]["endpoint"] = endpoint  # a restart is at the same port
        yield Plant(detector, bridge, endpoint)


def test_every_verdict_arrives_once_in_order_though_the_bridge_is_killed_and_the_plc_was_away(plant):
    with Plc(plant.endpoint) as plc, Line(plant.server, "opcua-line") as line:
        until(lambda: plc.connections == 1)
        for _ in range(8):
            line.send()
        until(lambda: len(plc.got) >= 3)
        line.send("scratch")
        plant.bridge.kill()  # -9, while it delivers
        for _ in range(4):
            line.send()
        plant.bridge.start()
        serving(plant.bridge, 2)
        until(lambda: plc.connections == 2)
        line.send()
        assert plant.bridge.terminate() == 0  # with a client connected
        line.send("scratch")
        plant.bridge.start()
        serving(plant.bridge, 3)
        until(lambda: plc.connections == 3)
        plc.leave()
        for defect in ("good", "scratch", "good"):
            line.show(defect)
        plc.come_back()
        until(lambda: plc.connections == 4)
        ask({"kind": "flush", "stream": "opcua-line"}, plant.server.endpoints["control"], timeout_s=180)
        wait_for_all(plant.server, "opcua-line", plc.arrived)
    numbers = [one["ItemNumber"] for one in plc.got]
    assert numbers == sorted(set(numbers))
    # Each names the one before it: a client sees by itself that it missed nothing.
    assert [one["PreviousItemNumber"] for one in plc.got] == [0, *numbers[:-1]]
    assert len({one["ResultId"] for one in plc.got}) == len(numbers)
    assert {one["IsRevision"] for one in plc.got} == {False, True}
    assert {one["IsPartial"] for one in plc.got} == {False, True}
    finals = {one["FrameId"]: one["PartId"] for one in plc.got if not one["IsPartial"]}
    assert finals == {f"part-{i:04d}": f"P{i}" for i in range(len(finals))}
    assert len(finals) == 18


def test_words_that_are_allowed_reach_the_detector_and_no_others_are_there(plant):
    async def client(frame_id):
        async with Client(plant.endpoint) as opc:
            where = "stream/opcua-words/ResultManagement"
            methods = [(await one.read_browse_name()).Name for one in await node_of(opc, where).get_methods()]
            told = await call(opc, where, "Confirm", frame_id, "defect", "scratch")
            unknown = await call(opc, where, "Confirm", "none", "good", "")
            limit = await call(opc, where, "SetThreshold", 0.25)
            with pytest.raises(ua.UaStatusCodeError, match="BadNodeIdInvalid"):  # of no stream
                await call(opc, "bridge/ResultManagement", "SetThreshold", 0.25)
            return methods, told, unknown, limit

    with Plc(plant.endpoint) as plc, Line(plant.server, "opcua-words") as line:
        until(lambda: plc.connections == 1)
        shown = [line.show(frame_id=number) for number in range(4)]  # ids that are numbers: a PLC has text
        until(lambda: any(one["StreamName"] == "opcua-words" for one in plc.got))
        assert shown[3].score["frame_id"] == 3
        methods, told, unknown, limit = run(client("3"))
        until(lambda: len([one for one in plc.messages if one.Kind == "operator"]) >= 2)
    assert {"Confirm", "SetThreshold"} <= set(methods)
    assert "Accept" not in methods
    assert told == [True, "", ""]
    assert unknown[:2] == [False, "unknown_frame"]
    assert limit == [True, "", ""]
    words = [one for one in plc.messages if one.Kind == "operator"]
    assert [(one.StreamName, one.Code) for one in words] == [
        ("opcua-words", "confirm"),
        ("opcua-words", "threshold"),
    ]
    assert words[0].Text.startswith("opcua-words: opcua: confirm 3")
