"""All sockets of the service, bound together or not at all."""

import zmq

from musc_online.config import Config
from streamer.server.receive import Ports
from streamer.sockets import Context, Security, Socket, bind, socket_endpoint

_RECEIVED_AHEAD = 8
# Frames libzmq may hold per sender besides the queues: enough to keep busy, few enough to bound memory.
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
    transport, limits = config.transport, config.limits

    def server(
        name: str, kind: int, endpoint: str, role: str, *, hwm: int, max_part: int, linger_ms: int = 0
    ) -> Socket:
        socket = bind(
            context,
            kind,
            endpoint,
            key=f"transport.{name}",
            role=role,
            security=security,
            hwm=hwm,
            max_part=max_part,
            linger_ms=linger_ms,
        )
        bound.opened.append(socket)
        bound.endpoints[name] = socket_endpoint(socket)
        return socket

    # A part somewhat above the limit still comes in and gets its `error`; far above, libzmq hangs up.
    most = 2 * max(int(limits.payload_bytes), int(limits.header_bytes))
    try:
        bound.scores = server(
            "scores", zmq.PUB, transport.scores, "subscribers",
            hwm=transport.subscriber_queue, max_part=1024, linger_ms=_LAST_WORDS_MS,
        )  # fmt: skip
        bound.control = server(
            "control", zmq.ROUTER, transport.control, "controllers",
            hwm=100, max_part=2**17, linger_ms=_LAST_WORDS_MS,
        )  # fmt: skip
        frames = server(
            "frames", zmq.PULL, transport.frames, "publishers", hwm=_RECEIVED_AHEAD, max_part=most
        )
        acks, bound.acks_out = _pair(context, bound)
        bound.ports = Ports(frames, acks)
        if transport.reliable is not None:
            bound.ports.reliable = server(
                "reliable", zmq.ROUTER, transport.reliable, "publishers",
                hwm=transport.queue, max_part=most, linger_ms=_LAST_WORDS_MS,
            )  # fmt: skip
        if transport.imagezmq is not None:
            bound.ports.imagezmq = server(
                "imagezmq", zmq.REP, transport.imagezmq, "",
                hwm=_RECEIVED_AHEAD, max_part=most, linger_ms=_LAST_WORDS_MS,
            )  # fmt: skip
        if transport.imagezmq_subscribe:
            bound.ports.imagezmq_subscribe = _subscribe(context, transport.imagezmq_subscribe, most, bound)
    except BaseException:
        bound.close()
        raise
    return bound


def _pair(context: Context, bound: Bound) -> tuple[Socket, Socket]:
    # No limit: there is at most one ack a frame in flight, and those are bounded.
    acks = bind(context, zmq.PULL, "inproc://acks", key="acks", hwm=0)
    out = context.socket(zmq.PUSH)
    out.sndhwm, out.linger = 0, 0
    out.connect("inproc://acks")
    bound.opened += [acks, out]
    return acks, out


def _subscribe(context: Context, endpoints: tuple[str, ...], max_part: int, bound: Bound) -> Socket:
    socket = context.socket(zmq.SUB)
    bound.opened.append(socket)
    socket.rcvhwm, socket.linger, socket.maxmsgsize = _RECEIVED_AHEAD, 0, max_part
    socket.subscribe(b"")
    for endpoint in endpoints:
        socket.connect(endpoint)
    return socket
