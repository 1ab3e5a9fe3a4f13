"""Whom the server lets in: clients by certificates in a folder, users by hashed passwords in a file."""

import base64
import hashlib
import hmac
import re
import secrets
import stat
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from streamer.bridges.hidden import name_of
from streamer.errors import StreamerError

_SUFFIXES = (".der", ".pem", ".crt", ".cer")
_FILE_BYTES = 64 * 1024
_MOST_FILES = 1_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_N, _R, _P = 2**14, 8, 1
"""Of scrypt: some 30 ms and 16 MiB a try."""
MIN_PASSWORD = 12
_MAX_PASSWORD = 1_024


def read_certificate(path: Path) -> x509.Certificate:
    """A certificate as PEM or DER.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is none.
    """
    if path.stat().st_size > _FILE_BYTES:
        raise ValueError("is too large")
    content = path.read_bytes()
    if b"-----BEGIN" in content:
        return x509.load_pem_x509_certificate(content)
    return x509.load_der_x509_certificate(content)


class Trusted:
    """The certificates of clients in a folder, read again at each login: its file alone lets one in.

    Raises:
        StreamerError: there is no such folder, or a file in it is no certificate.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            for path in self._files():
                read_certificate(path)
        except OSError as error:
            raise StreamerError(
                f"security.trusted: {folder} cannot be read ({error.strerror}); expected a folder of "
                "the clients' certificates"
            ) from None
        except ValueError:
            raise StreamerError(
                f"security.trusted: {path} is no certificate; expected PEM or DER, move it away"
            ) from None

    def _files(self) -> list[Path]:
        found = [path for path in self._folder.iterdir() if path.suffix.lower() in _SUFFIXES]
        return sorted(found)[:_MOST_FILES]

    def knows(self, certificate: bytes | None) -> bool:
        """Whether a client's certificate (DER) lies in the folder, and is valid now."""
        if not certificate:
            return False
        now = datetime.now(UTC)
        try:
            files = self._files()
        except OSError:
            return False
        for path in files:
            try:
                known = read_certificate(path)
            except (OSError, ValueError):  # being written just now
                continue
            if certificate.startswith(known.public_bytes(Encoding.DER)):  # its issuers' may follow
                return known.not_valid_before_utc <= now <= known.not_valid_after_utc
        return False


class Users:
    """Names and hashed passwords, `NAME:HASH` a line; read again whenever the file was changed.

    Raises:
        StreamerError: the file cannot be read, others may read it, or a line is none of these.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._hashes: dict[str, str] = {}
        self._read()

    def _read(self) -> None:
        how = "make it with python -m streamer.bridges.opcua.keys DIR --user NAME"
        try:
            about = self._path.stat()
            if about.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise StreamerError(
                    f"security.users: {self._path} can be read by others; chmod 600 {self._path}"
                )
            if (about.st_mtime_ns, about.st_size) == self._seen:
                return
            text = self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise StreamerError(
                f"security.users: {name_of(self._path)} cannot be read ({reason}); {how}"
            ) from None
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        pairs = [line.partition(":") for line in lines]
        for number, (name, _, hashed) in enumerate(pairs, 1):
            if not _NAME.fullmatch(name) or _parts(hashed) is None:
                raise StreamerError(f"security.users: {self._path}: entry {number} is no NAME:HASH; {how}")
        self._hashes = {name: hashed for name, _, hashed in pairs}
        self._seen = (about.st_mtime_ns, about.st_size)

    def admits(self, name: str | None, password: str | None) -> bool:
        """Whether the password is that of the user of this name."""
        if not name or not password or len(password) > _MAX_PASSWORD:
            return False
        try:
            self._read()
        except StreamerError:  # being written just now, or broken: nobody is let in by what is in doubt
            return False
        hashed = self._hashes.get(name)
        if hashed is None:
            hash_password(password)  # as long as for a name that there is
            return False
        parts = _parts(hashed)
        return parts is not None and hmac.compare_digest(_scrypt(password, parts[0]), parts[1])


def hash_password(password: str) -> str:
    """What stands in the file for a password."""
    salt = secrets.token_bytes(16)
    return f"scrypt${_b64(salt)}${_b64(_scrypt(password, salt))}"


def check_name(name: str) -> None:
    """Refuse a name that could not stand in the file.

    Raises:
        StreamerError: it could not.
    """
    if not _NAME.fullmatch(name):
        raise StreamerError(
            f"user: got {name!r}, expected up to 64 letters, digits, '-', '_', '@' and '.', first a letter "
            "or digit"
        )


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode("utf-8", "surrogatepass"), salt=salt, n=_N, r=_R, p=_P, dklen=32)


def _parts(hashed: str) -> tuple[bytes, bytes] | None:
    word, *rest = hashed.strip().split("$")
    if word != "scrypt" or len(rest) != 2:
        return None
    try:
        salt, key = (base64.b64decode(part, validate=True) for part in rest)
    except ValueError:
        return None
    return (salt, key) if len(salt) == 16 and len(key) == 32 else None


def _b64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
