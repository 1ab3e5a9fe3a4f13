"""How many messages are on the way to a real broker at a time, whoever sends them."""

import pytest
from mqtt_items import score
from mqtt_sinks import BASE, between, delivered_at_last, run, sink_of
from mqtt_support import broker, needs_mosquitto, retained
from streamer_support import until

from streamer.bridges.sink import Undelivered

pytestmark = needs_mosquitto


@pytest.mark.parametrize(("ours", "brokers", "sent"), [(7, 0, 7), (500, 2, 2)])
def test_no_more_is_on_the_way_than_both_sides_take(tmp_path, ours, brokers, sent):
    lines = ["allow_anonymous true", f"max_inflight_messages {brokers}"]
    with broker(tmp_path, lines) as running:

        async def work():
            async with between(running.port) as (address, speaks):
                sink = sink_of(tmp_path, address, in_flight=ours, timeout_s=1, client_id="the-bridge")
                try:
                    await delivered_at_last(sink, [score(0)])
                    speaks.clear()
                    with pytest.raises(Undelivered, match="no confirm"):
                        await sink.deliver([score(number, "held") for number in range(1, 100)])
                finally:
                    await sink.close()

        run(work())
        until(lambda: retained(running.port)[f"{BASE}/availability"] == b"offline")  # by the last will
        told = [line for line in running.log.splitlines() if "Received PUBLISH from the-bridge" in line]
        assert sum(f"{BASE}/streams/held/verdict" in line for line in told) == sent
