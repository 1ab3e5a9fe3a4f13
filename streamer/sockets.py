"""Every socket of the project is made here, so that every option is in one place.

Nothing waits for ever: sends and receives of clients time out, closing gives up after `linger_ms`, dead TCP
peers are noticed by keepalive and heartbeats. IPv6 stays off; a non-loopback bind needs CURVE or an explicit
`insecure`.
"""

import ipaddress
from dataclasses import dataclass

import zmq
from zmq.utils.monitor import recv_monitor_message

from streamer.auth import ClientKeys, ServerKeys
from streamer.errors import StreamerError

Context = zmq.Context[zmq.Socket[bytes]]
Socket = zmq.Socket[bytes]

FRAMES = "tcp://127.0.0.1:5555"
SCORES = "tcp://127.0.0.1:5556"
CONTROL = "tcp://127.0.0.1:5557"

_SLICE = 1000
_HEARTBEAT_MS = 5_000
_ANSWERING = frozenset({zmq.REQ, zmq.REP, zmq.DEALER, zmq.ROUTER})
"""Sockets whose owners always read. libzmq answers a heartbeat only while it reads: one that holds back its
senders, or a subscriber that is slow, would lose its connection and what is on the way. Only those that
connect ask for heartbeats: libzmq ends the process (`Assertion failed: !_io_error`) where one is due on a
connection that it has stopped reading and whose peer is gone, and a server does not choose its peers."""


@dataclass(frozen=True)
class Security:
    """How a server binds: keys, or plaintext on loopback only unless `insecure`."""

    keys: ServerKeys | None = None
    insecure: bool = False


class MessageReader:
    """Reads a socket's messages a slice at a time and keeps no more than the first parts of each.

    libzmq takes any number of parts, two bytes each on the wire: read at one go, a message of ten million
    would hold up its reader for seconds, and cost it a gigabyte.

    Args:
        socket: that nobody else reads.
        most: parts kept of a message.
    """

    def __init__(self, socket: Socket, most: int) -> None:
        self._socket, self._most = socket, most
        self._head: list[zmq.Frame] = []

    def read(self) -> list[zmq.Frame] | None:
        """The first parts of a message, or None where its end has not been reached yet: read again.

        Raises:
            zmq.Again: no message is there.
        """
        for _ in range(_SLICE):
            part = self._socket.recv(zmq.DONTWAIT, copy=False)
            if len(self._head) < self._most:
                self._head.append(part)
            if not part.more:
                head, self._head = self._head, []
                return head
        return None


def bind(
    context: Context,
    kind: int,
    endpoint: str,
    *,
    key: str,
    role: str = "",
    security: Security | None = None,
    hwm: int = 1000,
    send_hwm: int | None = None,
    max_part: int = -1,
    linger_ms: int = 0,
) -> Socket:
    """A server socket, bound; `socket_endpoint` tells where when the port was `*`.

    Args:
        kind: `zmq.PULL` and so on.
        key: name of the configuration key the endpoint is from, for errors.
        role: which allow-list admits peers (`streamer.auth.ADMITTED`); "" for imagezmq's
            port, whose senders know no CURVE.
        hwm: messages kept a peer: received and not read yet, and to be sent where `send_hwm` is None.
        send_hwm: messages kept a peer that reads too slowly, or nothing.
        max_part: bytes of one message part above which libzmq cuts the peer off; -1 for no limit.

    Raises:
        StreamerError: the endpoint is taken, malformed, or open to the network without keys.
    """
    security = security or Security()
    keys = security.keys if role else None
    check_open(key, endpoint, keys, security.insecure, knows_keys=bool(role))
    _check_port(endpoint, f"{key}: cannot bind {endpoint}")
    socket = _new(context, kind, hwm, max_part, linger_ms)
    if send_hwm is not None:
        socket.sndhwm = send_hwm
    if keys is not None:
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = keys.public, keys.secret
        socket.zap_domain = role.encode()
    # No handover: of two peers under one identity the first keeps its answers. libzmq would not close the
    # connection of the one that lost its identity, only throw away what it sends, for ever.
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        socket.close()
        reason = zmq.strerror(error.errno or 0)
        advice = (
            "is another detector running?" if error.errno == zmq.EADDRINUSE else f"expected e.g. {FRAMES}"
        )
        raise StreamerError(f"{key}: cannot bind {endpoint} ({reason}); {advice}") from None
    return socket


