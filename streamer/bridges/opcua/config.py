"""The section `opcua` of a bridge's configuration."""

from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import ByteSize, Field, field_validator, model_validator

from streamer.bridges.common import Bytes, ConfigPath, Seconds, Section
from streamer.bridges.hidden import SecretPath, keys_only
from streamer.bridges.untold import untold
from streamer.sockets import is_loopback

APPLICATION_URI = "urn:musc-online:opcua-bridge"
_EXAMPLE = "expected opc.tcp://HOST:PORT/NAME, e.g. opc.tcp://127.0.0.1:4840/line"
Word = Literal["confirm", "accept", "threshold"]
"""What a client may be let say to the detector."""
_Key = Annotated[str, Field(min_length=1, max_length=128)]


class Security(Section):
    """Own certificate, whom to trust, who may log in; `python -m streamer.bridges.opcua.keys` makes them."""

    certificate: ConfigPath
    key: SecretPath
    trusted: ConfigPath
    users: SecretPath

    @model_validator(mode="before")
    @classmethod
    def _has_keys(cls, given: Any) -> Any:
        return keys_only(given, "users: opcua/users")


class Names(Section):
    """Under which keys of a frame's `meta` the names are that a plant gave it; null for none."""

    part: _Key | None = "part_id"
    job: _Key | None = "job_id"
    external: _Key | None = "external_id"
    product: _Key | None = "product_id"


class Keep(Section):
    """How many results, and as many messages, of each stream can be read later."""

    results: Annotated[int, Field(ge=1, le=100_000)] = 1_000


class Commands(Section):
    """Which of the detector's words have a method, and who may call it (null: whoever may log in)."""

    allow: tuple[Word, ...] = ()
    users: tuple[str, ...] | None = None
    timeout_s: Annotated[Seconds, Field(le=600)] = 30.0


class Limits(Section):
    """What clients may take of this process."""

    sessions: Annotated[int, Field(ge=1, le=1_000)] = 20
    subscriptions: Annotated[int, Field(ge=1, le=1_000)] = 50
    monitored_items: Annotated[int, Field(ge=1, le=100_000)] = 2_000
    message_bytes: Annotated[Bytes, Field(ge=8_192, le=2**26)] = ByteSize(2**20)
    publish_ms: Annotated[float, Field(ge=1, le=60_000)] = 50.0
    streams: Annotated[int, Field(ge=1, le=10_000)] = 256


class OpcuaSection(Section):
    """Where the server listens, who may come, and what it keeps; docs/bridges-opcua.md has every key."""

    endpoint: str = "opc.tcp://127.0.0.1:4840/musc-online"
    application_uri: Annotated[str, Field(pattern=r"^urn:[!-~]{1,200}$")] = APPLICATION_URI
    security: Security | None = None
    names: Names = Names()
    keep: Keep = Keep()
    commands: Commands = Commands()
    limits: Limits = Limits()
    heartbeat_s: Annotated[Seconds, Field(ge=0.05, le=3_600)] = 1.0

    @model_validator(mode="before")
    @classmethod
    def _has_keys(cls, given: Any) -> Any:
        return keys_only(given, "endpoint: opc.tcp://127.0.0.1:4840/line")

    @field_validator("endpoint", mode="before")
    @classmethod
    def _holds_no_login(cls, endpoint: object) -> object:
        if not isinstance(endpoint, str) or "@" in endpoint:
            raise untold(f"{_EXAMPLE}, as text, without a user; who may log in stands in security.users")
        return endpoint

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        host, _ = self.address  # raises where it is none
        if self.security is None and not is_loopback(host):
            raise ValueError(
                f"endpoint: got {self.endpoint}, which is open to the network without encryption; set "
                "security (python -m streamer.bridges.opcua.keys DIR), or listen on opc.tcp://127.0.0.1:4840"
            )
        if self.commands.users is not None and self.security is None:
            raise ValueError(
                "commands.users: got names, but without security nobody has one; set security, or none"
            )
        return self

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the endpoint; port 0 for a free one.

        Raises:
            ValueError: it is no endpoint of OPC UA's own protocol.
        """
        try:
            url = urlsplit(self.endpoint)
            host, port = url.hostname, url.port
        except ValueError:
            host, port = None, None
        if host is None or port is None or url.scheme != "opc.tcp":
            raise ValueError(f"endpoint: {_EXAMPLE}")
        return host, port
