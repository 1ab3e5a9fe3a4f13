"""The address of a camera as it may be shown: without what logs in there."""

from pathlib import Path

from streamer import credentials
from streamer.errors import StreamerError
from streamer.printable import printable


def shown(source: str) -> str:
    """A source without user, password and what looks like one; a file that is there is named as it is."""
    return printable(source if _is_there(source) else credentials.address_without_secrets(source))


def without_secrets(text: str, url: str) -> str:
    """A text, of a library's error say, without the URL and without its password."""
    text = text.replace(url, credentials.address_without_secrets(url))
    for secret in credentials.passwords(url):
        text = text.replace(secret, "***")
    return printable(credentials.without_secrets(text))


def host_of(url: str) -> credentials.Host:
    """The host that a URL leads to.

    Raises:
        StreamerError: a part of its password would be taken for it, and asked for.
    """
    host = credentials.host_of(url)
    if host.is_password:
        raise StreamerError(
            f"source: {shown(url)}: its host is not clear; in user and password write / as %2F, ? as %3F, "
            "# as %23 and @ as %40, and @ behind the host as %40"
        )
    return host


def _is_there(source: str) -> bool:
    try:
        return Path(source).exists()
    except (OSError, ValueError):
        return False
