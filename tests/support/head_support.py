"""A head of Ray that others start: closed by a token, or open to whoever reaches it."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

PATIENCE_S = 120
TOKEN = secrets.token_hex(32)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def head(folder: Path, token: str | None) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Its address and process; `folder` has a short path, for Ray's sockets."""
    port = _free_port()
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"]
    command += ["--node-ip-address=127.0.0.1", f"--temp-dir={folder}", "--include-dashboard=false"]
    command += ["--disable-usage-stats", "--num-cpus=2", "--object-store-memory=100000000"]
    mode = (
        {"RAY_AUTH_MODE": "disabled"}
        if token is None
        else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    )
    with (folder / "head.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", **mode},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while b"Ray runtime started" not in (folder / "head.log").read_bytes():
            assert process.poll() is None, (folder / "head.log").read_text()
            assert time.monotonic() < deadline, (folder / "head.log").read_text()
            time.sleep(0.1)
        yield f"127.0.0.1:{port}", process
    finally:
        parts = [one for one in psutil.process_iter() if _is_of(one, process.pid)]
        for one in [*parts, process]:
            if isinstance(one, subprocess.Popen) or one.is_running():
                one.kill()
        process.wait()


def _is_of(process: psutil.Process, head_pid: int) -> bool:
    try:
        return head_pid in {one.pid for one in process.parents()}
    except psutil.Error:
        return False
