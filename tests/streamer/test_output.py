"""What a service says when nobody listens: gone, full, closed and broken readers of its output and log."""

import os
import pty
import signal
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import yaml
from streamer_support import PATIENCE_S, Camera, Screen, one_thread, settings, until

from streamer.ask import ask

__all__ = ["one_thread"]

# Says more than a pipe holds by every way there is, from another thread too, and ends.
TALKS = """
import ctypes, logging, sys, threading, warnings
from streamer.server import logs
from streamer.server.output import Output
import structlog
libc = ctypes.CDLL(None)
def say():
    for number in range(1500):
        structlog.get_logger().info("said", number=number, text="x" * 1000)
        warnings.warn(f"warned {number}", stacklevel=1)
        print("printed", number, file=(sys.stdout, sys.stderr)[number % 2])
        libc.dprintf(2, b"in C\\n")
    logging.getLogger("library").error("logged")
    sys.stderr.buffer.write(b"bytes\\n")
    raise SystemError("told by the thread's hook")
with Output() as output:
    logs.configure("info", "json")
    thread = threading.Thread(target=say)
    thread.start()
    thread.join()
    open(sys.argv[1], "w").write(str(output.lost()))
"""


@contextmanager
def listener(kind):
    """Descriptors (out, error) of a kind that no log should be written to; None is closed."""
    if kind == "closed":
        yield None
        return
    if kind == "no room":
        mine, theirs = None, os.open("/dev/full", os.O_WRONLY)
    elif kind == "terminal gone":
        mine, theirs = pty.openpty()
        os.close(mine)
        mine = None
    else:
        mine, theirs = os.pipe()
        if kind == "gone":
            os.close(mine)
            mine = None
        if kind == "nobody reads":
            os.set_blocking(theirs, False)
            while True:
                try:
                    os.write(theirs, b"full\n" * 100)
                except BlockingIOError:
                    break
            os.set_blocking(theirs, True)
    yield theirs
    os.close(theirs)
    if mine is not None:
        os.close(mine)


def start(command, descriptor):
    if descriptor is None:
        command = ["/bin/sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command]
    return subprocess.Popen(command, stdout=descriptor, stderr=descriptor)


@pytest.mark.parametrize("kind", ["gone", "nobody reads", "closed", "no room", "terminal gone"])
def test_who_speaks_neither_waits_nor_fails(kind, tmp_path):
    lost = tmp_path / "lost"
    with listener(kind) as descriptor:
        process = start([sys.executable, "-c", TALKS, str(lost)], descriptor)
        assert process.wait(PATIENCE_S) == 0
    assert int(lost.read_text()) > 0 or kind == "closed"  # which leads nowhere: nothing is lost there


def test_what_is_said_arrives_whole_and_in_order(tmp_path):
    lost = tmp_path / "lost"
    done = subprocess.run(
        [sys.executable, "-c", TALKS, str(lost)], check=False, capture_output=True, text=True, timeout=60
    )
    lines = [line for line in done.stderr.splitlines() if '"said"' in line]
    assert all(line.startswith("{") and line.endswith("}") for line in lines)
    assert len(lines) + int(lost.read_text()) >= 1500
    assert "in C" in done.stderr
    if lost.read_text() == "0":
        for end in ("logged", "bytes", "told by the thread's hook"):
            assert end in done.stderr


def test_where_a_process_died_is_written_for_who_asked():
    code = (
        "import os, signal; from streamer.server.output import Output\n"
        "with Output(): os.kill(os.getpid(), signal.SIGSEGV)"
    )
    environment = {**os.environ, "PYTHONFAULTHANDLER": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.returncode == -signal.SIGSEGV
    assert "Segmentation fault" in done.stderr


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("gone", signal.SIGTERM),
        ("nobody reads", signal.SIGHUP),
        pytest.param("closed", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("no room", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("terminal gone", signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_a_log_that_nobody_reads_never_ends_the_service(kind, number, one_thread, tmp_path):
    config, ready = tmp_path / "line.yaml", tmp_path / "ready.json"
    values = settings(snapshot={"path": str(tmp_path / "rings")}, log={"progress_s": 0.05})
    config.write_text(yaml.safe_dump(values))
    command = [sys.executable, "-m", "streamer.serve", "--config", config, "--ready-file", ready]
    with listener(kind) as descriptor:
        process = start(list(map(str, command)), descriptor)
        try:
            until(lambda: ready.exists() or process.poll() is not None)
            assert process.poll() is None
            talk(yaml.safe_load(ready.read_text())["endpoints"], kind)
            process.send_signal(number)
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
    assert len(list((tmp_path / "rings").glob("*.safetensors"))) == 1


def talk(endpoints, kind):
    """Bad frames and good ones: each bad one is logged, and each good one scored."""
    service = SimpleNamespace(endpoints=endpoints)
    with Screen(service) as screen, Camera(endpoints["frames"]) as camera:
        for seed in range(4):
            camera.send({"v": 1}, b"")
            camera.picture(seed)
        assert len(screen.until(8, "score", "error")) == 8
    status = ask({"kind": "status"}, endpoints["control"], timeout_s=PATIENCE_S)
    assert (status["received"], status["scored"]) == (8, 4)
    assert (status["log"]["lost_lines"] > 0) == (kind in {"gone", "no room", "terminal gone"}), status["log"]
