"""The WebSocket: what changes, as it changes, to everybody who looks."""

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocket, WebSocketDisconnect

from streamer.page.login import Session
from streamer.page.parts import Parts, parts_of

if TYPE_CHECKING:
    from streamer.page.hub import Client

router = APIRouter()

_CHECK_S = 5.0
_MOST_HEARD = 1000
_STREAMS = 64
_NO_SESSION, _SLOW = 4401, 4408


class _Open:
    """How many WebSockets are open: half of all connections, so that plain requests always find room."""

    n = 0


@router.websocket("/ws")
async def live(
    socket: WebSocket,
    cursor: Annotated[int | None, Query(ge=0, le=2**62)] = None,
    streams: Annotated[str, Query(max_length=2000)] = "",
    pictures: bool = False,
) -> None:
    """Tell a browser what changes from `cursor` on, of the streams listed (all without).

    `streams` is a JSON list of names, or one name. With `pictures` the one that came last comes with its
    message: who draws each asks for it ten times a second else, which is most of what the page does.
    """
    parts = parts_of(socket)
    session = parts.logins.session(socket)
    if session is None or 2 * _Open.n >= parts.config.listen.connections:
        await socket.close(1008)
        return
    _Open.n += 1
    client = parts.hub.join(asyncio.get_running_loop(), _names(streams), cursor, pictures=pictures)
    try:
        await socket.accept()
        hello = {
            "type": "hello",
            "cursor": parts.hub.cursor,
            "detector": await run_in_threadpool(parts.follower.detector),
            "role": session.role,
        }
        await socket.send_text(json.dumps(hello))
        await _serve(parts, socket, client, session)
    except (RuntimeError, WebSocketDisconnect):  # it has left
        pass
    finally:
        _Open.n -= 1
        parts.hub.leave(client)


def _names(streams: str) -> list[str] | None:
    """The streams wanted: a JSON list, since a name may hold anything but '/'; else one name."""
    if not streams.startswith("["):
        return [streams] if streams else None
    try:
        listed = json.loads(streams)
    except (ValueError, RecursionError):
        return [streams]
    return [name for name in listed if isinstance(name, str)][:_STREAMS] or None


async def _serve(parts: Parts, socket: WebSocket, client: "Client", session: Session) -> None:
    """Until the browser leaves, its session ends, or it reads too slowly to be told of every alarm."""
    tasks = [
        asyncio.create_task(work) for work in (_send(socket, client), _hear(socket), _watch(parts, session))
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    code = next((task.result() for task in done if task.exception() is None), None)
    if code is not None:
        with suppress(RuntimeError, WebSocketDisconnect):  # it has left
            await socket.close(code)


async def _send(socket: WebSocket, client: "Client") -> int | None:
    try:
        async for message in client:
            if isinstance(message, bytes):
                await socket.send_bytes(message)
            else:
                await socket.send_text(message)
    except (RuntimeError, WebSocketDisconnect):
        return None
    return _SLOW


async def _hear(socket: WebSocket) -> int | None:
    """Browsers have nothing to say here: POST is for that."""
    for _ in range(_MOST_HEARD):
        if (await socket.receive())["type"] == "websocket.disconnect":
            return None
    return 1008


async def _watch(parts: Parts, session: Session) -> int:
    while parts.logins.holds(session):
        await asyncio.sleep(_CHECK_S)
    return _NO_SESSION
