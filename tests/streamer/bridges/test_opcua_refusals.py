"""Who is not let in, and what those who are cannot do: each with a real client, or with bare bytes."""

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from asyncua import Client, ua
from opcua_keys import WORDS, make_keys, secured, security
from opcua_support import Served, node_of, run, watching
from streamer_support import PATIENCE_S, until

from streamer.bridges.opcua import keys


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def secure(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("secure"), security=security(folder)) as running:
        yield running


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    limits = {
        "sessions": 3,
        "subscriptions": 2,
        "monitored_items": 5,
        "publish_ms": 100,
        "message_bytes": 65536,
    }
    with Served(tmp_path_factory.mktemp("plain"), limits=limits) as running:
        yield running


def test_a_trusted_client_with_a_password_reads_and_hears(secure, folder):
    async def client():
        async with await secured(secure, folder) as opc, watching(opc) as watcher:
            secure.tell()
            await watcher.until(lambda: watcher.events)
            return await node_of(opc, "stream/line/LastVerdict").read_value()

    assert run(client()) == 2


@pytest.mark.parametrize(
    ("who", "code"),
    [
        ({"name": "stranger"}, "BadCertificateUntrusted"),
        ({"password": "wrong horse battery"}, "BadUserAccessDenied"),
        ({"user": "nobody"}, "BadUserAccessDenied"),
        ({"user": "admin"}, "BadUserAccessDenied"),
        ({"user": "plc-1\x00"}, "BadUserAccessDenied"),
    ],
)
def test_a_stranger_or_a_wrong_password_is_refused(secure, folder, who, code):
    async def client():
        async with await secured(secure, folder, **who):
            pass

    with pytest.raises(ua.UaStatusCodeError, match=code):
        run(client())


def test_nobody_comes_without_a_name(secure, folder):
    async def client():
        opc = await secured(secure, folder, user=None)
        anonymous = ua.UserTokenPolicy(PolicyId="anonymous", TokenType=ua.UserTokenType.Anonymous)
        opc.server_policy = lambda _kind: anonymous  # what a client says that does not ask first
        async with opc:
            pass

    with pytest.raises(ua.UaStatusCodeError, match="BadIdentityTokenRejected"):
        run(client())


@pytest.mark.parametrize("user", [None, "plc-1"])
def test_a_channel_without_security_gets_no_session(secure, user):
    async def client():
        opc = Client(secure.endpoint)
        if user is not None:
            opc.set_user(user)
            opc.set_password(WORDS)
        await opc.connect_socket()
        try:
            await opc.send_hello()
            await opc.open_secure_channel()
            await opc.create_session()
        finally:
            opc.disconnect_socket()

    with pytest.raises(ua.UaStatusCodeError, match="BadCertificateUntrusted"):
        run(client())


def test_a_signed_channel_that_is_not_encrypted_is_not_opened(secure, folder, monkeypatch):
    # A connection that comes to nothing is closed after a while too: not here.
    monkeypatch.setattr(secure.sink._server.iserver, "max_pending_activation_seconds", 1e6)

    async def client():
        opc = await secured(secure, folder, mode=ua.MessageSecurityMode.Sign)
        opc.uaclient._timeout = PATIENCE_S
        async with opc:
            pass

    with pytest.raises(ConnectionError):  # the server says nothing to it, and hangs up
        run(client())


@pytest.mark.parametrize("named", ["plc", None])
def test_whoever_names_another_ones_certificate_or_none_is_refused(secure, folder, named):
    """The certificate that CreateSession names is public; the channel's is the one whose key they have."""

    async def client():
        opc = await secured(secure, folder, "stranger")
        create = opc.uaclient.create_session

        async def forged(params):
            params.ClientCertificate = None if named is None else (folder / f"{named}.der").read_bytes()
            return await create(params)

        opc.uaclient.create_session = forged
        await opc.connect_socket()
        try:
            await opc.send_hello()
            await opc.open_secure_channel()
            try:
                await opc.create_session()
            except ua.UaError as error:  # of its own check of the signature, which went wrong by the forgery
                if isinstance(error, ua.UaStatusCodeError):
                    raise
            await opc.activate_session("plc-1", WORDS)
        finally:
            opc.disconnect_socket()

    with pytest.raises(ua.UaStatusCodeError, match="BadCertificateUntrusted"):
        run(client())


def test_a_certificate_that_is_taken_away_or_a_password_that_is_changed_counts_at_once(
    secure, folder, tmp_path
):
    async def client(password=WORDS):
        async with await secured(secure, folder, user="plc-2", password=password):
            pass

    run(client())
    (folder / "trusted" / "plc.der").rename(tmp_path / "plc.der")
    with pytest.raises(ua.UaStatusCodeError, match="BadCertificateUntrusted"):
        run(client())
    (tmp_path / "plc.der").rename(folder / "trusted" / "plc.der")
    keys.add_user(folder / "users", "plc-2", "another good password")
    with pytest.raises(ua.UaStatusCodeError, match="BadUserAccessDenied"):
        run(client())
    run(client("another good password"))


