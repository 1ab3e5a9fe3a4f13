"""Who may connect: libzmq asks at every handshake, and the role's folder of public keys is read each time."""

import logging
from pathlib import Path

import zmq
from zmq.auth.thread import ThreadAuthenticator

from streamer.auth import ADMITTED, ROLES, ServerKeys, read_keys
from streamer.errors import StreamerError
from streamer.server.logs import RateLimitedLog


class AllowList:
    """The public keys in folders, as they are at the moment. An empty or missing folder allows nobody.

    It must not raise: that would end the thread that answers libzmq, and nobody could connect again.
    """

    def __init__(self, *folders: Path) -> None:
        self._folders = folders
        self._keys: dict[Path, bytes] = {}
        self._log = RateLimitedLog()

    def callback(self, _domain: str, key: bytes) -> bool:
        """Whether a public key (Z85 text) is in one of the folders' `.key` files; for the authenticator."""
        try:
            found = {
                path: self._key_in(path) for folder in self._folders for path in sorted(folder.glob("*.key"))
            }
        except OSError as error:  # no file descriptor left, a disk that is away: go by what was last read
            self._log.warning("keys_unreadable", ", ".join(map(str, self._folders)), error=str(error))
        else:
            self._keys = {path: public for path, public in found.items() if public is not None}
        return key in self._keys.values()

    def _key_in(self, path: Path) -> bytes | None:
        try:
            return read_keys(path)[0]
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            # Being copied, or damaged: that must not shut out the others.
            self._log.warning("key_unreadable", path.name, file=str(path), error=str(error))
            return self._keys.get(path) if isinstance(error, OSError) else None


def start(context: "zmq.Context[zmq.Socket[bytes]]", keys: ServerKeys) -> ThreadAuthenticator:
    """Answer libzmq's question who may connect, per role; stop it with `.stop()` before the context ends.

    A key added to a role's folder is let in from then on. One taken out is refused from its next connection
    on: libzmq asks once a connection.

    Raises:
        StreamerError: a role's folder is not there and cannot be made.
    """
    for role in ROLES:
        _make(keys.folder / role)
    # pyzmq logs handshakes in a format of its own; the service has its own log.
    muted = logging.getLogger("streamer.auth.zap")
    muted.setLevel(logging.CRITICAL)
    authenticator = ThreadAuthenticator(context, log=muted)
    authenticator.start()
    for domain, roles in ADMITTED.items():
        allowed = AllowList(*(keys.folder / role for role in roles))
        authenticator.configure_curve_callback(domain=domain, credentials_provider=allowed)
    return authenticator


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StreamerError(
            f"security.keys: {folder} is no folder of keys and cannot be made ({error.strerror}); "
            "make the keys with musc-online keys"
        ) from None
