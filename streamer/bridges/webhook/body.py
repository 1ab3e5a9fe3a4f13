"""Of one request: its id, its JSON, its signature."""

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook as Signer

from streamer.bridges import plain
from streamer.bridges.sink import Item


def body(items: Sequence[Item], bridge: str) -> str:
    """The JSON of one item, or of several as one batch, in ASCII.

    `{"type", "timestamp", "data"}` as Standard Webhooks advises: `type` is the item's kind and what it is in
    detail, `timestamp` when that was.
    """
    told = [_one(item, bridge) for item in items]
    if len(told) == 1:
        return json.dumps(told[0], allow_nan=False)
    return json.dumps(
        {"type": "batch", "timestamp": told[-1]["timestamp"], "data": {"items": told}}, allow_nan=False
    )


def _one(item: Item, bridge: str) -> dict[str, Any]:
    data = plain.fields(item)
    kind = ".".join(filter(None, (item.kind, plain.what(item))))
    if item.picture is not None:
        data["picture"] = {"encoding": "jpeg", "base64": _base64(item.picture)}
    entry = item.header.get("anomaly_map")
    if item.payload is not None and isinstance(entry, Mapping):
        data["map"] = {**plain.plain(entry), "base64": _base64(item.payload)}
    return {"type": kind, "timestamp": data["at"], "data": {"bridge": bridge, **data}}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def message_id(items: Sequence[Item], bridge: str) -> str:
    """Of a request, the same at every try. Without a full stop, which parts what is signed."""
    first, last = items[0].number, items[-1].number
    return f"msg_{bridge}_{first}" + ("" if first == last else f"_{last}")


def signed(signers: Sequence[Signer], name: str, text: str, at: datetime | None = None) -> Mapping[str, str]:
    """The headers that say what was sent, when, and by whom.

    Args:
        signers: one a secret; the receiver needs to know one of them.
        name: of the message.
        text: of its body.
        at: when it is sent; None for now. A receiver refuses what is minutes old, so each try has its own.
    """
    at = datetime.now(UTC) if at is None else at
    return {
        "webhook-id": name,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signer.sign(name, at, text) for signer in signers),
    }
