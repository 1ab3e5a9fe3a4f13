"""Who may connect: libzmq asks at every handshake, and the role's folder of public keys is read each time."""

import logging
from pathlib import Path

import zmq
from zmq.auth import load_certificate
from zmq.auth.thread import ThreadAuthenticator

from streamer.auth import ROLES, ServerKeys
from streamer.quiet import Quiet


class AllowList:
    """The public keys in a folder, as they are at the moment. An empty or missing folder allows nobody."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = Quiet()

    def callback(self, _domain: str, key: bytes) -> bool:
        """Whether a public key (Z85 text) is in one of the folder's `.key` files; for the authenticator."""
        return any(self._key_in(path) == key for path in sorted(self._folder.glob("*.key")))

    def _key_in(self, path: Path) -> bytes | None:
        try:
            public, _ = load_certificate(path)
        except (OSError, ValueError, IndexError) as error:
            # Being copied, or damaged: that must not shut out the others.
            self._log.warning("key_unreadable", path.name, file=str(path), error=str(error))
            return None
        return public


def start(context: "zmq.Context[zmq.Socket[bytes]]", keys: ServerKeys) -> ThreadAuthenticator:
    """Answer libzmq's question who may connect, per role; stop it with `.stop()` before the context ends.

    A key added to a role's folder is let in from then on. One taken out is refused from its next connection
    on: libzmq asks once a connection.
    """
    # pyzmq logs handshakes in a format of its own; the service has its own log.
    quiet = logging.getLogger("streamer.auth.zap")
    quiet.setLevel(logging.CRITICAL)
    authenticator = ThreadAuthenticator(context, log=quiet)
    authenticator.start()
    for role in ROLES:
        location = keys.folder / role
        location.mkdir(mode=0o700, exist_ok=True)
        authenticator.configure_curve_callback(domain=role, credentials_provider=AllowList(location))
    return authenticator
