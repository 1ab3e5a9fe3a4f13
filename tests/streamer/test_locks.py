"""Two services on one folder or history: the second one stops, and says who the first is."""

import os
import subprocess
import sys

import pytest
import yaml
from streamer_support import one_thread, server_process, settings

from musc_online.config import load
from streamer.errors import StreamerError
from streamer.server.locks import FOLDER, Lock
from streamer.server.service import Service

__all__ = ["one_thread"]


def service(**sections):
    """One that is made and not started: the disk is taken before a port is."""
    return Service(load(settings(**sections)))


@pytest.fixture
def taken(tmp_path):
    """What a second service may name, and is taken by a first one."""
    folder, history = tmp_path / "rings", tmp_path / "kept" / "history.sqlite"
    first = service(snapshot={"path": str(folder)}, history={"path": str(history)})
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "link.sqlite").symlink_to(history)
    yield {
        "folder": {"snapshot": {"path": str(folder)}},
        "link to the folder": {"snapshot": {"path": str(tmp_path / "link")}},
        "history": {"history": {"path": str(history)}},
        "link to the history": {"history": {"path": str(tmp_path / "link.sqlite")}},
    }
    first._end()
    service(snapshot={"path": str(folder)}, history={"path": str(history)})._end()


def test_the_second_one_stops_with_a_line_that_names_the_first(taken):
    for what, sections in taken.items():
        key = "snapshot.path" if "folder" in what else "history.path"
        with pytest.raises(StreamerError) as caught:
            service(**sections)
        text = str(caught.value)
        assert text.startswith(f"{key}: ")
        assert f"is in use by another detector (process {os.getpid()} on " in text
        assert "since 20" in text
        assert "\n" not in text


def test_a_service_that_could_not_be_made_leaves_no_lock(tmp_path):
    sections = {"snapshot": {"path": str(tmp_path / "rings")}, "security": {"keys": str(tmp_path / "none")}}
    with pytest.raises(StreamerError):
        service(**sections)
    service(snapshot=sections["snapshot"])._end()


@pytest.mark.parametrize("what", ["pipe", "link to nothing", "link to itself", "folder", "no words"])
def test_whatever_lies_in_the_lock_s_place_is_no_hindrance(tmp_path, what):
    path = tmp_path / FOLDER
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what == "no words":
        path.write_bytes(b"\xff{")
    else:
        path.symlink_to(tmp_path / "nothing" if what == "link to nothing" else path)
    lock = Lock("snapshot.path", tmp_path, is_folder=True)
    with pytest.raises(StreamerError, match="in use by another detector"):
        Lock("snapshot.path", tmp_path, is_folder=True)
    lock.release()
    Lock("snapshot.path", tmp_path, is_folder=True).release()


def test_a_child_that_outlives_its_parent_does_not_hold_the_lock(tmp_path):
    lock = Lock("snapshot.path", tmp_path, is_folder=True)
    read, write = os.pipe()
    up, is_up = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.write(is_up, b"x")
        os.read(read, 1)  # until the parent lets it go
        os._exit(0)
    os.close(read)
    try:
        assert os.read(up, 1) == b"x"
        lock._forget()  # as the end of the process does
        Lock("snapshot.path", tmp_path, is_folder=True).release()
    finally:
        for end in (write, up, is_up):
            os.close(end)
        os.waitpid(child, 0)


@pytest.mark.slow
def test_two_processes_and_a_restart_after_a_kill(one_thread, tmp_path):
    sections = {
        "snapshot": {"path": str(tmp_path / "rings")},
        "history": {"path": str(tmp_path / "h.sqlite")},
    }
    with server_process(tmp_path, **sections) as first:
        config = tmp_path / "second.yaml"
        config.write_text(yaml.safe_dump(settings(**sections)))
        command = [sys.executable, "-m", "streamer.serve", "--config", str(config)]
        second = subprocess.run(command, capture_output=True, text=True, check=False)
        assert second.returncode == 2
        assert f"process {first.pid} on" in second.stderr
        assert "Traceback" not in second.stderr
        first.kill()
        first.start()
        assert first.terminate() == 0


HISTORIES = ["pipe", "folder", "link to itself", "another's", "not a database", "damaged"]


@pytest.mark.parametrize("what", HISTORIES)
def test_a_history_that_is_none_is_one_line(tmp_path, what):
    path = tmp_path / "h.sqlite"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what == "link to itself":
        path.symlink_to(path)
    elif what == "another's":
        subprocess.run([sys.executable, "-c", ANOTHERS, str(path)], check=True)
    elif what == "damaged":
        service(history={"path": str(path)})._end()
        path.write_bytes(path.read_bytes()[:4096] + b"\x07" * 4096)
    else:
        path.write_bytes(b"\x07" * 4096)
    before = path.read_bytes() if path.is_file() and not path.is_symlink() else None
    with pytest.raises(StreamerError, match=r"history\.path: ") as caught:
        service(history={"path": str(path)})
    assert "\n" not in str(caught.value)
    assert before is None or path.read_bytes() == before


ANOTHERS = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("CREATE TABLE users (name)")
database.commit()
"""
