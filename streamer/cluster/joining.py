"""What must hold of a cluster that runs before it is joined: an address, a token, no way in without it."""

import os
import re
import socket
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

from streamer import child
from streamer.cluster.asking import LET_IN, REFUSED
from streamer.errors import StreamerError

_CONNECT_S = 10.0
_PROVE_S = 60.0
_TOKEN_BYTES = 4096
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:/\[\]\s]+):(\d{1,5})")


def checked(address: str) -> tuple[str, int]:
    """Host and port of the head.

    Raises:
        StreamerError: it is no `host:port`, or nobody answers there.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None or not 0 < int(found[2]) < 65536:
        raise StreamerError(
            f"engine.address: got {address!r}, expected host:port of the head's GCS, 192.168.0.10:6379 say"
        )
    host, port = found[1].strip("[]"), int(found[2])
    try:
        socket.create_connection((host, port), _CONNECT_S).close()
    except OSError as error:
        raise StreamerError(
            f"engine.address: {address}: nobody answers ({error.strerror or error}); start the head there "
            f"first: RAY_AUTH_MODE=token ray start --head --port={port}"
        ) from None
    return host, port


def environment(token: Path | None) -> dict[str, str | None]:
    """For this process as it joins; without a file, the token is where Ray itself looks.

    Raises:
        StreamerError: there is none, it cannot be read, or others may read it.
    """
    if token is not None:
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": _read(token)}
    if not os.environ.get("RAY_AUTH_TOKEN"):
        _read_where_ray_looks()
    return {"RAY_AUTH_MODE": "token"}


def _read_where_ray_looks() -> None:
    """Raises as for a file that is configured. Ray itself would say what it found for an earlier cluster."""
    named, usual = os.environ.get("RAY_AUTH_TOKEN_PATH"), Path.home() / ".ray" / "auth_token"
    if named:
        _read(Path(named), "RAY_AUTH_TOKEN_PATH")
    elif usual.exists():
        _read(usual)
    else:
        raise StreamerError(
            "engine.token: the cluster's token is missing, expected the path of a file with it (or "
            "RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token)"
        )


def _read(path: Path, key: str = "engine.token") -> str:
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode) or about.st_size > _TOKEN_BYTES:
            raise StreamerError(f"{key}: {path} is no file of a token; `ray get-auth-token` prints one")
        if about.st_mode & 0o077:
            raise StreamerError(
                f"{key}: {path} can be read or written by others than its owner (mode "
                f"{stat.S_IMODE(about.st_mode):04o}); chmod 600 {path}"
            )
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not ASCII"
        raise StreamerError(f"{key}: {path} cannot be read ({reason})") from None
    if not token or not token.isprintable() or " " in token:
        raise StreamerError(f"{key}: {path} holds no token, expected one word")
    return token


def prove_closed(address: str, environment: Mapping[str, str | None]) -> None:
    """See the head refuse a process that shows no token, and answer one that shows ours.

    Raises:
        StreamerError: it answered the one, refused the other, or said neither.
    """
    hidden = dict.fromkeys(("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if _asked(address, {**hidden, "RAY_AUTH_MODE": "disabled"}) == LET_IN:
        raise StreamerError(
            f"engine.address: {address}: the cluster lets in whoever reaches it, and runs their code; start "
            "every node of it with RAY_AUTH_MODE=token and the same token"
        )
    if _asked(address, environment) == REFUSED:
        raise StreamerError(f"engine.token: the cluster at {address} has another token; expected its own")


def _asked(address: str, environment: Mapping[str, str | None]) -> int:
    """How the head treats a process with these variables: `LET_IN` or `REFUSED`."""
    variables = {**child.environment(), **environment}
    try:
        asked = subprocess.run(
            child.command("streamer.cluster.asking", address),
            env={name: value for name, value in variables.items() if value is not None},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROVE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StreamerError(
            f"engine.address: {address}: no answer within {_PROVE_S:.0f} s; is it the port of Ray's GCS?"
        ) from None
    if asked.returncode not in (LET_IN, REFUSED):
        said = asked.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise StreamerError(f"engine.address: {address}: no cluster of Ray answers ({said[-1][:200]})")
    return asked.returncode
