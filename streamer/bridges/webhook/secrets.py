"""Secrets that requests are signed with: read from files and the environment, never shown."""

import base64
import binascii
import os
import stat
from pathlib import Path

from standardwebhooks import Webhook as Signer

from streamer.bridges.hidden import name_of
from streamer.bridges.webhook.config import PREFIX, Webhook
from streamer.errors import StreamerError

_FILE_BYTES = 16 * 1024
_SHORTEST, _LONGEST = 24, 64
_HOW = "make one with: echo whsec_$(openssl rand -base64 32)"


def signers(section: Webhook) -> list[Signer]:
    """One for each secret, in the order in which they are named.

    Raises:
        StreamerError: a file or variable cannot be read, others may read the file, or it holds no secret. No
            text shows any part of one.
    """
    found = [one for path in section.secret_files for one in _of_file(path)]
    return found + [one for name in section.secret_variables for one in _of_variable(name)]


def _of_file(path: Path) -> list[Signer]:
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode) or about.st_size > _FILE_BYTES:
            raise StreamerError(f"webhook.secret_files: {path} is no file of secrets; {_HOW} > FILE")
        if about.st_mode & 0o077:
            raise StreamerError(
                f"webhook.secret_files: {path} can be read or written by others than its owner (mode "
                f"{stat.S_IMODE(about.st_mode):04o}); chmod 600 {path}"
            )
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not ASCII"
        raise StreamerError(
            f"webhook.secret_files: {name_of(path)} cannot be read ({reason}); {_HOW} > FILE"
        ) from None
    return _each(text, f"secret_files: {path}")


def _of_variable(name: str) -> list[Signer]:
    text = os.environ.get(name, "")
    if not text:
        raise StreamerError(
            f"webhook.secret_variables: the environment has no {name}, expected whsec_... in it"
        )
    return _each(text, f"secret_variables: {name}")


def _each(text: str, where: str) -> list[Signer]:
    lines = [line.strip() for line in text.split() if line.strip()]
    if not lines:
        raise StreamerError(f"webhook.{where} is empty; {_HOW}")
    return [_signer(line, f"webhook.{where}, secret {number}") for number, line in enumerate(lines, 1)]


def _signer(secret: str, where: str) -> Signer:
    # The library takes whatever base64 makes of a text, where a receiver's may not.
    if not secret.startswith(PREFIX):
        raise StreamerError(f"{where}: does not begin with {PREFIX}; {_HOW}")
    body = secret.removeprefix(PREFIX)
    try:
        key = base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise StreamerError(f"{where}: is no base64 behind {PREFIX}; {_HOW}") from None
    if not _SHORTEST <= len(key) <= _LONGEST:
        raise StreamerError(
            f"{where}: is a key of {len(key)} bytes, expected {_SHORTEST} to {_LONGEST}; {_HOW}"
        )
    return Signer(key)
