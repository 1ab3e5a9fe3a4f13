"""The page's own files: HTML, scripts and styles, none of them made while it runs."""

from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

STATIC = Path(__file__).with_name("static")
_ASK = {"Cache-Control": "no-cache"}
"""A browser that has a file asks whether it has changed, lest scripts of two releases mix."""


def html(name: str) -> Response:
    """One of the pages."""
    path = STATIC / f"{name}.html"
    if not path.is_file():
        raise HTTPException(404, f"no such page: /{name}")
    return FileResponse(path, headers=_ASK)


class Files(StaticFiles):
    """Scripts and styles."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        """Starlette's, with what a browser may keep."""
        response = super().file_response(*args, **options)
        response.headers.update(_ASK)
        return response
