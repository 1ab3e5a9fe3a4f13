"""TLS as the section says it; what is wrong with its files is told at the start."""

import ssl
from typing import Any

from streamer.bridges.hidden import name_of
from streamer.bridges.mqtt.config import Tls
from streamer.errors import StreamerError


class Context(ssl.SSLContext):
    """Of one connection: checks another name where one is given, and closes what paho leaves open.

    Attributes:
        server_name: that the broker's certificate must have; None for the one it is connected to by.
    """

    server_name: str | None = None
    _wrapped: ssl.SSLSocket | None = None

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        """`SSLContext`'s, for our name."""
        if self.server_name is not None:
            options["server_hostname"] = self.server_name
        self._wrapped = super().wrap_socket(*args, **options)
        return self._wrapped

    def close(self) -> None:
        """Of a handshake that failed: paho forgets its socket."""
        if self._wrapped is not None:
            self._wrapped.close()


def context(tls: Tls) -> Context:
    """What a connection is wrapped in; the broker's certificate and name are always checked, from TLS 1.2.

    Raises:
        StreamerError: a file cannot be read, or is not what it should be.
    """
    made = Context(ssl.PROTOCOL_TLS_CLIENT)
    made.server_name = tls.server_name
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if tls.ca is None:
            made.load_default_certs(ssl.Purpose.SERVER_AUTH)
        else:
            made.load_verify_locations(cafile=tls.ca)
    except (OSError, ssl.SSLError) as error:
        raise StreamerError(f"mqtt.tls.ca: {tls.ca}: no certificates as PEM ({_reason(error)})") from None
    if tls.cert is not None and tls.key is not None:
        try:
            made.load_cert_chain(tls.cert, tls.key, password=_no_password)
        except (OSError, ssl.SSLError) as error:
            raise StreamerError(
                f"mqtt.tls.cert, mqtt.tls.key: {tls.cert}, {name_of(tls.key)}: no certificate and its "
                f"key as PEM, without a password ({_reason(error)})"
            ) from None
    return made


def _no_password() -> str:
    """OpenSSL would ask a terminal."""
    return ""


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
