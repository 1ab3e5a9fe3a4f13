"""CURVE keys and who may do what: one folder of public keys a role.

DIR/server.key, server.key_secret          the detector's pair; hand server.key to every peer
DIR/publishers/NAME.key                    public keys that may push frames
DIR/subscribers/NAME.key                   public keys that may read scores
DIR/controllers/NAME.key                   public keys that may ask the control socket
DIR/pages/NAME.key                         public keys of pages: they may do both of these
DIR/bridges/NAME.key                       public keys of bridges: these as well
DIR/clients/NAME.key_secret                the peers' own pairs, to be moved to their machines
DIR/metrics.token                          what Prometheus must show at metrics.endpoint

`streamer.server.allow_list` reads the public keys at every connection.
"""

import os
import re
import secrets
import stat
import struct
from dataclasses import dataclass
from errno import ENOTDIR
from pathlib import Path
from tempfile import TemporaryDirectory

from zmq.auth import create_certificates, load_certificate
from zmq.utils import z85

from streamer.errors import StreamerError

ROLES = ("publishers", "subscribers", "controllers", "pages", "bridges")
ADMITTED = {
    "publishers": ("publishers",),
    "subscribers": ("subscribers", "pages", "bridges"),
    "controllers": ("controllers", "pages", "bridges"),
}
"""Whose keys a socket admits."""
_SCRAPES = "metrics.token"

_KEY_BYTES = 32
_KEY_FILE = 64 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOKEN_CHARACTERS = 16


@dataclass(frozen=True)
class ServerKeys:
    """The detector's key pair (Z85 text) and the folder its allow-lists are in."""

    public: bytes
    secret: bytes
    folder: Path


@dataclass(frozen=True)
class ClientKeys:
    """A peer's own key pair and the detector's public key (Z85 text)."""

    public: bytes
    secret: bytes
    server: bytes


def create_keys(folder: Path, clients: dict[str, str]) -> list[Path]:
    """Make what is missing in `folder`: the detector's pair, the scrapes' token, a pair a client in its role.

    Args:
        folder: made if missing, readable by its owner only.
        clients: role (one of `ROLES`) of each client's name.

    Returns:
        The files written; existing keys are left alone, and a client's public key alone is one too: its
        secret has gone to its own machine.

    Raises:
        StreamerError: a name that is no plain file name, a role that is unknown or not the one the name has
            already, a server.key without its secret, or a folder that cannot be written. Nothing is written
            then, except where the writing itself failed.
    """
    for name, role in clients.items():
        _check_client(folder, name, role)
    public, secret = folder / "server.key", folder / "server.key_secret"
    if public.exists() and not secret.exists():
        raise StreamerError(
            f"{public}: is there without {secret.name}; put that back, or move this away: a new pair locks "
            "out every peer that has the old server.key"
        )
    try:
        _make_folders(folder)
        written = [] if secret.exists() else _write_pair(folder, public, secret)
        if not (folder / _SCRAPES).exists():
            written.append(_write_token(folder / _SCRAPES))
        for name, role in clients.items():
            allowed, own = folder / role / f"{name}.key", folder / "clients" / f"{name}.key_secret"
            if not (allowed.exists() or own.exists()):
                written += _write_pair(folder, allowed, own)
    except OSError as error:
        where = error.filename or folder
        raise StreamerError(f"{where}: cannot be written ({error.strerror})") from None
    return written


def _check_client(folder: Path, name: str, role: str) -> None:
    if role not in ROLES:
        raise StreamerError(f"role: got '{role}', expected one of {', '.join(ROLES)}")
    if not _NAME.fullmatch(name):
        raise StreamerError(
            f"{role[:-1]}: got {name!r}, expected up to 64 letters, digits, '-', '_' and '.', first a letter "
            "or digit: files are named by it"
        )
    for other in ROLES:
        if other != role and (folder / other / f"{name}.key").exists():
            raise StreamerError(
                f"{role[:-1]}: got '{name}', which is one of the {other} already; a name has one role: give "
                "the new key another name"
            )


