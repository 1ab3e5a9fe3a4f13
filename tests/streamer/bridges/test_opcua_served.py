"""The OPC UA server as a real client sees it: events, variables, what is fetched later, names of any kind."""

import asyncio
import math
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from asyncua import Client, ua
from opcua_support import NANOSECONDS, Served, Watcher, fetched, node_of, run, verdict, watching

from streamer.bridges.opcua.names import STREAMS, TYPES
from streamer.bridges.sink import Item, Undelivered

HOSTILE = (
    "ns=0;i=85",
    "quote\"'<&>",
    "percent %2F .. {}",
    "Ümlaut 漢字 🙂",
    "bridge",
    "a;s=b",
    "x" * 128,
)
"""Stream names that the wire lets through."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("opcua")) as running:
        yield running


def test_a_verdict_is_an_event_with_the_fields_a_plc_reads(served):
    async def client():
        async with Client(served.endpoint) as opc, watching(opc) as watcher:
            item = served.tell(
                stream="fields", meta={"part_id": 17, "job_id": "J-4", "product_id": "cap"}, late=True
            )
            await watcher.until(lambda: watcher.events)
            return item, watcher.events[0]

    item, event = run(client())
    captured = datetime.fromtimestamp(NANOSECONDS // 10**9, UTC) + timedelta(seconds=item.number)
    assert (event.ItemNumber, event.StreamName, event.FrameId) == (
        item.number,
        "fields",
        f"part-{item.number}",
    )
    assert (event.PartId, event.JobId, event.ExternalId, event.ProductId) == ("17", "J-4", "", "cap")
    assert (event.IsPartial, event.IsSimulated, event.IsRevision, event.ResultState) == (
        True,
        False,
        False,
        1,
    )
    assert event.CreationTime == event.StartTime == captured
    assert event.EndTime - event.StartTime == timedelta(milliseconds=40)
    assert (event.ProcessingDuration, event.TotalDuration) == (31.5, 40.0)
    assert (event.Verdict, event.RawScore, event.Threshold, event.Late) == (2, 0.5, 0.4, True)
    assert (event.Regions, event.References, event.State) == ([1, 2, 3, 4, 0.5], 12, "ready")
    assert event.SourceName == "fields"
    assert event.Severity == 500
    assert event.Message.Text == "fields: 17: anomalous, 0.5 at a threshold of 0.4, late"


def test_a_revision_says_what_was_told_before_and_a_final_is_no_longer_partial(served):
    async def client():
        async with Client(served.endpoint) as opc, watching(opc) as watcher:
            frame = {"frame_id": "one", "stream": "revised"}
            served.tell(**frame, pred_label=None, raw_score=None, threshold=None)
            served.tell(**frame, kind="revision", revision=1, pred_label=False)
            served.tell(**frame, kind="revision", revision=2, pred_label=True, is_final=True, before=False)
            await watcher.until(lambda: len(watcher.events) == 3)
            return watcher.events

    first, second, last = run(client())
    assert [one.Verdict for one in (first, second, last)] == [0, 1, 2]
    assert [one.VerdictBefore for one in (first, second, last)] == [0, 0, 1]
    assert [one.IsPartial for one in (first, second, last)] == [True, True, False]
    assert [one.IsRevision for one in (first, second, last)] == [False, True, True]
    assert [one.ResultState for one in (first, second, last)] == [2, 1, 1]  # processing, completed
    assert math.isnan(first.RawScore)
    assert math.isnan(first.Threshold)
    assert [second.PreviousItemNumber, last.PreviousItemNumber] == [first.ItemNumber, second.ItemNumber]
    assert len({one.ResultId for one in (first, second, last)}) == 3


def test_a_client_hears_of_one_stream_of_all_or_at_the_server_itself(served):
    async def client():
        async with (
            Client(served.endpoint) as opc,
            watching(opc, ua.NodeId("stream/left", 3)) as left,
            watching(opc) as every,
            watching(opc, ua.NodeId(ua.ObjectIds.Server)) as at_server,
        ):
            for stream in ("left", "right", "left"):
                served.tell(stream=stream)
            await left.until(lambda: len(left.events) == 2)
            await every.until(lambda: len(every.events) == 3 and len(at_server.events) == 3)
            return [[one.StreamName for one in seen.events] for seen in (left, every, at_server)]

    served.tell(stream="left")  # its object is there from now on
    assert run(client()) == [["left", "left"], ["left", "right", "left"], ["left", "right", "left"]]


def test_variables_show_the_newest_frame_and_what_was_revised_last(served):
    async def client():
        async with Client(served.endpoint) as opc:

            async def read(*names):
                return await opc.read_values([node_of(opc, f"stream/polled/{name}") for name in names])

            served.tell(stream="polled", frame_id="a", pred_label=False, raw_score=0.1)
            second = served.tell(stream="polled", frame_id="b")
            newest = await read(
                "LastFrameId", "LastPartId", "LastVerdict", "LastScore", "Threshold", "LastItemNumber"
            )
            assert newest == ["b", f"P{second.number}", 2, 0.5, 0.4, second.number]
            revised = served.tell(
                stream="polled", frame_id="a", kind="revision", revision=1, raw_score=0.6, before=False
            )
            # A frame of before does not take the newest one's place.
            assert await read("LastFrameId", "LastVerdict", "LastItemNumber") == ["b", 2, second.number]
            told = await read("LastRevisedFrameId", "LastRevisedVerdict", "LastRevisedVerdictBefore")
            assert told == ["a", 2, 1]
            assert await read("LastRevisedItemNumber", "LastRevisedScore") == [revised.number, 0.6]
            served.tell(
                stream="polled", frame_id="b", kind="revision", revision=1, pred_label=False, before=True
            )
            assert await read("LastFrameId", "LastVerdict") == ["b", 1]
            counters = await read(*(f"Counters/{name}" for name in ("Results", "Anomalous", "Revisions")))
            assert counters == [2, 1, 2]

    run(client())


def test_values_read_in_one_request_belong_to_one_frame(served):
    async def client():
        async with Client(served.endpoint) as opc:
            names = ("LastItemNumber", "LastFrameId", "LastPartId", "LastResultId")
            nodes = [node_of(opc, f"stream/torn/{name}") for name in names]
            seen = set()
            while not writing.done():
                number, frame_id, part_id, result_id = await opc.read_values(nodes)
                assert (frame_id, part_id) == (f"part-{number}", f"P{number}")
                assert result_id.endswith(f"-{number}")
                seen.add(number)
            return seen

    served.tell(stream="torn")
    first = served.number + 1
    items = [verdict(first + i, stream="torn") for i in range(300)]
    served.number += 300

    async def write():
        for item in items:
            await served.sink.deliver([item])

    writing = asyncio.run_coroutine_threadsafe(write(), served._loop)
    assert len(run(client())) > 1
    writing.result()


def test_the_heartbeat_goes_on_and_a_detector_that_is_away_is_shown(served):
    async def client():
        async with Client(served.endpoint) as opc, watching(opc, event="DetectorMessageEventType") as watcher:
            subscription = await opc.create_subscription(50, watcher)
            await subscription.subscribe_data_change([node_of(opc, "bridge/Heartbeat")])
            await watcher.until(lambda: len({value for _, value in watcher.values}) >= 2)
            up = node_of(opc, "stream/beating/DetectorUp")  # one node, shown by every stream's object too
            children = await node_of(opc, "stream/beating").get_children()
            assert {"bridge/DetectorUp", "bridge/Heartbeat"} <= {one.nodeid.Identifier for one in children}
            up = node_of(opc, "bridge/DetectorUp")
            assert await up.read_value() is True
            for detector in ("down", "up"):
                served.number += 1
                header = {"v": 1, "kind": "availability", "detector": detector}
                served.deliver(Item(served.number, "availability", "", -1, None, header))
                assert await up.read_value() is (detector == "up")
            await watcher.until(lambda: len(watcher.events) == 2)
            assert [one.Severity for one in watcher.events] == [800, 100]
            assert [one.Text for one in watcher.events] == ["detector: down", "detector: up"]

    served.tell(stream="beating")
    run(client())


def test_a_frame_that_was_given_up_is_a_result_that_was_aborted(served):
    async def client():
        async with Client(served.endpoint) as opc, watching(opc) as watcher:
            header = {"kind": "dropped", "frame_id": 5, "reason": "drop_oldest", "meta": {"part_id": "P5"}}
            served.number += 1
            served.deliver(Item(served.number, "dropped", "given-up/dropped", 0, "given-up", header))
            await watcher.until(lambda: watcher.events)
            return watcher.events[0], await node_of(opc, "stream/given-up/LastResultState").read_value()

    event, shown = run(client())
    assert (event.PartId, event.FrameId, event.ResultState, event.Verdict) == ("P5", "5", 3, 0)
    assert (event.IsPartial, event.State, shown) == (False, "drop_oldest", 3)


@pytest.mark.parametrize("stream", HOSTILE)
def test_any_name_of_a_stream_has_an_object_of_its_own(served, stream):
    async def client():
        async with Client(served.endpoint) as opc:
            hostile = 'P"\x00\u202e' + "x" * 5000
            item = served.tell(
                stream=stream, meta={"part_id": hostile, "job_id": {"a": 1}}, frame_id=2**64 - 1
            )
            systems = await node_of(opc, "bridge").get_children()
            found = [one for one in systems if (await one.read_browse_name()) == ua.QualifiedName(stream, 3)]
            assert len(found) == 1
            identifier = found[0].nodeid.Identifier
            assert all(letter.isalnum() or letter in "/%._-~" for letter in identifier), identifier
            assert identifier.isascii()
            # What a client writes down as text finds the same node again.
            again = opc.get_node(f"ns=3;s={identifier}/LastPartId")
            part_id = await again.read_value()
            assert part_id.startswith('P"\\x00\\u202exxx')
            assert len(part_id) == 256
            (result,) = await fetched(opc, item.number - 1, f"{identifier}/ResultManagement")
            assert (result["StreamName"], result["FrameId"]) == (stream, str(2**64 - 1))
            assert (result["PartId"], result["JobId"]) == (part_id, "")

    run(client())


def test_namespaces_and_types_are_named_and_no_other_methods_are_there(served):
    async def client():
        async with Client(served.endpoint) as opc:
            namespaces = await opc.get_namespace_array()
            kind = await node_of(opc, "stream/typed").read_type_definition()
            management = node_of(opc, "stream/typed/ResultManagement")
            methods = [(await one.read_browse_name()).Name for one in await management.get_methods()]
            return namespaces, kind, methods

    served.tell(stream="typed")
    namespaces, kind, methods = run(client())
    assert namespaces[1:] == ["urn:musc-online:opcua-bridge", TYPES, STREAMS]
    assert kind == ua.NodeId("VisionSystemType", 2)
    assert sorted(methods) == ["GetMessagesAfter", "GetResultById", "GetResultsAfter"]


def test_a_client_that_asks_for_a_queue_of_one_event_misses_none(served):
    async def client():
        async with Client(served.endpoint) as opc:
            watcher = Watcher()
            subscription = await opc.create_subscription(500, watcher)
            kind = opc.get_node(ua.NodeId("ResultReadyEventType", 2))
            await subscription.subscribe_events(node_of(opc, "bridge"), kind, queuesize=1)
            served.deliver(*(verdict(served.number + i, stream="queue") for i in range(1, 51)))
            served.number += 50
            await watcher.until(lambda: len(watcher.events) >= 50)
            return [one.ItemNumber for one in watcher.events]

    numbers = run(client())
    assert numbers == list(range(numbers[0], numbers[0] + 50))


def test_a_disk_that_takes_nothing_costs_no_connection(served, monkeypatch):
    async def client():
        async with Client(served.endpoint) as opc, watching(opc) as watcher:
            with monkeypatch.context() as full:
                full.setattr(served.sink._kept, "add", no_room)
                with pytest.raises(Undelivered, match=r"opcua-kept.db: cannot be written \(disk is full\)"):
                    served.do(served.sink.deliver([verdict(served.number + 1, stream="full")]))
            served.do(served.sink.open())  # as the bridge does after a failure
            served.tell(stream="full")
            await watcher.until(lambda: watcher.events)
            return [one.StreamName for one in watcher.events]

    def no_room(_items):
        raise sqlite3.OperationalError("disk is full")

    assert run(client()) == ["full"]
