"""What is checked before a request reaches the page, and what every answer says to browsers.

Host names are listed (a foreign name that resolves to this machine is an attack), what changes something
comes from the page itself, and nothing is read beyond its bound in bytes and seconds.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_BODY_BYTES = 64 * 1024
_BODY_S = 10.0
_DRAINED_BYTES = 256 * 1024
_URL_BYTES = 4096
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]{1,5})?")


def plain_address(text: str) -> str:
    """An IP address as it is written, IPv4 also where a socket of both kinds has it; else the text itself."""
    try:
        address = ip_address(text)
    except ValueError:
        return text
    return str((address.version == 6 and address.ipv4_mapped) or address)


class Guard:
    """Refuses what must not reach the page; everything else passes through it.

    Args:
        app: what it guards.
        hosts: names under which the page is reached, in lower case.
        loopback: whether the names of this machine are among them.
        proxies: addresses of proxies, behind which browsers speak https where we hear http.
    """

    def __init__(self, app: Any, *, hosts: tuple[str, ...], loopback: bool, proxies: tuple[str, ...]) -> None:
        self._app = app
        self._hosts = frozenset(hosts) | (_LOOPBACK if loopback else frozenset())
        self._proxies = frozenset(proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._refusal(scope, headers)
        if refused is not None:
            await _refuse(refused, scope, receive, _with_headers(send, None, scope))
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        else:
            answer = _with_headers(send, headers["host"], scope)
            await self._app(scope, _bounded(receive), answer)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str, str] | None:
        """Status, code and what is wrong; None where nothing is."""
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > _URL_BYTES:
            return 414, "too_long", f"the address is longer than {_URL_BYTES} bytes"
        if not self._is_our_host(headers, scope):
            return 421, "bad_host", "this name is not one of the page's; add it to listen.hosts"
        changes = scope["type"] == "websocket" or scope["method"] not in {"GET", "HEAD"}
        if changes and not self._is_our_origin(headers, scope):
            return 403, "bad_origin", "the request comes from another page (its Origin is not this one)"
        if scope["type"] == "http" and scope["method"] == "POST":
            return _bad_body(headers)
        return None

    def _is_our_host(self, headers: Headers, scope: Scope) -> bool:
        given = headers.getlist("host")
        found = _HOST.fullmatch(given[0].lower()) if len(given) == 1 else None
        if found is None:
            return False
        name = found[1] or found[2]
        # An address it was reached at is no name that somebody else could have resolved to it.
        reached = plain_address((scope.get("server") or ("",))[0])
        return name in self._hosts or plain_address(name) == reached

    def _is_our_origin(self, headers: Headers, scope: Scope) -> bool:
        origins = headers.getlist("origin")
        secure = scope["scheme"] in {"https", "wss"}
        schemes = {"https" if secure else "http"}
        if scope.get("client") and plain_address(scope["client"][0]) in self._proxies:
            schemes = {"http", "https"}
        host = headers["host"].lower()
        return len(origins) == 1 and origins[0].lower() in {f"{scheme}://{host}" for scheme in schemes}


def _bad_body(headers: Headers) -> tuple[int, str, str] | None:
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return 415, "bad_type", "Content-Type: expected application/json"
    length = headers.get("content-length", "0")
    if not length.isdecimal() or len(length) > 12 or int(length) > _BODY_BYTES:
        return 413, "too_large", f"the body is larger than {_BODY_BYTES} bytes"
    return None


def _bounded(receive: Receive) -> Receive:
    """A body in bytes and seconds: the sender of what is longer has left, as far as the page can see."""
    read, ends = 0, asyncio.get_running_loop().time() + _BODY_S
    whole = False

    async def bounded() -> Message:
        nonlocal read, whole
        if whole:  # from here on it says when the browser leaves
            return await receive()
        try:
            async with asyncio.timeout_at(ends):
                message = await receive()
        except TimeoutError:
            return {"type": "http.disconnect"}
        read += len(message.get("body", b""))
        whole = not message.get("more_body", False)
        if read > _BODY_BYTES:
            await _drain(receive, whole)
            return {"type": "http.disconnect"}
        return message

    return bounded


async def _drain(receive: Receive, whole: bool = False) -> None:
    """Read on a little: an answer to a browser that still sends is lost with its connection."""
    left = _DRAINED_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(_BODY_S):
            while not whole and left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                whole = not message.get("more_body", False)


async def _refuse(refused: tuple[int, str, str], scope: Scope, receive: Receive, send: Send) -> None:
    status, code, text = refused
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).close(1008)  # before it is accepted: 403 over HTTP
        return
    await _drain(receive)
    answer = JSONResponse({"error": text, "code": code}, status, {"Connection": "close"})
    await answer(scope, receive, send)


def _with_headers(send: Send, host: str | None, scope: Scope) -> Send:
    """Say to browsers what the page never does; `host` has been checked."""
    sockets = "" if host is None else f" ws://{host} wss://{host}"
    policy = (
        f"default-src 'self'; connect-src 'self'{sockets}; img-src 'self' blob: data:; object-src 'none'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Content-Security-Policy"] = policy
            headers["X-Content-Type-Options"] = "nosniff"
            headers["X-Frame-Options"] = "DENY"
            headers["Referrer-Policy"] = "no-referrer"
            headers["Cross-Origin-Opener-Policy"] = "same-origin"
            headers["Cross-Origin-Resource-Policy"] = "same-origin"
            headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=()"
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sending