def _make_folders(folder: Path) -> None:
    for name in ("", *ROLES, "clients"):
        path = folder / name
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if name and path.is_symlink():
            raise NotADirectoryError(ENOTDIR, "is a link, expected a folder", str(path))
    folder.chmod(0o700)


def _write_pair(folder: Path, public: Path, secret: Path) -> list[Path]:
    """A new pair; a file that is there is never written over, nor what a link points to."""
    # pyzmq writes both into one folder, and over whatever is there.
    with TemporaryDirectory(dir=folder) as drafts:
        made = create_certificates(drafts, public.stem)
        new_public, new_secret = (Path(draft).read_bytes() for draft in made)
        _write_new(secret, new_secret)  # first: a public key alone would admit a peer that there is not
        try:
            _write_new(public, new_public)
        except OSError:
            secret.unlink()
            raise
    return [public, secret]


def _write_new(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def load_server(folder: Path) -> ServerKeys:
    """The detector's keys of a folder made by `musc-online keys`."""
    public, secret = _load(folder / "server.key_secret")
    return ServerKeys(public, secret, folder)


def load_token(folder: Path) -> str:
    """The token that scrapes must show, of a folder made by `musc-online keys`.

    Raises:
        StreamerError: there is none, as in a folder of an older release, or it is too short to be one.
    """
    path = folder / _SCRAPES
    how = f"make it with musc-online keys {folder}"
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not ASCII"
        raise StreamerError(
            f"metrics.endpoint: {path} cannot be read ({reason}); with security.keys scrapes show this "
            f"token: {how}, or set metrics.endpoint: null"
        ) from None
    if len(token) < _TOKEN_CHARACTERS or not token.isprintable() or " " in token:
        raise StreamerError(
            f"metrics.endpoint: {path} holds no token, expected {_TOKEN_CHARACTERS} printable characters or "
            f"more in one line; delete it and {how}"
        )
    return token


def load_client(secret_file: Path, server_file: Path) -> ClientKeys:
    """A peer's keys: its own secret file and the detector's `server.key`."""
    public, secret = _load(secret_file)
    try:
        server, _ = read_keys(server_file)
    except (OSError, ValueError) as error:
        raise StreamerError(
            f"{server_file}: no public key ({error}); expected the detector's server.key"
        ) from None
    return ClientKeys(public, secret, server)


def read_keys(path: Path) -> tuple[bytes, bytes | None]:
    """A key file's public key (Z85 text) and, where it holds one, its secret key.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no key file, or a key in it is none; the text says why.
    """
    about = path.stat()
    if not stat.S_ISREG(about.st_mode) or about.st_size > _KEY_FILE:  # a pipe would hold up every handshake
        raise ValueError("is no key file")
    try:
        public, secret = load_certificate(path)
    except IndexError:  # pyzmq's reader takes every line that names a key to have a '='
        raise ValueError("a line with a key has no '='") from None
    for name, key in (("public", public), ("secret", secret)):
        if key is not None and not _is_key(key):
            raise ValueError(f"the {name} key has {len(key)} characters, expected 40 of Z85")
    return public, secret


def client_keys(key: Path | None, server_key: Path | None) -> ClientKeys | None:
    """Keys from two command-line options that go together, or None for a plain connection."""
    if key is None and server_key is None:
        return None
    if key is None or server_key is None:
        raise StreamerError(
            "--key and --server-key go together: the peer's .key_secret and the detector's server.key"
        )
    return load_client(key, server_key)


def _is_key(text: bytes) -> bool:
    try:
        return len(z85.decode(text)) == _KEY_BYTES
    except (KeyError, ValueError, struct.error):
        return False


def _write_token(path: Path) -> Path:
    _write_new(path, f"{secrets.token_urlsafe(32)}\n".encode())
    return path


def _load(secret_file: Path) -> tuple[bytes, bytes]:
    try:
        public, secret = read_keys(secret_file)
    except (OSError, ValueError) as error:
        raise StreamerError(f"{secret_file}: no key pair ({error}); make one with musc-online keys") from None
    if secret is None:
        raise StreamerError(f"{secret_file}: holds no secret key; expected a .key_secret file")
    return public, secret
