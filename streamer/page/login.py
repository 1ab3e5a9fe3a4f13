"""Sessions: a signed cookie for a token, the role it gives, and how often a wrong token may be tried."""

import hmac
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, HTTPException
from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.requests import HTTPConnection
from starlette.responses import Response

from streamer.page.security import plain_address
from streamer.page.tokens import Holder, Tokens

_TRIES, _TRIES_S = 10, 60.0
_PEERS = 1000
_ENDED = 10_000
_PROXY = "proxy "


@dataclass(frozen=True)
class Session:
    """Who asks.

    Attributes:
        login: name in tokens.json.
        typed: name that was typed at the login, "" for none.
        role: viewer, operator or admin, as tokens.json says it now.
        csrf: what a POST of this session shows in X-CSRF-Token.
        until: when it ends, seconds since 1970.
    """

    login: str
    typed: str
    role: str
    csrf: str
    until: float
    holder: Holder
    number: str

    def who(self, typed: str | None = None) -> str:
        """The name that the detector and the audit are told: `login`, or `typed (login)`."""
        typed = typed or self.typed
        if typed == f"{self.typed} ({self.login})":  # as it was told to the browser
            return typed
        return f"{typed} ({self.login})" if typed and typed != self.login else self.login


class Attempts:
    """How many wrong tokens each peer has shown of late; a right one is never held up.

    A token has 256 bits: what is bounded here is work and log lines, so nobody is locked out by others.
    """

    def __init__(self) -> None:
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()

    def too_many(self, peer: str) -> bool:
        """Note a wrong token; whether the peer has shown too many in the last minute."""
        now = time.monotonic()
        times = self._failed.setdefault(peer, deque(maxlen=_TRIES + 1))
        self._failed.move_to_end(peer)
        if len(self._failed) > _PEERS:
            self._failed.popitem(last=False)
        while times and now - times[0] > _TRIES_S:
            times.popleft()
        times.append(now)
        return len(times) > _TRIES


class Logins:
    """Gives sessions out and knows them again.

    Args:
        tokens: who may log in.
        secret: 32 bytes that cookies are signed with.
        hours: that a session lasts.
        port: cookies do not know ports: two pages of one machine have two names.
        secure: whether the page itself has TLS.
        proxies: addresses whose X-Forwarded-User is believed.
    """

    def __init__(
        self,
        tokens: Tokens,
        secret: bytes,
        *,
        hours: float,
        port: int,
        secure: bool,
        proxies: tuple[str, ...] = (),
    ) -> None:
        self.tokens = tokens
        self.attempts = Attempts()
        self._secret, self._seconds, self._secure = secret, 3600.0 * hours, secure
        self._proxies = frozenset(proxies)
        self._signed = URLSafeTimedSerializer(secret, salt="streamer.page session")
        self._cookie = f"{'__Host-' if secure else ''}musc_page_{port}"
        self._ended: OrderedDict[str, None] = OrderedDict()

    def begin(self, response: Response, holder: Holder, typed: str = "") -> None:
        """Give the browser a session of a token's holder."""
        content = {"name": holder.name, "typed": typed, "mark": holder.mark, "id": secrets.token_urlsafe(16)}
        response.set_cookie(
            self._cookie,
            self._signed.dumps(content),
            max_age=round(self._seconds),
            httponly=True,
            samesite="strict",
            secure=self._secure,
            path="/",
        )

    def end(self, response: Response, session: Session) -> None:
        """Forget a session, here and in the browser; a proxy's user logs out at the proxy."""
        if not session.number.startswith(_PROXY):
            self._ended[session.number] = None
        if len(self._ended) > _ENDED:
            self._ended.popitem(last=False)
        response.delete_cookie(self._cookie, path="/", httponly=True, samesite="strict", secure=self._secure)

    def session(self, connection: HTTPConnection) -> Session | None:
        """The session of a request or WebSocket, None where there is none."""
        forwarded = self._forwarded(connection)
        if forwarded is not None:
            return forwarded
        cookie = connection.cookies.get(self._cookie)
        if cookie is None:
            return None
        try:
            content, signed = self._signed.loads(cookie, max_age=round(self._seconds), return_timestamp=True)
        except BadData:
            return None
        return self._known(content, signed.timestamp() + self._seconds)

    def holds(self, session: Session) -> bool:
        """Whether a session is still one: not over, not logged out, its token not taken away."""
        holder = self.tokens.named(session.login)
        return holder == session.holder and session.number not in self._ended and time.time() < session.until

    def _known(self, content: dict[str, Any], until: float) -> Session | None:
        holder = self.tokens.named(content["name"])
        if holder is None or not hmac.compare_digest(holder.mark, content["mark"]):
            return None
        if content["id"] in self._ended:
            return None
        return self._session(holder, content["typed"], content["id"], until)

    def _forwarded(self, connection: HTTPConnection) -> Session | None:
        peer = plain_address(connection.client.host) if connection.client else ""
        users = connection.headers.getlist("x-forwarded-user")
        if peer not in self._proxies or len(users) != 1:
            return None
        holder = self.tokens.named(users[0])
        if holder is None:
            return None
        return self._session(holder, "", f"{_PROXY}{holder.mark}", time.time() + self._seconds)

    def _session(self, holder: Holder, typed: str, number: str, until: float) -> Session:
        csrf = hmac.digest(self._secret, f"csrf {number}".encode(), "sha256").hex()
        return Session(holder.name, typed, holder.role, csrf, until, holder, number)


def _needs(role: str) -> Callable[[HTTPConnection], Awaitable[Session]]:
    # No plain function: FastAPI would hand each request to a thread for it.
    async def check(connection: HTTPConnection) -> Session:
        session = connection.app.state.parts.logins.session(connection)
        if session is None:
            raise HTTPException(401, {"error": "log in: there is no session, or it is over", "code": "login"})
        if connection.scope.get("method") == "POST":
            _check_csrf(connection, session)
        if not session.holder.may(role):
            raise HTTPException(
                403,
                {"error": f"{session.login} is a {session.role}; this takes an {role}", "code": "forbidden"},
            )
        found: Session = session
        return found

    return check


def _check_csrf(connection: HTTPConnection, session: Session) -> None:
    shown = connection.headers.get("x-csrf-token", "")
    if not hmac.compare_digest(shown.encode(), session.csrf.encode()):
        raise HTTPException(
            403, {"error": "X-CSRF-Token is not this session's; load the page again", "code": "csrf"}
        )


Viewer = Annotated[Session, Depends(_needs("viewer"))]
Operator = Annotated[Session, Depends(_needs("operator"))]
Admin = Annotated[Session, Depends(_needs("admin"))]
