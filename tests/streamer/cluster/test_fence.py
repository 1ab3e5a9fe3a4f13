"""One line at a time has a stream's files: another waits, and goes on as soon as the first is dead."""

import os
import signal
import subprocess
import sys
import threading

import pytest
from journal_support import frames
from line_actor_support import Gate, config
from snapshot_support import files
from streamer_support import PATIENCE_S

from streamer.cluster.fence import Fence, signature, wait_for_all
from streamer.errors import WireError
from streamer.server.disk import Disk
from streamer.server.locks import FOLDER

HOLD = """
import sys
from pathlib import Path
from streamer.cluster.fence import Fence
fence = Fence(Path(sys.argv[1]), "line", 60.0)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process with the stream's files."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"held\n"
            yield process
        finally:
            process.kill()


def test_a_line_waits_for_the_one_before_to_be_dead(tmp_path, holder):
    gate = Gate(tmp_path, frames(3, 4), opened=False)
    line, opened = gate.new(), []
    waiting = threading.Thread(target=lambda: opened.append(line.open(2**40)), daemon=True)
    waiting.start()
    waiting.join(0.3)
    assert opened == []
    os.kill(holder.pid, signal.SIGKILL)
    waiting.join(PATIENCE_S)
    assert opened[0].reply.error is None
    gate.line = line
    gate.do(("frame", 0))


def test_a_line_that_does_not_end_is_named_and_nothing_of_its_files_is_touched(tmp_path, holder):
    gate = Gate(tmp_path, frames(3, 4), make={"patience_s": 0.1}, opened=False)
    line = gate.line = gate.new()
    code, text = line.open(2**40).reply.error
    assert code == "snapshot_unreadable"
    assert f"process {holder.pid} on" in text
    assert "\n" not in text
    assert gate.begin("frame", 0).error[0] == "snapshot_unreadable"
    assert line.reset().error[0] == "snapshot_unreadable"
    assert files(tmp_path) == []
    holder.kill()
    holder.wait(PATIENCE_S)
    assert gate.begin("frame", 0).error is None


def test_streams_have_files_of_their_own(tmp_path):
    fences = [Fence(tmp_path, name, 0.0) for name in ("line", "other", "..", "a/b", "x" * 300)]
    with pytest.raises(WireError, match="did not end within 0 s"):
        Fence(tmp_path, "line", 0.0)
    assert len(wait_for_all(tmp_path, 0.0)) == 5
    fences[0].release()
    fences[0].release()
    Fence(tmp_path, "line", 0.0).release()
    assert len(wait_for_all(tmp_path, 0.0)) == 4
    for fence in fences:
        fence.release()
    assert wait_for_all(tmp_path, 0.0) == []


def test_a_closed_line_lets_go(tmp_path):
    gate = Gate(tmp_path, frames(3, 4))
    gate.do(("frame", 0))
    gate.line.close()
    gate.open(told=gate.next)
    assert gate.reply.held == ("f0",)


def test_another_folder_of_the_same_name_is_not_taken_for_the_gates(tmp_path):
    shared, elsewhere = tmp_path / "shared", tmp_path / "elsewhere"
    disk = Disk(config(shared))
    try:
        signed = signature(shared)
        Fence(shared, "line", 0.0, signed).release()
        elsewhere.mkdir()
        with pytest.raises(WireError, match="is not the folder of the gate"):
            Fence(elsewhere, "line", 0.0, signed)
        (elsewhere / FOLDER).write_text('{"pid": 1, "host": "another", "since": "2026-11-30 06:00:00"}')
        with pytest.raises(WireError, match="is not the folder of the gate"):
            Fence(elsewhere, "line", 0.0, signed)
        with pytest.raises(WireError, match="is no folder on this node"):
            Fence(tmp_path / "missing", "line", 0.0)
    finally:
        disk.close()
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize(
    "stray", [lambda path: path.mkdir(), os.mkfifo, lambda path: path.symlink_to("nothing")]
)
def test_what_lies_in_the_place_of_a_lock_is_set_aside(tmp_path, stray):
    Fence(tmp_path, "line", 0.0).release()
    (path,) = tmp_path.glob(".*.lock")
    path.unlink()
    stray(path)
    gate = Gate(tmp_path, frames(3, 4))
    gate.do(("frame", 0))
    assert path.is_file()


def test_a_service_leaves_the_locks_alone(tmp_path):
    fence = Fence(tmp_path, "line", 0.0)
    before = sorted(path.name for path in tmp_path.iterdir())
    Disk(config(tmp_path)).close()
    assert set(before) <= {path.name for path in tmp_path.iterdir()}
    with pytest.raises(WireError):
        Fence(tmp_path, "line", 0.0)
    fence.release()
