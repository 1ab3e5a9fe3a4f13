"""The section `webhook` of a bridge's configuration.

An address may hold a token, and no error shows it: what is wrong with one is said of the whole section.
"""

import ipaddress
import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from streamer.bridges.common import ConfigPath, Section, expanded

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise ValueError("expected the name of an environment variable; a secret itself does not stand here")
    return name


Address = Annotated[str, BeforeValidator(expanded), Field(max_length=4096)]
Variable = Annotated[str, AfterValidator(_variable)]


class Webhook(Section):
    """Who is called, how it knows that it is us, and how long we wait.

    Attributes:
        url: `https://...`; `$VARIABLE` is replaced. `http://` only to this machine, or with `insecure`.
        secret_files, secret_variables: where `whsec_...` stands, one a line; every request is signed by each
            of them, which lets a receiver change from one to the next.
        batch: items in one request at most; 1 for a request each.
        timeout_s: of a whole request, from connecting to the end of its answer.
        longest_retry_after_s: a receiver that asks for a longer pause is called again after this one.
        ca_file: PEM of those who may sign the receiver's certificate; null for the system's.
        client_cert, client_key: PEM, where the receiver asks for a certificate of ours.
        proxy: null for none, `environment` for what HTTPS_PROXY and its like say, or an address.
    """

    url: Address
    secret_files: tuple[ConfigPath, ...] = ()
    secret_variables: tuple[Variable, ...] = ()
    batch: Annotated[int, Field(ge=1, le=1000)] = 1
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 10.0
    longest_retry_after_s: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    insecure: bool = False
    ca_file: ConfigPath | None = None
    client_cert: ConfigPath | None = None
    client_key: ConfigPath | None = None
    proxy: Literal["environment"] | Address | None = None

    @model_validator(mode="before")
    @classmethod
    def _hides_addresses(cls, given: Any) -> Any:
        """What pydantic finds wrong with an address it would show."""
        for key in ("url", "proxy"):
            if isinstance(given, dict) and isinstance(given.get(key), str) and len(given[key]) > 4096:
                raise ValueError(f"webhook.{key}: is longer than any address, expected up to 4096 characters")
        return given

    @model_validator(mode="after")
    def _is_an_address(self) -> Self:
        parts = _split("url", self.url, ("https", "http"))
        if parts.scheme == "http" and not (self.insecure or _is_loopback(str(parts.hostname))):
            raise ValueError(
                "webhook.url: is http:// to another machine, where anybody on the way reads and changes "
                "it; use https://, or say insecure: true"
            )
        if self.proxy not in {None, "environment"}:
            _split("proxy", str(self.proxy), ("http", "https"), may_log_in=True)
        return self

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if not (self.secret_files or self.secret_variables):
            raise ValueError(
                "webhook: has no secret; name secret_files or secret_variables that hold whsec_... "
                "(docs/bridges.md#webhook says how to make one)"
            )
        if (self.client_cert is None) != (self.client_key is None):
            raise ValueError(
                "webhook: client_cert and client_key go together: the certificate and its key, as PEM"
            )
        return self

    @property
    def receiver(self) -> str:
        """Scheme, host and port: all of the address that may be shown."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


def _split(key: str, address: str, schemes: tuple[str, ...], *, may_log_in: bool = False) -> SplitResult:
    """The parts of an address; what is wrong is said without showing it."""
    if not address.isascii() or any(character <= " " for character in address):
        raise ValueError(
            f"webhook.{key}: holds a character that no address has; expected ASCII without blanks"
        )
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise ValueError(
            f"webhook.{key}: has no port or host that can be read; expected e.g. https://host:8443/path"
        ) from None
    if parts.scheme not in schemes or not parts.hostname or port == 0:
        raise ValueError(
            f"webhook.{key}: is no address; expected {' or '.join(f'{one}://HOST' for one in schemes)}"
        )
    if not may_log_in and (parts.username is not None or parts.password is not None):
        raise ValueError(
            f"webhook.{key}: holds a name or password; leave them out, the signature says who calls"
        )
    if parts.fragment:
        raise ValueError(f"webhook.{key}: has a part behind '#', which no server gets; leave it out")
    return parts


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
