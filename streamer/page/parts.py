"""What the routes work on."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from starlette.requests import HTTPConnection

from streamer.page.config import PageConfig
from streamer.page.detector import Control
from streamer.page.follow import Follower
from streamer.page.hub import Hub
from streamer.page.login import Logins
from streamer.page.queries import Queries
from streamer.page.store import Store


@dataclass(frozen=True)
class Parts:
    """The parts of a page's process, as `app.state.parts`."""

    config: PageConfig
    logins: Logins
    store: Store
    queries: Queries
    hub: Hub
    follower: Follower
    control: Control

    @property
    def version(self) -> str:
        """Of musc-online, as installed."""
        try:
            return version("musc-online")
        except PackageNotFoundError:
            return "unknown"


def parts_of(connection: HTTPConnection) -> Parts:
    """Of the page that a request or WebSocket came to."""
    parts: Parts = connection.app.state.parts
    return parts
