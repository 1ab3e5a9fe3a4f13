"""The page's application: its routes, its static files, and every error as one line of JSON."""

from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response

from streamer.errors import StreamerError
from streamer.page import api_login, api_read, api_write, export, live
from streamer.page.detector import Refused
from streamer.page.files import STATIC, Files, html
from streamer.page.login import Viewer
from streamer.page.parts import Parts, parts_of
from streamer.page.security import Guard
from streamer.printable import printable

PAGES = ("live", "gallery", "part", "threshold", "events", "report", "health", "wall")


def build(parts: Parts) -> Any:
    """The ASGI application, behind its guard."""
    app = FastAPI(
        title="musc-online page", version=parts.version, docs_url=None, redoc_url=None, openapi_url=None
    )
    app.state.parts = parts
    for routes in (api_login, api_read, api_write, export, live):
        app.include_router(routes.router)
    _add_pages(app)
    _add_errors(app)
    listen = parts.config.listen
    return Guard(app, hosts=listen.hosts, loopback=listen.loopback, proxies=listen.proxies)


def _add_pages(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    def start() -> Response:
        return RedirectResponse("/live", 303)

    @app.get("/healthz", include_in_schema=False)
    def healthz() -> dict[str, bool]:
        """For a supervisor; says nothing else to who is not logged in."""
        return {"ok": True}

    @app.get("/openapi.json", include_in_schema=False)
    def schema(_session: Viewer) -> dict[str, Any]:
        return app.openapi()

    for name in PAGES:
        app.add_api_route(f"/{name}", _html(name), methods=["GET"], include_in_schema=False)
    app.mount("/static", Files(directory=STATIC), name="static")


def _html(name: str) -> Any:
    def page(request: Request) -> Response:
        if parts_of(request).logins.session(request) is None:
            asked = f"/{name}" + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/login?next={quote(asked, safe='')}", 303)
        return html(name)

    return page


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(_request: Request, error: Refused) -> Response:
        return _error(error.status, error.code, str(error))

    @app.exception_handler(StreamerError)
    async def mendable(_request: Request, error: StreamerError) -> Response:
        status, code = getattr(error, "status", 400), getattr(error, "code", "bad_value")
        return _error(status, code, str(error))

    @app.exception_handler(HTTPException)
    async def http(_request: Request, error: HTTPException) -> Response:
        told: dict[str, str] = error.detail if isinstance(error.detail, dict) else {}
        return _error(
            error.status_code,
            told.get("code", _CODES.get(error.status_code, "refused")),
            told.get("error", str(error.detail)),
            error.headers,
        )

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        return _error(422, "bad_value", _first(error))

    @app.exception_handler(Exception)
    async def internal(_request: Request, _error_: Exception) -> Response:
        return _error(500, "internal", "an error of the page itself; its log has the details")


_CODES = {404: "not_found", 405: "bad_method", 400: "bad_value"}


def _error(status: int, code: str, text: str, headers: Any = None) -> Response:
    return JSONResponse({"error": printable(text), "code": code}, status, headers)


def _first(error: RequestValidationError) -> str:
    """The first problem, as `stream: got 'x', expected ...`."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return "body: is no JSON"
    where = ".".join(str(part) for part in first["loc"] if part not in {"body", "query"}) or "body"
    shown = repr(first["input"]) if isinstance(first["input"], str | int | float | bool) else ""
    shown = shown if len(shown) <= 120 else f"{shown[:117]}..."
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {f'got {shown}, ' if shown else ''}{message[0].lower()}{message[1:]}"
