"""What a client that was let in cannot do: to another's session and subscriptions, to the room of all."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import zmq
from asyncua import Client, ua
from opcua_keys import WORDS, make_keys, secured, security
from opcua_support import Served, Watcher, call, node_of, run, watching
from streamer_support import PATIENCE_S

from streamer.wire.frame import pack

OTHERS = "BadSubscriptionIdInvalid"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def detector_port(folder: Path) -> Iterator[zmq.Socket]:
    """A control port that says nothing but what a test says there."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.linger = 0
        socket.bind(f"ipc://{folder}/control")
        yield socket


@pytest.fixture(scope="module")
def served(
    folder: Path, detector_port: zmq.Socket, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    commands = {"allow": ["threshold"], "users": ["plc-1"], "timeout_s": PATIENCE_S}
    control = detector_port.last_endpoint.decode()
    with Served(
        tmp_path_factory.mktemp("q"), control, security=security(folder), commands=commands
    ) as running:
        running.tell()
        yield running


def test_a_session_touches_no_subscription_of_another(served, folder):
    async def client():
        async with (
            await secured(served, folder) as mine,
            await secured(served, folder, user="plc-2") as other,
            watching(mine) as watcher,
        ):
            (number,) = served.sink._server.iserver.subscription_service.subscriptions
            for touch in (
                other.uaclient.set_publishing_mode(ua.SetPublishingModeParameters(False, [number])),
                other.uaclient.set_monitoring_mode(
                    ua.SetMonitoringModeParameters(number, ua.MonitoringMode.Disabled, [1])
                ),
                other.uaclient.delete_monitored_items(ua.DeleteMonitoredItemsParameters(number, [1])),
                other.uaclient.create_monitored_items(ua.CreateMonitoredItemsParameters(number)),
                other.uaclient.session.republish(number, 1),
                other.uaclient.delete_subscriptions([number]),
            ):
                with pytest.raises(ua.UaStatusCodeError, match=OTHERS):
                    await touch
            with pytest.raises(ua.UaStatusCodeError, match="BadUserAccessDenied"):
                await other.uaclient.transfer_subscriptions(ua.TransferSubscriptionsParameters([number]))
            served.tell()
            await watcher.until(lambda: watcher.events)

    run(client())


def test_what_one_has_not_read_no_other_acknowledges(served, folder):
    async def client():
        async with await secured(served, folder) as mine, watching(mine):
            (owner,) = served.sink._server.iserver.sessions()
            (number,) = served.sink._server.iserver.subscription_service.subscriptions
            ack = ua.SubscriptionAcknowledgement(number, 1)
            async with await secured(served, folder, user="plc-2"):
                (other,) = [one for one in served.sink._server.iserver.sessions() if one is not owner]
                assert owner.publish([ack])[1][0].is_good()
                assert other.publish([ack])[1][0].name == OTHERS

    run(client())


def test_queues_of_values_and_events_are_bounded_and_stay_so(served, folder):
    async def client():
        async with await secured(served, folder) as opc:
            subscription = await opc.create_subscription(60_000, Watcher())
            beat = node_of(opc, "bridge/Heartbeat")
            item = await subscription.subscribe_data_change(beat, queuesize=100_000)
            kept = served.sink._server.iserver.subscription_service.subscriptions
            (one,) = kept[subscription.subscription_id].monitored_item_srv._monitored_items.values()
            assert one.queue_size == 10
            with pytest.raises(ua.UaStatusCodeError, match="BadServiceUnsupported"):
                await subscription.modify_monitored_item(item, 0, new_queuesize=100_000)

    run(client())


def test_only_those_who_may_say_words(served, folder):
    async def client(user):
        async with await secured(served, folder, user=user) as opc:
            return await threshold(opc)

    with pytest.raises(ua.UaStatusCodeError, match="BadUserAccessDenied"):
        run(client("plc-2"))


def test_so_many_words_wait_for_the_detector_and_no_more(served, folder, detector_port):
    def taken(count):
        for _ in range(count):
            assert detector_port.poll(PATIENCE_S * 1000)
            yield detector_port.recv_multipart()[:-1]

    async def client():
        async with AsyncExitStack() as stack:
            # A client has one word at a time: what it says next waits behind it.
            clients = [await stack.enter_async_context(await secured(served, folder)) for _ in range(5)]
            waiting = [asyncio.ensure_future(threshold(one)) for one in clients[:4]]
            senders = await asyncio.to_thread(lambda: list(taken(4)))
            with pytest.raises(ua.UaStatusCodeError, match="BadTooManyOperations"):
                await threshold(clients[4])
            for sender in senders:
                detector_port.send_multipart([*sender, pack({"v": 1, "ok": True})])
            assert [one[0] for one in await asyncio.gather(*waiting)] == [True] * 4

    run(client())


def threshold(opc: Client) -> Any:
    return call(opc, "stream/line/ResultManagement", "SetThreshold", 0.5)


def test_a_session_stays_its_users(served, folder):
    async def client():
        async with await secured(served, folder) as opc:
            with pytest.raises(ua.UaStatusCodeError, match="BadIdentityChangeNotSupported"):
                await opc.activate_session("plc-2", WORDS)
            return served.sink._server.iserver.sessions()[0].user.name

    assert run(client()) == "plc-1"


def test_nobody_guesses_the_token_of_a_session(served, folder):
    async def client() -> bytes:
        async with await secured(served, folder):
            (session,) = served.sink._server.iserver.sessions()
            return session.auth_token.Identifier

    first, second = run(client()), run(client())
    assert first != second
    assert len(first) == len(second) == 32
