"""The section `mqtt` of a bridge's configuration; configs/bridge-mqtt.yaml is an example."""

import os
import re
import stat
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ByteSize, Field, field_validator, model_validator

from streamer.bridges.common import Bytes, ConfigPath, Seconds, Section
from streamer.bridges.hidden import SecretPath, keys_only, name_of
from streamer.bridges.mqtt.topics import check_levels, check_prefix
from streamer.bridges.untold import is_ipv6, untold
from streamer.errors import StreamerError
from streamer.sockets import is_loopback

Word = Literal["confirm", "accept", "reject", "threshold"]
"""What may be said through a broker."""

_EXAMPLE = "expected HOST:PORT, e.g. 127.0.0.1:1883, or 8883 with tls"
_MOST_SECRET = 64 * 1024
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _levels(text: str) -> str:
    try:
        return check_levels(text)
    except StreamerError as error:
        raise ValueError(str(error)) from None


class Tls(Section):
    """How the broker proves who it is, and where it asks for it how we do.

    `ca` is a file of certificates as PEM; without it those of the system count. `cert` and `key` are ours.
    The broker's certificate must be of `server_name`, or without it of the host in `address`.
    """

    ca: ConfigPath | None = None
    cert: ConfigPath | None = None
    key: SecretPath | None = None
    server_name: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _has_keys(cls, given: Any) -> Any:
        return keys_only(given, "ca: ca.pem")

    @model_validator(mode="after")
    def _key_and_cert_go_together(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key go together: our certificate's chain and its key, as PEM")
        return self


class Commands(Section):
    """Operators' words that are taken from the broker: none but those in `allow`.

    `who` stands before the name that a sender gives itself. An answer goes to the topic that the sender
    names if that lies below `answers` of the bridge or below one of `answer_prefixes`.
    """

    allow: tuple[Word, ...] = ()
    who: Annotated[str, Field(min_length=1, max_length=80)] = "mqtt"
    max_bytes: Annotated[Bytes, Field(ge=256, le=65536)] = ByteSize(4096)
    timeout_s: Annotated[float, Field(ge=1, le=600)] = 30.0
    answer_prefixes: tuple[str, ...] = ()

    @field_validator("who")
    @classmethod
    def _is_printable(cls, who: str) -> str:
        if not who.isprintable():
            raise ValueError("expected printable characters")
        return who

    @field_validator("answer_prefixes")
    @classmethod
    def _are_topics(cls, prefixes: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(_levels, prefixes))


class HomeAssistant(Section):
    """Whether Home Assistant finds the streams by itself, and below which topic it looks for them."""

    enabled: bool = False
    prefix: str = "homeassistant"
    device: Annotated[str, Field(min_length=1, max_length=80)] | None = None

    @field_validator("prefix")
    @classmethod
    def _is_prefix(cls, prefix: str) -> str:
        return _levels(prefix)


class Mqtt(Section):
    """Which broker, as whom, and under which topics. Beyond loopback only with TLS, or by `plaintext`."""

    address: str = "127.0.0.1:1883"
    tls: Tls | None = None
    plaintext: bool = False
    version: Literal["5", "3.1.1"] = "5"
    username: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    password_file: SecretPath | None = None
    password_env: str | None = None
    client_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    keepalive_s: Annotated[int, Field(ge=5, le=3600)] = 30
    session_expiry_s: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    timeout_s: Annotated[Seconds, Field(ge=1, le=600)] = 10.0
    in_flight: Annotated[int, Field(ge=1, le=1000)] = 20
    prefix: str = "musc"
    line: Annotated[str, Field(min_length=1, max_length=80)] = "line"
    max_payload_bytes: Annotated[Bytes, Field(ge=4096, le=2**27)] = ByteSize(256 * 1024)
    max_picture_bytes: Annotated[Bytes, Field(ge=4096, le=2**27)] = ByteSize(2**20)
    home_assistant: HomeAssistant = HomeAssistant()
    commands: Commands = Commands()

    @field_validator("version", mode="before")
    @classmethod
    def _may_be_a_number(cls, version: object) -> object:
        return "5" if version == 5 and not isinstance(version, bool) else version

    @model_validator(mode="before")
    @classmethod
    def _has_keys(cls, given: Any) -> Any:
        return keys_only(given, "address: 127.0.0.1:1883")

    @field_validator("password_env", mode="before")
    @classmethod
    def _is_a_name(cls, name: object) -> object:
        if name is None or (isinstance(name, str) and _VARIABLE.fullmatch(name)):
            return name
        raise untold("expected the name of an environment variable (what stands there is not shown)")

    @field_validator("username", mode="before")
    @classmethod
    def _is_no_list(cls, username: object) -> object:
        """With a password beside it, say."""
        if username is None or isinstance(username, str):
            return username
        raise untold("expected one user's name, as text; put it in quotes")

    @field_validator("address", mode="before")
    @classmethod
    def _holds_no_login(cls, address: object) -> object:
        if not isinstance(address, str) or "@" in address or "/" in address:
            raise untold(f"{_EXAMPLE}, as text, no scheme; the user is username and password_file")
        host = address.rpartition(":")[0]
        if ":" in host and not (host.startswith("[") and host.endswith("]") and is_ipv6(host[1:-1])):
            raise untold(f"{_EXAMPLE}, no scheme; an IPv6 address stands in brackets, the user is username")
        return address

    @field_validator("address")
    @classmethod
    def _host_and_port(cls, address: str) -> str:
        host, colon, port = address.rpartition(":")
        if not (host.strip("[]") and colon and port.isdecimal() and 0 < int(port) <= 65535):
            raise ValueError(_EXAMPLE)
        if not address.isprintable() or " " in address:
            raise ValueError(_EXAMPLE)
        return address

    @field_validator("prefix")
    @classmethod
    def _is_prefix(cls, prefix: str) -> str:
        try:
            return check_prefix(prefix)
        except StreamerError as error:
            raise ValueError(str(error)) from None

    @field_validator("client_id")
    @classmethod
    def _is_printable(cls, client_id: str | None) -> str | None:
        if client_id is not None and not client_id.isprintable():
            raise ValueError("expected printable characters")
        return client_id

    @model_validator(mode="after")
    def _closed_to_the_network(self) -> Self:
        if self.tls is not None and self.plaintext:
            raise ValueError("tls and plaintext: expected one of the two")
        if self.tls is None and not self.plaintext and not self.loopback:
            raise ValueError(
                f"address: got {self.address}, which is reached through the network in plaintext; set tls "
                "(tls: {} for the system's certificates), or say plaintext: true"
            )
        return self

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if self.password_file is not None and self.password_env is not None:
            raise ValueError("password_file and password_env: expected one of the two")
        if self.username is None and (self.password_file or self.password_env):
            raise ValueError("username: missing; a password is a user's")
        return self

    @property
    def host(self) -> str:
        """Of the address, without brackets."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Of the address."""
        return int(self.address.rpartition(":")[2])

    @property
    def loopback(self) -> bool:
        """Whether the broker is on this machine."""
        return is_loopback(self.host)

    def password(self) -> str | None:
        """From its file or the environment, without the line break at its end; None where there is none.

        Raises:
            StreamerError: it cannot be read, anybody may read it, or it is empty; the text does not hold it.
        """
        if self.password_env is not None:
            given = os.environ.get(self.password_env)
            if not given:
                raise StreamerError(
                    "mqtt.password_env: the environment has no variable of that name, which is not shown, or "
                    "it is empty; set it, or use mqtt.password_file"
                )
            return given
        return None if self.password_file is None else _secret(self.password_file)


def _secret(path: Path) -> str:
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode) or about.st_size > _MOST_SECRET:
            raise StreamerError(f"mqtt.password_file: {path} is no file with a password in one line")
        if stat.S_IMODE(about.st_mode) & 0o077:
            raise StreamerError(f"mqtt.password_file: others may read {path}; chmod 600 {path}")
        secret = path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise StreamerError(f"mqtt.password_file: {name_of(path)} cannot be read ({reason})") from None
    if not secret or "\n" in secret:
        raise StreamerError(f"mqtt.password_file: {path} holds no password, expected one line")
    return secret