def test_nobody_writes_adds_or_registers_anything(plain):
    async def client():
        async with Client(plain.endpoint) as opc:
            writable = opc.get_node(ua.ObjectIds.Server_ServerDiagnostics_EnabledFlag)
            for node, value in ((writable, True), (node_of(opc, "stream/line/LastVerdict"), 1)):
                with pytest.raises(ua.UaStatusCodeError, match="BadNotWritable"):
                    await node.write_value(ua.Variant(value))
            with pytest.raises(ua.UaStatusCodeError, match="BadUserAccessDenied"):
                await opc.nodes.objects.add_object(3, "mine")
            with pytest.raises(ua.UaStatusCodeError, match="BadUserAccessDenied"):
                await opc.delete_nodes([node_of(opc, "stream/line")])
            with pytest.raises(ua.UaStatusCodeError, match="BadServiceUnsupported"):
                await opc.register_server(plain.sink._server)
            assert await node_of(opc, "stream/line/LastVerdict").read_value() == 2

    plain.tell()
    run(client())


def test_sessions_subscriptions_and_items_are_bounded(plain):
    async def client():
        others = [Client(plain.endpoint) for _ in range(3)]
        for one in others:
            await one.connect()
        try:
            with pytest.raises(ua.UaStatusCodeError, match="BadTooManySessions"):
                async with Client(plain.endpoint):
                    pass
            fast, slow = [await others[0].create_subscription(period, None) for period in (0, 500)]
            running = plain.sink._server.iserver.subscription_service.subscriptions
            assert [running[one.subscription_id].data.RevisedPublishingInterval for one in (fast, slow)] == [
                100,
                500,
            ]
            # The session of one that asks for nothing to be said for hours would end meanwhile.
            assert [running[one.subscription_id].data.RevisedMaxKeepAliveCount for one in (fast, slow)] == [
                600,
                120,
            ]
            with pytest.raises(ua.UaStatusCodeError, match="BadTooManySubscriptions"):
                await others[1].create_subscription(500, None)
            beat = node_of(others[0], "bridge/Heartbeat")
            await fast.subscribe_data_change([beat] * 5)
            with pytest.raises(ua.UaStatusCodeError, match="BadTooManyMonitoredItems"):
                await fast.subscribe_data_change(beat)
            with pytest.raises(ua.UaStatusCodeError, match="BadSubscriptionIdInvalid"):
                await others[1].uaclient.delete_subscriptions([slow.subscription_id])
        finally:
            for one in others:
                await one.disconnect()
        # What they left is gone: there is room again.
        async with Client(plain.endpoint) as opc, watching(opc) as watcher:
            plain.tell()
            await watcher.until(lambda: watcher.events)

    run(client())


def test_a_message_that_announces_too_much_is_cut_off_at_once(plain, monkeypatch):
    # A connection that comes to nothing is closed after a while too: not here.
    monkeypatch.setattr(plain.sink._server.iserver, "max_pending_activation_seconds", 1e6)
    host, port = plain.endpoint.removeprefix("opc.tcp://").partition("/")[0].split(":")
    with socket.create_connection((host, int(port)), PATIENCE_S) as bare:
        bare.settimeout(PATIENCE_S)
        bare.sendall(b"HELF" + struct.pack("<I", 2**31) + bytes(1000))
        with suppress(ConnectionResetError):
            assert bare.recv(1000) == b""


def test_a_request_of_many_chunks_is_refused_and_others_are_served(plain):
    async def client():
        async with Client(plain.endpoint) as opc:
            opc.uaclient._timeout = PATIENCE_S
            # The server says so and hangs up; whether what it says is read before is the network's.
            with pytest.raises((ua.uaerrors.BadRequestTooLarge, ConnectionError)):
                await opc.get_node(ua.NodeId("x" * 200_000, 3)).read_value()
        async with Client(plain.endpoint) as opc:
            assert await node_of(opc, "bridge/LastItemNumber").read_value() >= 0

    run(client())


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 64, b"MSGF\x10\x00\x00\x00" + b"\xff" * 8]
)
def test_what_is_no_opc_ua_stops_nobody(plain, garbage):
    host, port = plain.endpoint.removeprefix("opc.tcp://").partition("/")[0].split(":")

    async def client():
        async with Client(plain.endpoint) as opc:
            return await node_of(opc, "bridge/Heartbeat").read_value()

    with socket.create_connection((host, int(port)), PATIENCE_S) as bare:
        bare.sendall(garbage)
        assert run(client()) >= 0


def test_a_client_that_reads_no_answers_is_asked_for_no_more_until_it_does(plain):
    host, port = plain.endpoint.removeprefix("opc.tcp://").partition("/")[0].split(":")
    listener, answers = plain.sink._server.bserver, bytes(16 * 2**20)
    with socket.create_connection((host, int(port)), PATIENCE_S) as bare:
        name = bare.getsockname()
        until(lambda: any(one.peer_name == name for one in listener.clients))
        (transport,) = [one.transport for one in listener.clients if one.peer_name == name]
        plain._loop.call_soon_threadsafe(transport.write, answers)
        until(lambda: transport.get_write_buffer_size() > 0 and not transport.is_reading())
        left = len(answers)
        while left:
            left -= len(bare.recv(2**20))
        until(transport.is_reading)
