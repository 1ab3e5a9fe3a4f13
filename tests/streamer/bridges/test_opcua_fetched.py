"""What a client that was away fetches: by number and by id, in messages that it takes, after a restart."""

import asyncio
import socket
from collections.abc import Iterator

import pytest
from asyncua import Client, ua
from item_support import queue_folder
from opcua_support import NANOSECONDS, Served, call, fetched, node_of, run, verdict, watching

from streamer.bridges.common import Common
from streamer.bridges.opcua import BRIDGE
from streamer.bridges.sink import Item, Undelivered


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("opcua")) as running:
        yield running


def test_what_is_no_result_is_a_message_and_can_be_fetched_too(served):
    said = (
        (
            "event",
            {
                "event": "repeat",
                "group": 3,
                "n_frames": 5,
                "since": "p-1",
                "name": None,
                "event_ns": NANOSECONDS,
            },
        ),
        ("operator", {"who": "anna", "what": "accept", "group": 3, "operator_ns": NANOSECONDS}),
        ("dropped", {"lost": 4, "first": 7, "last": 10, "topic": "words/score"}),
        ("error", {"code": "constant_image", "text": "every pixel is the same", "frame_id": 9}),
        ("error", {"code": "undecodable", "text": "broken\x1b[31m\n", "frame_id": "9"}),
    )

    async def client():
        async with Client(served.endpoint) as opc, watching(opc, event="DetectorMessageEventType") as watcher:
            before = served.number
            for kind, header in said:
                served.number += 1
                served.deliver(
                    Item(served.number, kind, f"words/{kind}", 1, "words", {"v": 1, "kind": kind, **header})
                )
            await watcher.until(lambda: len(watcher.events) == len(said))
            answer = await call(
                opc,
                "stream/words/ResultManagement",
                "GetMessagesAfter",
                ua.Variant(before, ua.VariantType.UInt64),
                ua.Variant(0, ua.VariantType.UInt32),
            )
            return watcher.events, answer

    events, (more, oldest, numbers, *_, texts, levels) = run(client())
    assert [one.Kind for one in events] == [kind for kind, _ in said]
    assert [one.Code for one in events] == ["repeat", "accept", "", "constant_image", "undecodable"]
    assert [one.Severity for one in events] == [400, 200, 700, 300, 600] == levels
    assert texts == [one.Text for one in events]
    assert texts[2] == "words: 4 messages of words/score are lost, 7 to 10"
    assert texts[4] == "words: undecodable: broken\\x1b[31m\\n"
    assert (more, oldest, numbers) == (False, numbers[0], [one.ItemNumber for one in events])


def test_results_are_fetched_by_number_and_by_id(served):
    async def client():
        async with Client(served.endpoint) as opc:
            items = [served.tell(stream="fetched") for _ in range(5)]
            found = await fetched(opc, items[1].number, "stream/fetched/ResultManagement")
            assert [one["ItemNumber"] for one in found] == [item.number for item in items[2:]]
            got = await call(opc, "bridge/ResultManagement", "GetResultById", found[0]["ResultId"])
            assert got[:3] == [items[2].number, items[1].number, found[0]["ResultId"]]
            with pytest.raises(ua.UaStatusCodeError, match="BadNotFound"):
                await call(opc, "bridge/ResultManagement", "GetResultById", "00000000-1")

    run(client())


