"""The section `webhook` of a bridge's configuration.

An address may hold a token, and no error shows it: what is wrong with one is said of the whole section.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field, model_validator

from streamer.bridges.common import ConfigPath, Section, expanded
from streamer.bridges.untold import untold
from streamer.sockets import is_loopback

PREFIX = "whsec_"
"""Of every secret."""
_ADDRESSES, _SECRETS = {"url", "proxy"}, {"secret_files", "secret_variables"}
_LONGEST = 4096
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise ValueError("expected the name of an environment variable")
    return name


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

    url: str
    secret_files: tuple[ConfigPath, ...] = ()
    secret_variables: tuple[Variable, ...] = ()
    batch: Annotated[int, Field(ge=1, le=100)] = 1
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 10.0
    longest_retry_after_s: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    insecure: bool = False
    ca_file: ConfigPath | None = None
    client_cert: ConfigPath | None = None
    client_key: ConfigPath | None = None
    proxy: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _hide(cls, given: Any) -> Any:
        """What may hold a secret is looked at here: what is wrong with it is said without showing it."""
        if isinstance(given, Webhook):
            return given
        if not isinstance(given, Mapping):
            raise untold("expected keys, such as url: and secret_files:")
        if any("://" in str(key) or PREFIX in str(key) for key in given):
            raise untold("has an address or a secret where a key is expected, such as url:")
        looked_at = dict(given)
        for key in given.keys() & _ADDRESSES:
            looked_at[key] = _expanded(key, given[key])
        for key in given.keys() & _SECRETS:
            looked_at[key] = _places(key, given[key])
        return looked_at

    @model_validator(mode="after")
    def _is_an_address(self) -> Self:
        parts = _split("url", self.url, ("https", "http"))
        if parts.scheme == "http" and not (self.insecure or is_loopback(str(parts.hostname))):
            raise ValueError(
                "url: is http:// to another machine, where anybody on the way reads and changes "
                "it; use https://, or say insecure: true"
            )
        if self.proxy not in {None, "environment"}:
            _split("proxy", str(self.proxy), ("http", "https"), may_log_in=True)
        return self

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if not (self.secret_files or self.secret_variables):
            raise ValueError(
                "has no secret; name secret_files or secret_variables that hold whsec_... "
                "(docs/bridges-webhook.md says how to make one)"
            )
        if (self.client_cert is None) != (self.client_key is None):
            raise ValueError("client_cert and client_key go together: the certificate and its key, as PEM")
        return self

    @property
    def receiver(self) -> str:
        """Scheme, host and port: all of the address that may be shown."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


def _expanded(key: str, value: Any) -> Any:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{key}: is no text, expected one address, such as https://host/path")
    if isinstance(value, str) and len(value) > _LONGEST:
        raise ValueError(f"{key}: is longer than any address, expected up to {_LONGEST} characters")
    try:
        return expanded(value)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def _places(key: str, value: Any) -> Any:
    """Where secrets are; one place may stand without a list around it."""
    places = [value] if isinstance(value, str) else value
    listed = places if isinstance(places, list | tuple) else [places]
    if any(_is_secret(one) for one in listed):
        raise ValueError(
            f"{key}: holds a secret itself, which does not stand here; put it into a file or a variable, and "
            "name that"
        )
    return places


def _is_secret(place: Any) -> bool:
    return place.strip().startswith(PREFIX) if isinstance(place, str) else PREFIX in str(place)


def _split(key: str, address: str, schemes: tuple[str, ...], *, may_log_in: bool = False) -> SplitResult:
    """The parts of an address; what is wrong is said without showing it."""
    if not address.isascii() or any(character <= " " for character in address):
        raise ValueError(f"{key}: holds a character that no address has; expected ASCII without blanks")
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise ValueError(
            f"{key}: has no port or host that can be read; expected e.g. https://host:8443/path"
        ) from None
    if parts.scheme not in schemes or not parts.hostname or port == 0:
        raise ValueError(f"{key}: is no address; expected {' or '.join(f'{one}://HOST' for one in schemes)}")
    if not may_log_in and (parts.username is not None or parts.password is not None):
        raise ValueError(f"{key}: holds a name or password; leave them out, the signature says who calls")
    if parts.fragment:
        raise ValueError(f"{key}: has a part behind '#', which no server gets; leave it out")
    return parts
