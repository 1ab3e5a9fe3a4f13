"""One request to a running detector's control socket, and its answer."""

from collections.abc import Mapping
from typing import Any

import zmq

from streamer.auth import ClientKeys
from streamer.errors import StreamerError, WireError
from streamer.sockets import CONTROL, Context, connect
from streamer.wire.frame import pack, unpack

_MAX_REPLY = 256 * 1024 * 1024


def ask(
    request: Mapping[str, Any],
    endpoint: str = CONTROL,
    *,
    keys: ClientKeys | None = None,
    timeout_s: float = 10.0,
) -> dict[str, Any]:
    """One request to a running detector, and its answer.

    Args:
        request: its `kind` and what belongs to that (docs/wire.md#control).
        endpoint: the detector's `transport.control`.
        keys: CURVE keys where the detector asks for them.
        timeout_s: how long to wait for the answer.

    Returns:
        The answer, as docs/wire.md#control has it of that kind.

    Raises:
        StreamerError: no answer in time.
        WireError: the detector's answer is an error.
    """
    context = Context()
    try:
        socket = connect(context, zmq.REQ, endpoint, keys=keys, timeout_ms=round(1000 * timeout_s))
        try:
            socket.send(pack(request))
            answer = unpack(socket.recv(), _MAX_REPLY)
        except zmq.Again:
            raise StreamerError(
                f"{endpoint}: no answer within {timeout_s:g} s; is `musc-online serve` running, is the key "
                "right?"
            ) from None
        finally:
            socket.close()
    finally:
        context.term()
    if not answer.get("ok"):
        raise WireError(str(answer.get("code")), str(answer.get("text")))
    return answer
