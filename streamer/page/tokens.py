"""Who may log in: names, roles and tokens in one file that only its owner can read."""

import hmac
import json
import os
import re
import secrets
import stat
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from streamer.errors import StreamerError

ROLES = ("viewer", "operator", "admin")
"""Each may do what those before it may."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_FILE_BYTES = 2**20
_MIN_TOKEN = 32


@dataclass(frozen=True)
class Holder:
    """Somebody who may log in."""

    name: str
    role: str
    token: str

    @property
    def mark(self) -> str:
        """Names this token in a session without giving it away: another token of the same name ends it."""
        return sha256(self.token.encode()).hexdigest()[:32]

    def may(self, role: str) -> bool:
        """Whether the holder has a role's rights."""
        return ROLES.index(self.role) >= ROLES.index(role)


class Tokens:
    """`tokens.json` of the store's folder, read again whenever it was changed.

    Args:
        folder: made if missing, readable by its owner only.

    Raises:
        StreamerError: the file is damaged, or others may read it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "tokens.json"
        make_folder(folder)
        self.new = not self.path.exists()
        """Whether the file was made just now, with one token a role."""
        if self.new:
            self._write({name: Holder(name, name, secrets.token_urlsafe(32)) for name in reversed(ROLES)})
        self._seen: tuple[int, ...] = ()
        self._holders: dict[str, Holder] = {}
        self._refresh(strict=True)

    def holders(self) -> list[Holder]:
        """Everybody who may log in at the moment."""
        self._refresh()
        return list(self._holders.values())

    def named(self, name: str) -> Holder | None:
        """Who has this name at the moment."""
        self._refresh()
        return self._holders.get(name)

    def holder_of(self, token: str) -> Holder | None:
        """Whose token it is; how long the answer takes says nothing about any of them."""
        self._refresh()
        found = None
        for holder in self._holders.values():
            if hmac.compare_digest(holder.token.encode(), token.encode("utf-8", "surrogatepass")):
                found = holder
        return found

    def add(self, given: str) -> Holder:
        """A new token for `NAME:ROLE`; one that the name had is gone, and with it its sessions."""
        name, _, role = given.rpartition(":")
        if role not in ROLES or not _NAME.fullmatch(name):
            raise StreamerError(
                f"--add: got '{given}', expected NAME:ROLE, the name up to 64 of letters, digits and ._@-, "
                f"the role one of {', '.join(ROLES)}"
            )
        holder = Holder(name, role, secrets.token_urlsafe(32))
        self._write({**self._holders, name: holder})
        return holder

    def remove(self, name: str) -> None:
        """Take a name's token away; its sessions end."""
        if name not in self._holders:
            known = ", ".join(sorted(self._holders)) or "nobody"
            raise StreamerError(f"--remove: got '{name}', expected one of those in {self.path}: {known}")
        self._write({other: holder for other, holder in self._holders.items() if other != name})

    def _refresh(self, *, strict: bool = False) -> None:
        try:
            about = self.path.stat()
            seen = (about.st_mtime_ns, about.st_size, about.st_ino, about.st_mode)
            if seen == self._seen:
                return
            self._holders = _read(self.path, about)
            self._seen = seen
        except (OSError, StreamerError) as error:
            if strict:
                raise StreamerError(_unreadable(self.path, error)) from None
            self._holders, self._seen = {}, ()  # nobody, rather than somebody whose token was taken away

    def _write(self, holders: dict[str, Holder]) -> None:
        listed = {name: {"role": holder.role, "token": holder.token} for name, holder in holders.items()}
        write_private(self.path, (json.dumps(listed, indent=1) + "\n").encode())


def make_folder(folder: Path) -> None:
    """The store's folder, readable by its owner only where it is made here."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StreamerError(f"store.path: {folder} cannot be made ({error.strerror})") from None


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StreamerError(f"{path}: cannot be written ({error.strerror})") from None


def session_secret(folder: Path) -> bytes:
    """What sessions are signed with, made at the first start; deleting `session.key` ends them all.

    Raises:
        StreamerError: the file is damaged, or others may read it.
    """
    path = folder / "session.key"
    if not path.exists():
        write_private(path, secrets.token_bytes(32))
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise StreamerError(
                f"{path}: others may read it, expected mode 0600; delete it: all log in again"
            )
        secret = path.read_bytes()
    except OSError as error:
        raise StreamerError(f"{path}: cannot be read ({error.strerror})") from None
    if len(secret) != 32:
        raise StreamerError(f"{path}: has {len(secret)} bytes, expected 32; delete it: all log in again")
    return secret


def _read(path: Path, about: os.stat_result) -> dict[str, Holder]:
    if stat.S_IMODE(about.st_mode) & 0o077:
        raise StreamerError(f"{path}: others may read it, expected mode 0600; chmod 600, or delete it")
    try:
        if about.st_size > _FILE_BYTES:
            raise ValueError
        listed: Any = json.loads(path.read_bytes())
        return {name: _holder(name, **entry) for name, entry in listed.items()}
    except (ValueError, TypeError, AttributeError):
        raise StreamerError(
            f'{path}: expected {{"NAME": {{"role": one of {", ".join(ROLES)}, "token": {_MIN_TOKEN} '
            "characters or more}}; delete it, and new tokens are made"
        ) from None


def _holder(name: str, *, role: str, token: str) -> Holder:
    if (
        not _NAME.fullmatch(name)
        or role not in ROLES
        or not isinstance(token, str)
        or len(token) < _MIN_TOKEN
    ):
        raise ValueError(name)
    return Holder(name, role, token)


def _unreadable(path: Path, error: Exception) -> str:
    return f"{path}: cannot be read ({error.strerror})" if isinstance(error, OSError) else str(error)
