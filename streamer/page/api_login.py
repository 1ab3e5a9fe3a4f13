"""Logging in and out."""

from typing import Annotated, Any
from urllib.parse import quote

import structlog
from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import Field
from starlette.responses import RedirectResponse

from streamer.page.bodies import Body, Name
from streamer.page.files import html
from streamer.page.login import Logins, Viewer
from streamer.page.parts import parts_of
from streamer.page.tokens import Holder

router = APIRouter()
log = structlog.get_logger()

_Token = Annotated[str, Field(min_length=1, max_length=400)]


class _Login(Body):
    token: _Token
    name: Name | None = None


@router.get("/login", include_in_schema=False)
def login_page(
    request: Request, token: Annotated[str | None, Query(max_length=400)] = None, refused: str = ""
) -> Response:
    """The page that asks for a token; one in the address is redeemed, and leaves the address at once."""
    if token is None:
        return html("login")
    try:
        holder = _redeem(request, token)
    except HTTPException as error:
        told: dict[str, str] = error.detail if isinstance(error.detail, dict) else {}
        return RedirectResponse(f"/login?refused={quote(told.get('code', 'login'))}", 303)
    response = RedirectResponse("/live", 303)
    _logins(request).begin(response, holder)
    return response


@router.post("/api/login")
def login(request: Request, response: Response, body: _Login) -> dict[str, Any]:
    """A token for a session; `name` is told with every word beside the token's own."""
    holder = _redeem(request, body.token)
    _logins(request).begin(response, holder, body.name or "")
    return {"ok": True, "role": holder.role}


@router.post("/api/logout")
def logout(request: Request, response: Response, session: Viewer) -> dict[str, Any]:
    """End the session, in this browser and everywhere its cookie may have gone."""
    _logins(request).end(response, session)
    return {"ok": True}


def _redeem(request: Request, token: str) -> Holder:
    logins, peer = _logins(request), request.client.host if request.client else "?"
    holder = logins.tokens.holder_of(token)
    if holder is None:
        too_many = logins.attempts.too_many(peer)
        if too_many:
            raise HTTPException(
                429,
                {"error": "too many wrong tokens; wait a minute", "code": "too_many"},
                headers={"Retry-After": "60"},
            )
        log.warning("login_refused", peer=peer)
        raise HTTPException(401, {"error": "no such token", "code": "login"})
    log.info("login", name=holder.name, role=holder.role, peer=peer)
    return holder


def _logins(request: Request) -> Logins:
    return parts_of(request).logins
