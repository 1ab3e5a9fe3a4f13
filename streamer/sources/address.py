"""The address of a camera as it may be shown: without what logs in there."""

from urllib.parse import unquote

from streamer import credentials
from streamer.printable import printable


def shown(url: str) -> str:
    """A URL without user, password and what looks like one in its path and query."""
    return printable(credentials.address_without_secrets(url))


def without_secrets(text: str, url: str) -> str:
    """A text, of a library's error say, without the URL and without its password."""
    text = text.replace(url, credentials.address_without_secrets(url))
    password = credentials.parts(url)[1].partition(":")[2]
    for secret in filter(None, (password, unquote(password))):
        text = text.replace(secret, "***")
    return printable(credentials.without_secrets(text))
