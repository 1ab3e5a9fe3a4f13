"""Addresses without what logs in there: of cameras above all, whose addresses often have a password."""

import re

_URL = re.compile(r"(?i)[a-z][a-z0-9+.-]*://\S+")
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(:\d*)?")
_SECRET = re.compile(
    r"(?i)((?=\w{1,64}+=)(?=\w*?(?:pass|pwd|pw|token|secret|auth|key|sig|user|usr|login))\w++=)"
    r"(?:(?!_[a-z]+=|:\s)[^&;?#\s])*"
)
"""Some cameras want name and password in the path or the query: `/user=admin_password=x_channel=1.sdp`. A
value goes on over `/` and `_`, which a password may have: rather too much is left out than too little."""


def without_secrets(text: str) -> str:
    """A text whose addresses have lost `user:password@`, and what looks like either in a path or a query."""
    return _SECRET.sub(r"\1***", _URL.sub(lambda found: without_user(found[0]), text))


def address_without_secrets(url: str) -> str:
    """The same of one address, which may hold anything, blanks too."""
    return _SECRET.sub(r"\1***", without_user(url))


def without_user(url: str) -> str:
    """An address without `user:password@`."""
    scheme, _, place = parts(url)
    return f"{scheme}://{place}"


def parts(url: str) -> tuple[str, str, str]:
    """Scheme, `user:password`, and the rest from the host on; a password may hold `/` and `@` as they are."""
    scheme, _, rest = url.partition("://")
    host, _, _ = rest.partition("/")
    logs_in = "@" in host or ("@" in rest and not _HOST.fullmatch(host))
    user, _, place = rest.rpartition("@") if logs_in else ("", "", rest)
    return scheme, user, place
