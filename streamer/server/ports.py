"""All sockets of the service, bound together or not at all."""

import zmq

from musc_online.config import Config
from streamer.server.receive import Ports
from streamer.server.subscriptions import MAX_SUBSCRIPTION, SUBSCRIPTIONS_AHEAD
from streamer.sockets import Context, Security, Socket, bind, socket_endpoint

_RECEIVED_AHEAD = 8
# Messages that libzmq may hold of a sender besides the queues, at most: enough to keep busy.
_ACKS = 1000
# To a reliable sender that reads too slowly; it has far fewer frames on the way.
_REQUESTS, _ANSWERS = 4, 4
# Of one connection: who waits for an answer before it asks again needs one of each.
_LAST_WORDS_MS = 2_000
# After the last message is published, subscribers get this long to take it; as those do who wait for answers.


class Bound:
    """The sockets, and where each can be reached."""

    def __init__(self) -> None:
        self.opened: list[Socket] = []
        self.endpoints: dict[str, str] = {}
        self.ports: Ports
        self.scores: Socket
        self.control: Socket
        self.acks_out: Socket

    def close(self) -> None:
        """Close them all; for a start that failed."""
        for socket in self.opened:
            socket.close(0)


def bind_all(context: Context, config: Config, security: Security) -> Bound:
    """Bind what the configuration asks for.

    Raises:
        StreamerError: the first endpoint that cannot be had; none is left open.
    """
    bound = Bound()
    transport = config.transport

    def server(
        name: str,
        kind: int,
        endpoint: str,
        role: str,
        *,
        hwm: int,
        max_part: int,
        send_hwm: int | None = None,
        linger_ms: int = 0,
    ) -> Socket:
        socket = bind(
            context,
            kind,
            endpoint,
            key=f"transport.{name}",
            role=role,
            security=security,
            hwm=hwm,
            send_hwm=send_hwm,
            max_part=max_part,
            linger_ms=linger_ms,
        )
        bound.opened.append(socket)
        bound.endpoints[name] = socket_endpoint(socket)
        return socket

    most = _largest_part(config)
    ahead = _received_ahead(config)
    try:
        bound.scores = server(
            "scores", zmq.XPUB, transport.scores, "subscribers",
            hwm=SUBSCRIPTIONS_AHEAD, send_hwm=transport.subscriber_queue, max_part=MAX_SUBSCRIPTION,
            linger_ms=_LAST_WORDS_MS,
        )  # fmt: skip
        bound.control = server(
            "control", zmq.ROUTER, transport.control, "controllers",
            hwm=_REQUESTS, send_hwm=_ANSWERS, max_part=2**17, linger_ms=_LAST_WORDS_MS,
        )  # fmt: skip
        frames = server("frames", zmq.PULL, transport.frames, "publishers", hwm=ahead, max_part=most)
        acks, bound.acks_out = _pair(context, bound)
        bound.ports = Ports(frames, acks)
        if transport.reliable is not None:
            bound.ports.reliable = server(
                "reliable", zmq.ROUTER, transport.reliable, "publishers",
                hwm=ahead, send_hwm=_ACKS, max_part=most, linger_ms=_LAST_WORDS_MS,
            )  # fmt: skip
        if transport.imagezmq is not None:
            bound.ports.imagezmq = server(
                "imagezmq", zmq.REP, transport.imagezmq, "",
                hwm=ahead, max_part=most, linger_ms=_LAST_WORDS_MS,
            )  # fmt: skip
        if transport.imagezmq_subscribe:
            endpoints = transport.imagezmq_subscribe
            bound.ports.imagezmq_subscribe = _subscribe(context, endpoints, ahead, most, bound)
    except BaseException:
        bound.close()
        raise
    return bound


def _largest_part(config: Config) -> int:
    """Bytes of a part above which libzmq hangs up; what is a little too large gets its `error`."""
    allowed = max(int(config.limits.payload_bytes), int(config.limits.header_bytes))
    return allowed + max(allowed // 8, 64 * 1024)


def _received_ahead(config: Config) -> int:
    """Messages that libzmq may hold of one sender: with the one that comes in, `limits.queue_bytes`."""
    room = int(config.limits.queue_bytes) // _largest_part(config) - 1
    return max(2, min(_RECEIVED_AHEAD, room))  # of one libzmq would take none: CURVE's credentials count


def _pair(context: Context, bound: Bound) -> tuple[Socket, Socket]:
    # No limit: there is at most one ack a frame in flight, and those are bounded.
    acks = bind(context, zmq.PULL, "inproc://acks", key="acks", hwm=0)
    out = context.socket(zmq.PUSH)
    out.sndhwm, out.linger = 0, 0
    out.connect("inproc://acks")
    bound.opened += [acks, out]
    return acks, out


def _subscribe(
    context: Context, endpoints: tuple[str, ...], ahead: int, max_part: int, bound: Bound
) -> Socket:
    socket = context.socket(zmq.SUB)
    bound.opened.append(socket)
    socket.rcvhwm, socket.linger, socket.maxmsgsize = ahead, 0, max_part
    socket.subscribe(b"")
    for endpoint in endpoints:
        socket.connect(endpoint)
    return socket
