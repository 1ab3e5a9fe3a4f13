"""Sections of the configuration that all bridges have in common, and what a bridge writes its own with."""

from typing import Annotated, Literal, Self

from pydantic import ByteSize, Field, field_validator, model_validator

from musc_online.config_values import Bytes, ConfigPath, Natural, Positive, Seconds, Section, expanded
from streamer.bridges.untold import is_ipv6, untold
from streamer.errors import WireError
from streamer.sockets import CONTROL, SCORES, is_local
from streamer.wire.checks import check_stream

__all__ = [
    "Bytes",
    "Common",
    "ConfigPath",
    "Detector",
    "Log",
    "Natural",
    "Positive",
    "QueueFolder",
    "Retry",
    "Seconds",
    "Section",
    "Status",
    "Tell",
    "expanded",
]


class Detector(Section):
    """Where the detector publishes and answers.

    `key` is the bridge's own .key_secret, `server_key` the detector's server.key. `history_patience_s`: how
    long a history that does not answer is waited for before what is missing is given up.
    """

    scores: str = SCORES
    control: str = CONTROL
    key: ConfigPath | None = None
    server_key: ConfigPath | None = None
    history_patience_s: Annotated[Seconds, Field(ge=10, le=604_800)] = 600.0

    @field_validator("scores", "control", mode="before")
    @classmethod
    def _holds_no_login(cls, endpoint: object) -> object:
        if _has_login(str(endpoint)):
            raise untold("expected e.g. tcp://127.0.0.1:5555, without a user: the detector knows keys alone")
        return endpoint

    @model_validator(mode="after")
    def _keys_go_together(self) -> Self:
        if (self.key is None) != (self.server_key is None):
            raise ValueError(
                "key and server_key go together: the bridge's .key_secret and the detector's server.key"
            )
        return self


def _has_login(endpoint: str) -> bool:
    """Whether a user may stand in it: with an `@`, or colons where there is only a host and a port."""
    if endpoint.startswith("ipc://"):  # a path, or `@` and a name: an abstract socket
        return False
    place = endpoint.partition("://")[2] or endpoint
    hosts = [one.rpartition(":")[0] for one in place.split(";")]  # tcp://FROM:PORT;HOST:PORT
    return "@" in endpoint or any(":" in host and not is_ipv6(host.strip("[]")) for host in hosts)


class QueueFolder(Section):
    """What waits for the receiver: a folder of this bridge's own, and how much it may hold."""

    path: ConfigPath
    max_items: Annotated[int, Field(ge=1000, le=100_000_000)] = 1_000_000
    max_bytes: Annotated[Bytes, Field(ge=2**24)] = ByteSize(10**9)
    when_full: Literal["drop_oldest"] = "drop_oldest"


class Tell(Section):
    """What is told: of which streams, and of what kinds.

    `begin` says whether a bridge that is new tells what the history has, or what is published from now on.
    """

    streams: tuple[str, ...] | None = None
    begin: Literal["history", "now"] = "history"
    revisions: Literal["changed", "all", "none"] = "changed"
    finals: bool = True
    events: bool = True
    operator: bool = True
    dropped: bool = True
    errors: bool = True
    maps: bool = False
    pictures: bool = False

    @field_validator("streams")
    @classmethod
    def _are_names(cls, streams: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for stream in streams or ():
            try:
                check_stream(stream)
            except WireError as error:
                raise ValueError(error.text.removeprefix("stream: ")) from None
        return streams


class Retry(Section):
    """Pauses between tries: up to `first_s` at first, twice as long each time, up to `longest_s`."""

    first_s: Annotated[Seconds, Field(le=3600)] = 0.5
    longest_s: Annotated[Seconds, Field(le=86_400)] = 60.0

    @model_validator(mode="after")
    def _first_is_shorter(self) -> Self:
        if self.first_s > self.longest_s:
            raise ValueError(
                f"first_s: got {self.first_s:g}, expected at most longest_s ({self.longest_s:g})"
            )
        return self


class Status(Section):
    """Prometheus: `endpoint` is `host:port`, null for none; beyond loopback only if `insecure`."""

    endpoint: str | None = None
    insecure: bool = False

    @model_validator(mode="after")
    def _closed_to_the_network(self) -> Self:
        if self.endpoint is None:
            return self
        host, _, port = self.endpoint.rpartition(":")
        if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
            raise ValueError(f"endpoint: got '{self.endpoint}', expected host:port, e.g. 127.0.0.1:9465")
        if not self.insecure and not is_local(f"tcp://{self.endpoint}"):
            raise ValueError(
                f"endpoint: got {self.endpoint}, which is open to the network in plaintext; set "
                "status.insecure: true, or bind to 127.0.0.1"
            )
        return self


class Log(Section):
    """Of the bridge's own log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class Common(Section):
    """What all bridges have in common; docs/bridges.md#configuration explains every key."""

    detector: Detector = Detector()
    queue: QueueFolder
    tell: Tell = Tell()
    retry: Retry = Retry()
    status: Status = Status()
    log: Log = Log()
