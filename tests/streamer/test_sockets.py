"""Socket options: ports are found, endpoints checked, nothing waits for ever."""

import pytest
import zmq
from streamer_support import ANY_PORT, PATIENCE_MS

from streamer import sockets
from streamer.errors import StreamerError
from streamer.sockets import Context, Security, bind, connect, socket_endpoint


@pytest.fixture
def context():
    context = Context()
    yield context
    context.destroy(linger=0)


def test_a_free_port_is_found_and_told(context):
    socket = bind(context, zmq.PULL, ANY_PORT, key="transport.frames")
    endpoint = socket_endpoint(socket)
    assert endpoint.startswith("tcp://127.0.0.1:")
    assert int(endpoint.rpartition(":")[2]) > 0
    socket.close()


@pytest.mark.parametrize(
    "endpoint", ["nonsense", "tcp://127.0.0.1", "tcp://127.0.0.1:99999", "carrier://pigeon"]
)
def test_a_malformed_endpoint_names_its_key(context, endpoint):
    with pytest.raises(StreamerError, match=r"transport\.frames: "):
        bind(context, zmq.PULL, endpoint, key="transport.frames", security=Security(insecure=True))
    with pytest.raises(StreamerError, match="cannot connect"):
        connect(context, zmq.PUSH, endpoint)


@pytest.mark.parametrize("insecure", [True, False])
def test_plaintext_to_the_network_is_a_decision(context, insecure):
    security = Security(insecure=insecure)
    if insecure:
        bind(context, zmq.PULL, "tcp://0.0.0.0:*", key="k", role="publishers", security=security).close()
    else:
        with pytest.raises(StreamerError, match=r"insecure: true"):
            bind(context, zmq.PULL, "tcp://0.0.0.0:*", key="k", role="publishers", security=security)


def test_every_socket_gives_up_in_the_end(context):
    server = bind(context, zmq.PULL, ANY_PORT, key="k", hwm=3, max_part=1000)
    client = connect(context, zmq.PUSH, socket_endpoint(server), timeout_ms=10, wait_ms=PATIENCE_MS)
    for socket in (server, client):
        assert socket.linger == 0
        assert socket.ipv6 == 0
        assert socket.tcp_keepalive_idle == 10
    assert (server.rcvhwm, server.maxmsgsize, client.rcvtimeo) == (3, 1000, 10)
    client.close()
    server.close()


@pytest.mark.parametrize("kind", [zmq.ROUTER, zmq.REP])
def test_a_server_asks_for_no_heartbeats(context, kind):
    """libzmq ends the process where one is due on a connection that broke while nobody read it."""
    server = bind(context, kind, ANY_PORT, key="k", hwm=4)
    assert server.heartbeat_ivl == 0
    server.close()


def test_a_reader_that_pauses_for_long_loses_nothing(context, monkeypatch):
    """`when_full: block` reads nothing while its queue is full, perhaps longer than any heartbeat."""
    monkeypatch.setattr(sockets, "_HEARTBEAT_MS", 100)
    server = bind(context, zmq.PULL, ANY_PORT, key="k", hwm=4)
    events = server.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    client = connect(context, zmq.PUSH, socket_endpoint(server), hwm=4, linger_ms=PATIENCE_MS)
    payload = bytes(200_000)
    sent = 0
    while client.poll(1000, zmq.POLLOUT):  # until pipes and TCP buffers are full, for ten heartbeats
        assert sent < 500, "buffers are emptied by reconnecting"
        client.send_multipart([str(sent).encode(), payload])
        sent += 1
    server.rcvtimeo = PATIENCE_MS
    assert [server.recv_multipart()[0] for _ in range(sent)] == [str(index).encode() for index in range(sent)]
    assert not events.poll(0)
    server.disable_monitor()
    events.close()
    client.close()
    server.close()


def test_a_reply_that_never_comes_leaves_the_socket_usable(context):
    server = bind(context, zmq.ROUTER, ANY_PORT, key="k")
    client = connect(context, zmq.REQ, socket_endpoint(server), timeout_ms=50, wait_ms=PATIENCE_MS)
    client.send(b"first")
    with pytest.raises(zmq.Again):
        client.recv()
    client.send(b"second")
    assert server.poll(PATIENCE_MS)
    client.close()
    server.close()
