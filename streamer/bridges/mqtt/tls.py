"""TLS as the section says it; what is wrong with its files is told at the start."""

import ssl
from typing import Any

from streamer.bridges.mqtt.config import Tls
from streamer.errors import StreamerError


class _Named(ssl.SSLContext):
    """Checks the broker's certificate against another name than the one it is connected to by."""

    server_name: str

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        """`SSLContext`'s, for our name."""
        return super().wrap_socket(*args, **{**options, "server_hostname": self.server_name})


def context(tls: Tls) -> ssl.SSLContext:
    """What a connection is wrapped in; the broker's certificate and name are always checked, from TLS 1.2.

    Raises:
        StreamerError: a file cannot be read, or is not what it should be.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if tls.server_name is None else _named(tls.server_name)
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
                f"mqtt.tls.cert, mqtt.tls.key: {tls.cert}, {tls.key}: no certificate and its key as PEM, "
                f"without a password ({_reason(error)})"
            ) from None
    return made


def _named(server_name: str) -> ssl.SSLContext:
    made = _Named(ssl.PROTOCOL_TLS_CLIENT)
    made.server_name = server_name
    return made


def _no_password() -> str:
    """OpenSSL would ask a terminal."""
    return ""


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