def connect(
    context: Context,
    kind: int,
    endpoint: str,
    *,
    keys: ClientKeys | None = None,
    hwm: int = 1000,
    linger_ms: int = 0,
    timeout_ms: int = -1,
    identity: bytes | None = None,
    wait_ms: int | None = None,
    max_part: int = -1,
    connected_only: bool = False,
    send_buffer: int = -1,
    stalled_ms: int = 0,
    events: int = 0,
) -> Socket:
    """A client socket; sends and receives raise `zmq.Again` after `timeout_ms` (-1: wait).

    With `wait_ms` the peer has shaken hands when this returns; without, the connection is made in the
    background whenever the peer appears. A peer that sends a part of more than `max_part` bytes is cut off.
    With `connected_only` nothing is kept to be sent while there is no connection. The kernel keeps some
    `send_buffer` bytes that are on their way (-1: as many as it likes). A TCP connection whose peer takes
    nothing for `stalled_ms` (0: for as long as the kernel's patience lasts) is made anew; what was on its way
    is lost. Of `events` (`zmq.EVENT_...`, without `wait_ms`) none is missed: its
    `get_monitor_socket()` has them from the first connection on.

    Raises:
        StreamerError: the endpoint is malformed, nobody listens there, or our key is refused.
    """
    _check_port(endpoint, f"cannot connect to {endpoint}")
    socket = _new(context, kind, hwm, max_part, linger_ms)
    if kind in _ANSWERING:
        socket.heartbeat_ivl = _HEARTBEAT_MS
        socket.heartbeat_timeout = 3 * _HEARTBEAT_MS
    if keys is not None:
        socket.curve_serverkey = keys.server
        socket.curve_publickey, socket.curve_secretkey = keys.public, keys.secret
    if kind == zmq.REQ:
        # A reply that never comes must not leave the socket unusable.
        socket.req_relaxed, socket.req_correlate = True, True
    if identity is not None:
        socket.identity = identity
    socket.rcvtimeo = socket.sndtimeo = timeout_ms
    socket.reconnect_ivl_max = 2_000
    socket.immediate = connected_only
    socket.sndbuf, socket.tcp_maxrt = send_buffer, stalled_ms
    try:
        if events:  # before it connects: the handshake may be over before `connect` returns
            socket.get_monitor_socket(events).linger = 0
        if wait_ms is None:
            socket.connect(endpoint)
        else:
            _connect_and_wait(socket, endpoint, wait_ms)
    except zmq.ZMQError as error:
        socket.close()
        raise StreamerError(
            f"cannot connect to {endpoint} ({zmq.strerror(error.errno or 0)}); expected e.g. {FRAMES}"
        ) from None
    except StreamerError:
        socket.close()
        raise
    return socket


def socket_endpoint(socket: Socket) -> str:
    """Where a bound socket can be reached."""
    endpoint: bytes = socket.getsockopt(zmq.LAST_ENDPOINT)  # type: ignore[assignment]
    return endpoint.rstrip(b"\0").decode()


def check_open(
    key: str, endpoint: str, keys: ServerKeys | None, insecure: bool, *, knows_keys: bool = True
) -> None:
    """Beyond loopback nothing is bound without keys, unless somebody says so.

    Args:
        key: name of the configuration key the endpoint is from.
        keys: that its peers must have.
        insecure: somebody says so.
        knows_keys: whether setting keys would help.

    Raises:
        StreamerError: it would be open to everybody.
    """
    if keys is None and not insecure and not is_local(endpoint):
        how = "set security.keys (musc-online keys DIR) or" if knows_keys else "set"
        raise StreamerError(
            f"{key}: got {endpoint}, which is open to the network in plaintext; "
            f"{how} transport.insecure: true, or bind to 127.0.0.1"
        )


def is_local(endpoint: str) -> bool:
    """Whether only this machine can reach an endpoint."""
    scheme, _, address = endpoint.partition("://")
    if scheme in {"ipc", "inproc"}:
        return True
    return is_loopback(address.rpartition(":")[0].strip("[]"))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host, a name or an address without brackets."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_port(endpoint: str, what: str) -> None:
    # libzmq takes 99999 without a word, modulo 65536.
    port = endpoint.rpartition(":")[2]
    if endpoint.startswith("tcp://") and port.isdigit() and int(port) > 65535:
        raise StreamerError(f"{what} (port {port}); expected a port of at most 65535, or *")


def _connect_and_wait(socket: Socket, endpoint: str, wait_ms: int) -> None:
    wanted = zmq.EVENT_HANDSHAKE_SUCCEEDED
    refused = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    refused |= zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    # The monitor comes first: the handshake may be over before `connect` returns.
    monitor = socket.get_monitor_socket(wanted | refused)
    monitor.linger = 0
    try:
        socket.connect(endpoint)
        if not monitor.poll(wait_ms):
            raise StreamerError(
                f"{endpoint}: no detector answers within {wait_ms / 1000:g} s; is `musc-online serve` "
                f"running, and do both sides use CURVE keys, or neither?"
            )
        if recv_monitor_message(monitor)["event"] != wanted:
            raise StreamerError(
                f"{endpoint}: the detector refuses the connection; it wants a CURVE key it knows "
                f"(--key, --server-key), or none at all"
            )
    finally:
        socket.disable_monitor()
        monitor.close()


def _new(context: Context, kind: int, hwm: int, max_part: int, linger_ms: int) -> Socket:
    socket = context.socket(kind)
    socket.linger = linger_ms
    socket.rcvhwm = socket.sndhwm = hwm
    socket.maxmsgsize = max_part
    socket.ipv6 = False
    socket.tcp_keepalive = 1
    socket.tcp_keepalive_idle, socket.tcp_keepalive_intvl, socket.tcp_keepalive_cnt = 10, 5, 3
    socket.handshake_ivl = 10_000
    return socket
