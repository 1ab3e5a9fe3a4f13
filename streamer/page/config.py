"""The page's configuration: YAML, with options of the command over it; a wrong value is one line."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ByteSize, Field, ValidationError, field_validator, model_validator

from musc_online import config_file
from musc_online.config_errors import one_line
from musc_online.config_values import Bytes, ConfigPath, Section
from musc_online.errors import ConfigError
from streamer.errors import StreamerError
from streamer.page.security import plain_address
from streamer.sockets import CONTROL, SCORES, is_loopback

_EXAMPLE = "expected HOST:PORT, e.g. 127.0.0.1:8080; port 0 takes a free one"


class Detector(Section):
    """Where the detector publishes and answers.

    `key` is the page's own .key_secret, `server_key` the detector's server.key.
    """

    scores: str = SCORES
    control: str = CONTROL
    key: ConfigPath | None = None
    server_key: ConfigPath | None = None

    @model_validator(mode="after")
    def _keys_go_together(self) -> Self:
        if (self.key is None) != (self.server_key is None):
            raise ValueError(
                "key and server_key go together: the page's .key_secret and the detector's server.key"
            )
        return self


class Listen(Section):
    """Where browsers connect. Beyond loopback only with TLS.

    `hosts` are names under which the page is reached, beside its address; `proxies` are addresses whose
    X-Forwarded-User is believed. At most `connections` are open at a time.
    """

    address: str = "127.0.0.1:8080"
    tls_cert: ConfigPath | None = None
    tls_key: ConfigPath | None = None
    hosts: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    connections: Annotated[int, Field(ge=10, le=10_000)] = 100

    @field_validator("address")
    @classmethod
    def _host_and_port(cls, address: str) -> str:
        host, colon, port = address.rpartition(":")
        if not (host.strip("[]") and colon and port.isdecimal() and int(port) <= 65535):
            raise ValueError(_EXAMPLE)
        if ":" in host and not (host.startswith("[") and host.endswith("]")):
            raise ValueError(f"{_EXAMPLE}; an IPv6 address stands in brackets")
        return address

    @field_validator("hosts")
    @classmethod
    def _are_names(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not host or any(character in host for character in "/:*[] "):
                raise ValueError(f"'{host}' is no name; expected names without scheme and port")
        return tuple(host.lower() for host in hosts)

    @field_validator("proxies")
    @classmethod
    def _are_addresses(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        known = []
        for proxy in proxies:
            try:
                known.append(plain_address(str(ipaddress.ip_address(proxy))))
            except ValueError:
                raise ValueError(f"'{proxy}' is no address; expected IP addresses of proxies") from None
        return tuple(known)

    @model_validator(mode="after")
    def _closed_to_the_network(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together: the certificate's chain and its key, as PEM")
        if not self.loopback and self.tls_cert is None:
            raise ValueError(
                f"address: got {self.address}, which is open to the network in plaintext; set tls_cert and "
                "tls_key, or listen on 127.0.0.1 behind a proxy that has TLS"
            )
        return self

    @property
    def host(self) -> str:
        """Of the address, without brackets."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Of the address; 0 for a free one."""
        return int(self.address.rpartition(":")[2])

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches the address."""
        return is_loopback(self.host)


class StoreFolder(Section):
    """What the page keeps: for how many days, in how many bytes, pictures included."""

    path: ConfigPath = Path("page")
    days: Annotated[float, Field(gt=0, le=3_650)] = 30.0
    max_bytes: Annotated[Bytes, Field(ge=2**20)] = ByteSize(2 * 2**30)


class Alarms(Section):
    """Anomalous frames of a stream within `cooldown_s` seconds of the last are one alarm."""

    cooldown_s: Annotated[float, Field(ge=0, le=86_400)] = 10.0


class Login(Section):
    """After how many hours a browser has to show its token again."""

    hours: Annotated[float, Field(gt=0, le=8_760)] = 12.0


class Log(Section):
    """Of the page's own log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class PageConfig(Section):
    """The whole configuration; docs/page.md#configuration explains every key."""

    detector: Detector = Detector()
    listen: Listen = Listen()
    store: StoreFolder = StoreFolder()
    alarms: Alarms = Alarms()
    login: Login = Login()
    log: Log = Log()


def load(path: Path | None = None, options: Mapping[str, Mapping[str, Any]] | None = None) -> PageConfig:
    """Read a configuration.

    Args:
        path: of a YAML file; None for all defaults.
        options: keys by section that take the place of what the file says.

    Raises:
        StreamerError: one line: the file cannot be read, an unknown key, a value out of range.
    """
    try:
        values: Any = {} if path is None else config_file.read(path)
        if not isinstance(values, Mapping | None):
            raise ConfigError(f"{path}: got a {type(values).__name__}, expected keys such as 'listen:'")
        merged = dict(values or {})
        for section, given in (options or {}).items():
            below = merged.get(section) or {}
            if given and isinstance(below, Mapping):  # what is no section is told below
                merged[section] = {**below, **given}
        return PageConfig.model_validate(merged)
    except ConfigError as error:
        raise StreamerError(str(error)) from None
    except ValidationError as error:
        raise StreamerError(f"{path or 'page'}: {one_line(error, PageConfig)}") from None
