"""Pictures inside an HTML page, as many as a page that opens everywhere can hold."""

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from markupsafe import Markup

MOST_BYTES = 15 * 2**20
"""Of a page's pictures; a third more in the page. With its tables that is less than 24 MB."""
_TYPES = {".png": "image/png", ".jpg": "image/jpeg"}


class Picture(NamedTuple):
    """A picture in the page: `src` holds all of it; width and height in pixels."""

    src: Markup
    width: int
    height: int


@dataclass
class Embedded:
    """Takes pictures of one folder into a page until it is full."""

    folder: Path
    left: int = field(default=MOST_BYTES)

    def taken(self, file: str) -> Picture | None:
        """A picture of the folder; None where it is not there, or where the page is full."""
        path = self.folder / file
        try:
            content = path.read_bytes()
        except OSError:
            return None
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if content else None
        if image is None or len(content) > self.left:
            return None
        self.left -= len(content)
        encoded = base64.b64encode(content).decode("ascii")
        src = Markup("data:{};base64,{}").format(_TYPES[path.suffix], encoded)
        return Picture(src, image.shape[1], image.shape[0])
