"""The address of a camera as it may be shown: without what logs in there."""

import re
from urllib.parse import unquote

from streamer.printable import printable

_SECRET = re.compile(
    r"(?i)(?<![a-z0-9])(([a-z_]*(pass|pwd|token|secret|auth|key|sig)[a-z_]*|user|usr|username|login|pw)=)"
    r"[^&;/?#\s]*?(?=_[a-z]+=|[&;/?#\s]|$)"
)
"""Some cameras want name and password in the path or the query: `/user=admin_password=x_channel=1.sdp`."""
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(:\d*)?")


def shown(url: str) -> str:
    """A URL without user, password and what looks like one in its path and query."""
    scheme, _, place = _parts(url)
    host, slash, path = place.partition("/")
    path = _SECRET.sub(r"\1***", path)
    return printable(f"{scheme}://{host}{slash}{path}")


def without_secrets(text: str, url: str) -> str:
    """A text, of a library's error say, without the URL and without its password."""
    text = text.replace(url, shown(url))
    password = _parts(url)[1].partition(":")[2]
    for secret in filter(None, (password, unquote(password))):
        text = text.replace(secret, "***")
    return printable(text)


def _parts(url: str) -> tuple[str, str, str]:
    """Scheme, `user:password`, and the rest from the host on; a password may hold `/` and `@` as they are."""
    scheme, _, rest = url.partition("://")
    host, _, _ = rest.partition("/")
    logs_in = "@" in host or ("@" in rest and not _HOST.fullmatch(host))
    user, _, place = rest.rpartition("@") if logs_in else ("", "", rest)
    return scheme, user, place
