"""The address of a camera as it may be shown: without what logs in there."""

import re
from urllib.parse import urlsplit

from streamer.printable import printable

_SECRET = re.compile(
    r"(?i)\b((?:\w*(?:pass|pwd|token|secret|auth|key|sig)\w*?|user|usr|username|login|pw)=)[^&;/_?#\s]*"
)
"""Some cameras want name and password in the path or the query: `/user=admin_password=x_channel=1.sdp`."""


def shown(url: str) -> str:
    """A URL without user, password and what looks like one in its path and query."""
    scheme, _, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    place, path = place.rpartition("@")[2], _SECRET.sub(r"\1***", path)
    return printable(f"{scheme}://{place}{slash}{path}")


def without_secrets(text: str, url: str) -> str:
    """A text, of a library's error say, without the URL and without its password."""
    password = urlsplit(url).password if "@" in url else None
    text = text.replace(url, shown(url))
    return printable(text.replace(password, "***") if password else text)
