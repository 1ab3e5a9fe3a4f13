"""What the page shows, as JSON, pictures and maps; every route needs a session."""

import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from streamer.page import report as shift
from streamer.page.bodies import KeyQuery, StreamQuery, TimeQuery
from streamer.page.gallery import Filters, scores_filters
from streamer.page.login import Viewer
from streamer.page.parts import Parts, parts_of

router = APIRouter(prefix="/api")

_IMMUTABLE = {"Cache-Control": "private, max-age=31536000, immutable"}
# A picture that comes anew for an id has another address: its frame's time is in it.
_LIMIT = 200
_SCORES = 2000

SomeStream = StreamQuery | None
Limit = Annotated[int, Query(ge=1, le=_LIMIT)]


@router.get("/hello")
def hello(request: Request, session: Viewer) -> dict[str, Any]:
    """Who asks, what they may do, and how the detector is."""
    parts = parts_of(request)
    return {
        "who": session.who(),
        "role": session.role,
        "csrf": session.csrf,
        "version": parts.version,
        "read_only": parts.control.read_only,
        "now": 1000 * time.time(),
        "until": 1000 * session.until,
        "store": parts.store.unusable,
        "detector": parts.follower.detector(),
    }


@router.get("/streams")
def streams(request: Request, _session: Viewer) -> dict[str, Any]:
    """Every stream's state and figures."""
    follower = parts_of(request).follower
    return {"detector": follower.detector(), "streams": follower.health()}


@router.get("/scores")
def scores(
    request: Request,
    _session: Viewer,
    filters: Annotated[Filters, Query()],
) -> dict[str, Any]:
    """Frames, newest or worst first."""
    found: dict[str, Any] = parts_of(request).queries.scores(**scores_filters(filters))
    return found


@router.get("/frame")
def frame(request: Request, _session: Viewer, stream: StreamQuery, key: KeyQuery) -> dict[str, Any]:
    """One frame, with every word on it."""
    found: dict[str, Any] | None = parts_of(request).queries.frame(stream, key)
    if found is None:
        raise _unknown()
    return found


@router.get("/picture")
async def picture(request: Request, _session: Viewer, stream: StreamQuery, key: KeyQuery) -> Response:
    """The picture that came with a frame."""
    parts = parts_of(request)
    # What every open page asks for in the same moment takes no turn in another thread.
    content = parts.store.newest_pictures.get(stream, key)
    if content is None:
        content = await run_in_threadpool(_kept_picture, parts, stream, key)
    if content is None:
        raise HTTPException(404, {"error": "no picture of this frame is kept", "code": "no_picture"})
    return Response(content, media_type="image/jpeg", headers=_IMMUTABLE)


@router.get("/grid")
def grid(request: Request, _session: Viewer, stream: StreamQuery, key: KeyQuery) -> Response:
    """The map of patches: float32, little-endian, row by row; a revision may change it."""
    rows, cols, content = _grid(request, stream, key)
    headers = {"X-Rows": str(rows), "X-Cols": str(cols)}
    return Response(content, media_type="application/octet-stream", headers=headers)


@router.get("/map.png")
def map_png(
    request: Request,
    _session: Viewer,
    stream: StreamQuery,
    key: KeyQuery,
    scale: Annotated[int, Query(ge=1, le=64)] = 16,
) -> Response:
    """The map as a picture over its legend, `scale` pixels a patch, for those without scripts."""
    from streamer.page.rendering import map_as_png  # noqa: PLC0415  (OpenCV: only where it is asked for)

    rows, cols, content = _grid(request, stream, key)
    threshold = (parts_of(request).queries.frame(stream, key) or {}).get("threshold")
    return Response(map_as_png(content, rows, cols, scale, threshold), media_type="image/png")


@router.get("/events")
def events(
    request: Request, _session: Viewer, stream: SomeStream = None, limit: Limit = 100
) -> dict[str, Any]:
    """Events, newest first."""
    return {"events": parts_of(request).queries.events(stream=stream, limit=limit)}


@router.get("/alarms")
def alarms(
    request: Request,
    _session: Viewer,
    stream: SomeStream = None,
    only_open: Annotated[Literal["0", "1"], Query(alias="open")] = "0",
    limit: Limit = _LIMIT,
) -> dict[str, Any]:
    """Alarms, newest first; with `open=1` those that nobody has acknowledged."""
    found = parts_of(request).queries.alarms(stream=stream, open_only=only_open == "1", limit=limit)
    return {"alarms": found}


@router.get("/threshold")
def threshold(request: Request, _session: Viewer, stream: StreamQuery) -> dict[str, Any]:
    """A stream's threshold and the scores it is decided from: as many as the detector's ring holds."""
    parts = parts_of(request)
    sizes = [one.get("capacity") for one in parts.follower.health() if one.get("stream") == stream]
    window = sizes[0] if sizes and sizes[0] else _SCORES
    return parts.queries.threshold(stream, int(min(window, _SCORES)))


@router.get("/report")
def report(
    request: Request,
    _session: Viewer,
    stream: SomeStream = None,
    start: Annotated[TimeQuery, Query(alias="from")] = None,
    end: Annotated[TimeQuery, Query(alias="to")] = None,
) -> dict[str, Any]:
    """A shift's figures."""
    return shift.report(parts_of(request), stream, start, end)


@router.get("/audit")
def audit(
    request: Request,
    _session: Viewer,
    stream: SomeStream = None,
    start: Annotated[TimeQuery, Query(alias="from")] = None,
    end: Annotated[TimeQuery, Query(alias="to")] = None,
    limit: Limit = 100,
) -> dict[str, Any]:
    """Who said what, newest first."""
    return {"audit": parts_of(request).queries.audit(stream=stream, start=start, end=end, limit=limit)}


def _grid(request: Request, stream: str, key: str) -> tuple[int, int, bytes]:
    found = parts_of(request).queries.grid(stream, key)
    if found is None:
        raise HTTPException(404, {"error": "no map of this frame is kept", "code": "no_map"})
    content, rows, cols = found
    return rows, cols, content


def _kept_picture(parts: Parts, stream: str, key: str) -> bytes | None:
    path = parts.queries.picture_path(stream, key)
    try:
        return None if path is None else path.read_bytes()
    except OSError:  # deleted meanwhile
        return None


def _unknown() -> HTTPException:
    return HTTPException(404, {"error": "no such frame is kept", "code": "unknown_frame"})
