"""A signal to a service that waits for a backbone: it ends in order, though none ever comes up."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from streamer_support import PATIENCE_S, settings, until

pytest.importorskip("ray")
ROOT = Path(__file__).resolve().parents[3]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_a_signal_ends_a_start_that_waits(tmp_path: Path) -> None:
    path, log = tmp_path / "line.yaml", tmp_path / "log"
    port, engine = free_port(), {"name": "ray", "backbone_gpus": 512}  # more than any machine has
    path.write_text(yaml.safe_dump(settings(engine=engine, transport={"control": f"tcp://127.0.0.1:{port}"})))
    command = [sys.executable, "-m", "streamer.serve", "--config", str(path)]
    with log.open("w") as told, subprocess.Popen(command, cwd=ROOT, stderr=told, env=os.environ) as process:
        try:
            until(lambda: process.poll() is not None or listens(port))  # before it waits
            process.terminate()
            assert process.wait(PATIENCE_S) == 0, log.read_text()
        finally:
            process.kill()
    said = log.read_text()
    assert "engine.backbones: they were stopped before one was up" in said
    assert "Traceback" not in said
