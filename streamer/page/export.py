"""CSV of frames and of a shift, written as they are read."""

from collections.abc import Callable, Iterator
from threading import BoundedSemaphore
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from streamer.page import report as shift
from streamer.page.bodies import StreamQuery, TimeQuery
from streamer.page.gallery import Wanted, scores_filters
from streamer.page.login import Viewer
from streamer.page.parts import parts_of
from streamer.tables import csv_text, time_text

router = APIRouter(prefix="/api")

COLUMNS = (
    "stream", "frame_id", "part_id", "product_id", "seq", "captured", "scored", "raw", "rscin", "pred",
    "threshold", "verdict", "final", "state", "first_raw", "first_verdict", "first_scored", "flipped",
    "known_defect", "review", "review_kind", "review_by", "review_at", "review_note", "alarm", "acked",
)  # fmt: skip
_AT_ONCE = BoundedSemaphore(2)
"""Each holds a view of the store open while the browser reads."""


@router.get("/export.csv")
def export(request: Request, _session: Viewer, wanted: Annotated[Wanted, Query()]) -> Response:
    """The frames of the gallery's filters, all of them, a line each; times in UTC."""
    parts = parts_of(request)
    if not _AT_ONCE.acquire(blocking=False):
        raise HTTPException(503, {"error": "two exports are being written; try again", "code": "busy"})
    try:
        rows = (_row(frame) for frame in parts.queries.export(**scores_filters(wanted)))
        return _Download(csv_text(COLUMNS, rows), "frames.csv", _AT_ONCE.release)
    except BaseException:
        _AT_ONCE.release()
        raise


@router.get("/report.csv")
def report(
    request: Request,
    _session: Viewer,
    stream: StreamQuery | None = None,
    start: Annotated[TimeQuery, Query(alias="from")] = None,
    end: Annotated[TimeQuery, Query(alias="to")] = None,
) -> Response:
    """A shift's figures, one a line: figure, of what, value."""
    found = shift.report(parts_of(request), stream, start, end)
    return _Download(csv_text(("figure", "of", "value"), shift.lines(found)), "report.csv")


class _Download(StreamingResponse):
    """A file that is written while it is read.

    Args:
        done: called when it was written, or its reader has left.
    """

    def __init__(self, content: Iterator[str], name: str, done: Callable[[], None] = lambda: None) -> None:
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        super().__init__(content, media_type="text/csv; charset=utf-8", headers=headers)
        self._done = done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._done()


def _row(frame: dict[str, Any]) -> list[Any]:
    review, first = frame["review"] or {}, frame["first"]
    return [
        frame["stream"], frame["frame_id"], frame["part_id"], frame["product_id"], frame["seq"],
        time_text(frame["captured"]), time_text(frame["scored"]), frame["raw"], frame["rscin"], frame["pred"],
        frame["threshold"], _verdict(frame["label"]), frame["final"], frame["state"], first["raw"],
        _verdict(first["label"]), time_text(first["scored"]), time_text(frame["flipped"]),
        frame["known_defect"], review.get("decision"), review.get("kind"), review.get("who"),
        time_text(review.get("at")), review.get("note"), frame["alarm"], frame["acked"],
    ]  # fmt: skip


def _verdict(label: bool | None) -> str:
    return {None: "", True: "anomalous", False: "normal"}[label]
