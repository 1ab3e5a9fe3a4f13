"""Updates to clients: each bounded, alarms always, and a slow one costs the others nothing."""

import asyncio
import json
import struct
import threading

import pytest

from streamer.page import hub as hub_module
from streamer.page.hub import Hub
from streamer.page.updates import update


def score(number, stream="line", grid=None):
    return update({"type": "score", "frame": {"n": number}}, stream=stream, grid=grid)


def picture(jpeg):
    return update({"type": "picture", "stream": "line", "key": "i:1"}, stream="line", jpeg=jpeg)


def alarm(number):
    return update({"type": "alarm", "alarm": {"id": number}}, stream="line")


async def all_of(client, until_type="end"):
    found = []
    async for message in client:
        one = json.loads(message)
        if one["type"] == until_type:
            return found
        found.append(one)
    return found


def heard(client_of, tell):
    """What a client hears that reads only after everything was told from another thread."""

    async def run():
        hub = Hub()
        client = client_of(hub, asyncio.get_running_loop())
        teller = threading.Thread(target=tell, args=(hub,))
        teller.start()
        while teller.is_alive():
            await asyncio.sleep(0.001)
        hub.tell([update({"type": "end"})])
        return await asyncio.wait_for(all_of(client), 60)

    return asyncio.run(run())


def test_a_client_hears_its_streams_in_order():
    def tell(hub):
        hub.tell([score(1), score(2, "board"), alarm(3)])
        hub.tell([score(4), update({"type": "health", "streams": []})])

    found = heard(lambda hub, loop: hub.join(loop, ["line"]), tell)
    assert [one["type"] for one in found] == ["score", "alarm", "score", "health"]
    assert [one["type"] for one in heard(lambda hub, loop: hub.join(loop, None), tell)].count("score") == 3


def test_a_slow_client_misses_scores_and_no_alarm():
    def tell(hub):
        for number in range(1000):
            hub.tell([score(number)])
            if number % 4 == 0:
                hub.tell([alarm(number)])

    found = heard(lambda hub, loop: hub.join(loop), tell)
    assert found[0] == {"type": "missed", "n": 800}
    assert [one["alarm"]["id"] for one in found if one["type"] == "alarm"] == list(range(0, 1000, 4))
    assert [one["frame"]["n"] for one in found if one["type"] == "score"] == list(range(800, 1000))


def test_a_client_that_reads_nothing_is_let_go(monkeypatch):
    monkeypatch.setattr(hub_module, "_MUST_WAIT", 50)

    def tell(hub):
        for number in range(60):
            hub.tell([alarm(number)])

    assert heard(lambda hub, loop: hub.join(loop), tell) == []


def test_who_comes_with_an_old_cursor_is_told_that_it_missed_some():
    def join(hub, loop):
        hub.tell([], cursor=17)
        return hub.join(loop, None, 5)

    assert heard(join, lambda hub: None) == [{"type": "missed", "n": 12}]


def test_a_grid_follows_its_header():
    grid = struct.pack("<4f", 1, 2, 3, 4)
    encoded = score(1, grid=grid).encoded
    (length,) = struct.unpack_from("<I", encoded)
    assert json.loads(encoded[4 : 4 + length]) == {"type": "score", "frame": {"n": 1}}
    assert encoded[4 + length :] == grid


@pytest.mark.parametrize("early", [True, False])
def test_who_leaves_hears_no_more(early):
    async def run():
        hub = Hub()
        client = hub.join(asyncio.get_running_loop())
        if early:
            hub.leave(client)
        reading = asyncio.create_task(all_of(client))
        await asyncio.sleep(0)
        hub.leave(client)
        hub.tell([score(1)])
        assert hub.n_clients == 0
        return await asyncio.wait_for(reading, 60)

    assert asyncio.run(run()) == []


def test_a_client_whose_loop_has_ended_is_no_harm():
    hub = Hub()
    loop = asyncio.new_event_loop()
    client = hub.join(loop)
    loop.close()
    hub.tell([score(1)])
    assert client.closed


def sent(updates, *, pictures):
    """What is sent of updates that come together to a client that draws pictures, or does not."""

    async def run():
        hub = Hub()
        client = hub.join(asyncio.get_running_loop(), pictures=pictures)
        hub.tell(updates)
        return [await asyncio.wait_for(anext(client), 60) for _ in updates]

    return asyncio.run(run())


def encoded(one, *, pictures):
    return sent([one], pictures=pictures)[0]


def test_a_picture_goes_to_who_draws_it_and_a_large_one_is_asked_for():
    small, large = picture(b"\xff" * 65_536), picture(b"\xff" * 65_537)
    head = b'{"type":"picture","stream":"line","key":"i:1"}'
    assert encoded(small, pictures=True) == struct.pack("<I", len(head)) + head + b"\xff" * 65_536
    for one, pictures in ((small, False), (large, True), (picture(None), True)):
        assert encoded(one, pictures=pictures) == head.decode()
    together = [picture(b"1"), score(1), picture(b"2"), picture(b"3"), score(2)]
    found = sent(together, pictures=True)
    assert [isinstance(one, bytes) for one in found] == [False, False, False, True, False]
    assert found[3].endswith(b"3"), "of those that come together the last is drawn"
    with_map = score(1, grid=b"1234")
    assert encoded(with_map, pictures=True) == encoded(with_map, pictures=False)


def test_of_pictures_one_waits_and_who_reads_gets_the_next():
    async def run():
        hub = Hub()
        client = hub.join(asyncio.get_running_loop(), pictures=True)
        for number in range(3):
            hub.tell([picture(b"%d" % number)])
        found = [await asyncio.wait_for(anext(client), 60) for _ in range(3)]
        hub.tell([picture(b"3")])
        for number in range(hub_module._MAY_WAIT + 1):  # the one that waits makes room as well
            hub.tell([score(number)])
        hub.tell([picture(b"4")])
        more = [await asyncio.wait_for(anext(client), 60) for _ in range(hub_module._MAY_WAIT + 1)]
        return found, more

    found, more = asyncio.run(run())
    assert [isinstance(one, bytes) for one in found] == [True, False, False]
    assert [one[-1:] for one in more if isinstance(one, bytes)] == [b"4"]