def test_results_whose_names_are_long_are_fetched_in_messages_that_a_client_takes(served):
    async def client(after):
        async with Client(served.endpoint) as opc:
            found = await fetched(opc, after, "stream/long/ResultManagement")
            return [one["ItemNumber"] for one in found]

    long = "\U0001f642" * 300
    meta = dict.fromkeys(("part_id", "job_id", "external_id", "product_id"), long)
    fields = {"stream": "long", "meta": meta, "state": long, "known_defect": long, "model_id": long}
    first = served.number + 1
    served.deliver(*(verdict(first + i, **fields) for i in range(250)))
    served.number += 250
    assert run(client(first - 1)) == list(range(first, first + 250))


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ((), "BadArgumentsMissing"),
        ((ua.Variant(1, ua.VariantType.UInt64),), "BadArgumentsMissing"),
        ((ua.Variant("1"), ua.Variant(0, ua.VariantType.UInt32)), "BadInvalidArgument"),
        (
            (ua.Variant([1], ua.VariantType.UInt64), ua.Variant(0, ua.VariantType.UInt32)),
            "BadInvalidArgument",
        ),
        ((ua.Variant(0, ua.VariantType.UInt64),) * 3, "BadTooManyArguments"),
    ],
)
def test_a_call_with_other_arguments_is_refused(served, given, code):
    async def client():
        async with Client(served.endpoint) as opc:
            await call(opc, "bridge/ResultManagement", "GetResultsAfter", *given)

    with pytest.raises(ua.UaStatusCodeError, match=code):
        run(client())


def test_after_a_restart_nodes_values_numbers_and_results_are_what_they_were(tmp_path):
    async def look(endpoint):
        async with Client(endpoint) as opc:
            nodes = await node_of(opc, "stream/kept").get_children()
            ids = sorted(str(one.nodeid) for one in nodes)
            names = ("LastFrameId", "LastVerdict", "LastItemNumber", "LastRevisedFrameId", "Counters/Results")
            values = await opc.read_values([node_of(opc, f"stream/kept/{name}") for name in names])
            return (
                ids,
                values,
                await fetched(opc, 0),
                await node_of(opc, "bridge/LastItemNumber").read_value(),
            )

    with Served(tmp_path, keep={"results": 3}) as served:
        for _ in range(5):
            served.tell(stream="kept", pred_score=0.25, raw_score=0.25, threshold=0.5)
        served.tell(stream="kept", frame_id="part-4", kind="revision", revision=1, pred_score=0.25)
        before = run(look(served.endpoint))
        served.close()
        served.open()
        assert run(look(served.endpoint)) == before
        # What is delivered again is told again, and counted once.
        served.deliver(
            verdict(6, stream="kept", frame_id="part-4", kind="revision", revision=1, pred_score=0.25)
        )
        assert run(look(served.endpoint)) == before
        served.tell(stream="kept")
        _, values, results, newest = run(look(served.endpoint))
        served.close()
        (tmp_path / "queue.sqlite").rename(tmp_path / "moved.sqlite")
        served.open()
        served.deliver(verdict(1, "of another queue", stream="kept", pred_label=False))
        _, values_then, results_then, newest_then = run(look(served.endpoint))
    assert before[1] == ["part-5", 2, 5, "part-4", 5]
    assert [one["ItemNumber"] for one in before[2]] == [4, 5, 6]  # three are kept
    assert values == ["part-7", 2, 7, "part-4", 6]
    assert [one["ItemNumber"] for one in results] == [5, 6, 7]
    assert [one["PreviousItemNumber"] for one in results] == [4, 5, 6]
    assert newest == 7
    assert values_then == ["of another queue", 1, 8, "part-4", 7]
    assert [one["ItemNumber"] for one in results_then] == [6, 7, 8]
    assert newest_then == 8


def test_a_port_that_is_taken_is_tried_again_and_told(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        endpoint = f"opc.tcp://127.0.0.1:{other.getsockname()[1]}/x"
        section = BRIDGE.section(endpoint=endpoint)
        sink = BRIDGE.make(section, Common(queue={"path": queue_folder(tmp_path, "opcua")}))
        with pytest.raises(Undelivered, match=r"opcua.endpoint: .*cannot be served"):
            asyncio.run(sink.open())
        with pytest.raises(Undelivered, match="is not open"):
            asyncio.run(sink.deliver([verdict(1)]))
        asyncio.run(sink.close())
