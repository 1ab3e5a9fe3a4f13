"""A connection, a broker's store, a bridge or its queue is lost: what a real mosquitto has in the end."""

import asyncio
import json
import signal

import pytest
from mqtt_items import score
from mqtt_sinks import BASE, all_delivered, delivered_at_last, run, sink_of, sinking
from mqtt_support import Listener, broker, needs_mosquitto, retained
from streamer_support import PATIENCE_S

from streamer.bridges.mqtt.connection import Connection
from streamer.bridges.sink import Item, Undelivered

pytestmark = needs_mosquitto
UP = Item(0, "availability", "", -1, None, {"detector": "up"})


def test_a_broker_that_stops_answering_is_left_and_found_again(tmp_path):
    items = [score(number) for number in range(50)]
    with broker(tmp_path) as running, Listener(running.port, f"{BASE}/#") as listener:

        async def work():
            sink = sink_of(tmp_path, running.address, timeout_s=1)
            try:
                await delivered_at_last(sink, items[:10])
                running.signal(signal.SIGSTOP)
                with pytest.raises(Undelivered, match="no confirm"):
                    await sink.deliver(items[10:])
                with pytest.raises(Undelivered):
                    await asyncio.wait_for(sink.lost(), PATIENCE_S)
                running.signal(signal.SIGCONT)
                await delivered_at_last(sink, items[10:])
                assert sink.counted["lost"] >= 1
            finally:
                await sink.close()

        run(work())
        listener.until_last(f"{BASE}/availability", b"offline")
    numbers = [one.said["number"] for one in listener.of(f"{BASE}/streams/line/verdict")]
    assert list(dict.fromkeys(numbers)) == list(range(50))


def test_a_broker_that_is_killed_is_noticed_while_nothing_is_told_and_is_told_all_that_is_kept(tmp_path):
    with broker(tmp_path) as running:

        async def work():
            async with sinking(tmp_path, running.address) as sink:
                await all_delivered(sink, [UP, score(1)])
                waiting = asyncio.ensure_future(sink.lost())
                running.kill()
                with pytest.raises(Undelivered, match="lost"):
                    await asyncio.wait_for(waiting, PATIENCE_S)
                with pytest.raises(Undelivered, match="refused"):
                    await sink.open()
                await asyncio.to_thread(running.start)  # without what it had
                await sink.open()
                return await asyncio.to_thread(retained, running.port)

        kept = run(work())
    assert kept[f"{BASE}/availability"] == b"online"
    assert kept[f"{BASE}/detector/availability"] == b"online"
    assert b'"scores":1' in kept[f"{BASE}/streams/line/state"]


def test_a_client_of_the_same_id_is_named_where_one_bridge_cuts_the_other_off(tmp_path):
    with broker(tmp_path) as running:

        async def work():
            async with sinking(tmp_path / "one", running.address, client_id="twin") as first:
                lost = asyncio.ensure_future(first.lost())
                async with sinking(tmp_path / "other", running.address, client_id="twin"):
                    with pytest.raises(Undelivered, match="another client has the client_id 'twin'"):
                        await lost

        run(work())


def test_a_state_is_on_disk_before_the_queue_lets_go_of_its_verdict(tmp_path, monkeypatch):
    with broker(tmp_path) as running:

        async def killed():
            sink = sink_of(tmp_path, running.address)
            await sink.open()
            send = Connection.send
            with monkeypatch.context() as patch:
                # Of what is handed over the broker confirms the first two, and then is gone.
                patch.setattr(Connection, "send", lambda self, messages: send(self, messages[:2]))
                assert await sink.deliver([score(1), score(2), score(3)]) == 2
            sink._connection.abandon()  # and nothing of what ends a bridge in order

        async def again():
            async with sinking(tmp_path, running.address):
                pass

        run(killed())
        run(again())
        told = retained(running.port)[f"{BASE}/streams/line/state"]
    assert b'"number":3' in told


def test_another_queue_begins_its_states_anew(tmp_path):
    with broker(tmp_path) as running:

        async def work(number, **more):
            async with sinking(tmp_path, running.address) as sink:
                before = await asyncio.to_thread(retained, running.port)
                await all_delivered(sink, [score(number, **more)])
                return before.get(f"{BASE}/streams/line/state")

        run(work(9000))
        (tmp_path / "queue" / "queue.sqlite").rename(tmp_path / "moved.sqlite")
        before = json.loads(run(work(1, pred_label=True)))
        state = json.loads(retained(running.port)[f"{BASE}/streams/line/state"])
    assert (before["frame_id"], before["counts"]["scores"]) == (None, 0)
    assert (state["frame_id"], state["pred_label"], state["counts"]["scores"]) == ("part-0001", True, 1)


def test_counts_go_on_after_a_restart_of_the_bridge(tmp_path):
    with broker(tmp_path) as running:
        for number in (1, 2):

            async def work(number=number):
                async with sinking(tmp_path, running.address) as sink:
                    await all_delivered(sink, [score(1), score(number)])

            run(work())
        assert b'"scores":2' in retained(running.port)[f"{BASE}/streams/line/state"]
