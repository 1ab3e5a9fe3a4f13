"""A service that keeps nothing scores no reliable frame twice either, after a lost ack or a kill."""

import os
import shutil
import sqlite3
import time

import pytest
from stops_support import Dealer
from streamer_support import (
    Camera,
    Screen,
    backbone,
    control,
    one_thread,
    server_process,
    serving,
    small_config,
)
from structlog.testing import capture_logs

from streamer.process import free_port
from streamer.server.known_ids import KnownIds, Scored
from streamer.server.locks import Lock
from streamer.server.runtime_ids import RuntimeIds

__all__ = ["backbone", "one_thread"]

ENDPOINT = "tcp://127.0.0.1:5554"
FILE = "tcp%3A%2F%2F127.0.0.1%3A5554.sqlite"


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    """The session's runtime folder."""
    folder = tmp_path / "runtime"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder


def ids(endpoint=ENDPOINT, per_stream=5, streams=2):
    return RuntimeIds(endpoint, per_stream=per_stream, streams=streams)


def told(*scored, **more):
    """Ids that a process had scored, which has ended."""
    made = ids(**more)
    made.add(scored or [Scored("a", 1, b"one")])
    made.close()


def events(entries):
    return [entry["event"] for entry in entries]


def test_earlier_frames_are_known_apart_from_one_s_own(runtime):
    told(Scored("a", 1, b"one"), Scored("a", 2, b"two"), Scored("b", 1, b"other"))
    again = ids()
    assert (again.find("a", 1), again.find_earlier("a", 1), again.find_earlier("a", 3)) == (
        None,
        b"one",
        None,
    )
    again.add([Scored("a", 1, b"new"), Scored("a", 4, b"gone", counts=lambda: False)])
    assert again.ids("a") == [1]
    assert [again.find_earlier("a", one) for one in (1, 2, 4)] == [b"new", b"two", None]
    again.forget_earlier()  # of what is not open
    assert [again.find_earlier("a", 2), again.find_earlier("b", 1)] == [b"two", None]
    again.forget("a")
    assert [again.find("a", 1), again.find_earlier("a", 1)] == [None, None]
    again.close()


def test_no_more_are_kept_than_in_memory(runtime):
    told(*[Scored("a", number, b"digest") for number in range(9)])
    told(*[Scored(stream, 0, b"digest") for stream in ("a", "c")], per_stream=3)
    again = ids()
    assert [number for number in range(9) if again.find_earlier("a", number)] == [0, 7, 8]
    again.add([Scored("d", 0, b"digest")])
    assert [bool(again.find_earlier(stream, 0)) for stream in "acd"] == [False, True, True]
    again.close()


def test_the_file_is_private_and_of_one_port_alone(runtime):
    told()
    assert (runtime / "musc-online").stat().st_mode & 0o777 == 0o700
    assert (runtime / "musc-online" / FILE).is_file()
    other = ids(ENDPOINT.replace("5554", "5564"))
    assert other.find_earlier("a", 1) is None
    other.close()


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:*", "tcp://127.0.0.1:0", "ipc://*", "inproc://frames"])
def test_a_port_that_the_next_process_does_not_have_has_no_file(runtime, endpoint):
    told(endpoint=endpoint)
    assert list(runtime.iterdir()) == []


@pytest.mark.parametrize("variable", [None, "", "relative", "/nowhere/at/all", "open to all"])
def test_without_a_runtime_folder_it_is_in_the_temporary_one(tmp_path, monkeypatch, variable):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    if variable == "open to all":
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(0o777)
        variable = str(tmp_path / "open")
    if variable is not None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", variable)
    told()
    assert (tmp_path / "temporary" / f"musc-online-{os.getuid()}" / FILE).is_file()


def test_a_temporary_folder_where_others_may_rename_ours_is_not_used(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tmp_path.chmod(0o777)
    with capture_logs() as entries:
        told()
    assert events(entries) == ["runtime_ids_unusable"]
    assert list(tmp_path.iterdir()) == []


UNUSABLE = ["link", "file", "open to its group", "another's", "name too long", "a folder", "in use"]


@pytest.mark.parametrize("what", UNUSABLE)
def test_what_cannot_be_used_is_told_in_one_line_and_changes_nothing_else(runtime, what):
    folder, lock, endpoint = runtime / "musc-online", None, ENDPOINT
    if what == "link":
        (runtime / "else").mkdir(mode=0o700)
        folder.symlink_to(runtime / "else")
    elif what == "file":
        folder.write_bytes(b"")
    else:
        folder.mkdir(mode=0o700)
    if what == "open to its group":
        folder.chmod(0o750)
    elif what == "another's":
        if os.getuid() != 0:
            pytest.skip("only root can give a folder away")
        os.chown(folder, 12345, -1)
    elif what == "name too long":
        endpoint = "ipc:///tmp/" + "x" * 300
    elif what == "a folder":
        (folder / FILE).mkdir()
    elif what == "in use":
        lock = Lock("transport.reliable", folder / FILE, is_folder=False)
    with capture_logs() as entries:
        made = ids(endpoint)
    assert events(entries) == ["runtime_ids_unusable"]
    assert "\n" not in entries[0]["text"]
    made.add([Scored("a", 1, b"one")])
    made.forget_earlier()
    assert [made.find("a", 1), made.find_earlier("a", 1)] == [b"one", None]
    made.close()
    if lock is not None:  # it was not let go of for the other
        assert "another detector" in entries[0]["text"]
        with pytest.raises(Exception, match="in use by another detector"):
            Lock("transport.reliable", folder / FILE, is_folder=False)
        lock.release()


@pytest.mark.parametrize("what", ["not a database", "another's", "damaged"])
def test_a_file_that_is_none_is_set_aside(runtime, what):
    told(*[Scored("a", number, b"12345678") for number in range(1000)], per_stream=1000)
    path = runtime / "musc-online" / FILE
    content = path.read_bytes()
    path.unlink()
    if what == "another's":
        database = sqlite3.connect(path)
        database.execute("CREATE TABLE known_ids (x)")
        database.close()
    else:
        path.write_bytes(content[:4096] + b"U" * (len(content) - 4096) if what == "damaged" else b"no" * 4096)
    with capture_logs() as entries:
        told()
    assert events(entries) == ["known_ids_refused"]
    with capture_logs() as entries:
        again = ids()
    assert events(entries) == ["runtime_ids_known"]
    assert again.find_earlier("a", 1) == b"one"
    again.close()


def test_a_file_of_another_day_is_forgotten(runtime):
    told()
    path = runtime / "musc-online" / FILE
    for age_h, found in ((23, b"one"), (25, None)):
        then = time.time() - 3600 * age_h
        os.utime(path, (then, then))
        again = ids()
        assert again.find_earlier("a", 1) == found
        again.close()


def test_a_full_disk_is_told_once_and_costs_no_id(runtime, monkeypatch):
    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    made = ids()
    with monkeypatch.context() as patch, capture_logs() as entries:
        patch.setattr(made._file, "_insert", full)
        for number in range(3):
            made.add([Scored("a", number, b"digest")])
        assert made.ids("a") == [0, 1, 2]
    assert events(entries) == ["runtime_ids_failed"]
    made.add([Scored("a", 3, b"digest")])
    made.close()
    again = ids()
    assert [bool(again.find_earlier("a", number)) for number in range(4)] == [True] * 4
    again.close()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_restarted_service_scores_no_reliable_frame_twice(backbone, runtime, tmp_path, monkeypatch, end):
    """Acks may get lost before both. Of a kill: the files as it leaves them."""
    config = small_config(transport={"reliable": free_port()}, ring={"capacity": 4})
    with serving(config, backbone) as service:
        with Dealer(service) as dealer:
            for seed in range(6):
                dealer.send(seed)
            dealer.acks(6)
            dealer.send(9, "line-0")
            assert dealer.acks(1) == [("line-0", "refused", "id_reused")]
        if end == "kill":
            shutil.copytree(runtime, tmp_path / "dead")
    if end == "kill":
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "dead"))
    with serving(config, backbone) as service, Screen(service, "line/") as screen:
        with Dealer(service) as dealer:
            for seed in range(7):
                dealer.send(seed)
            expected = [(f"line-{seed}", "scored", "duplicate" if seed < 6 else "") for seed in range(7)]
            assert dealer.acks(7) == expected
        with Camera(service.endpoints["frames"]) as camera:  # nobody sends those again for want of an ack
            camera.picture(2)
        assert [one["frame_id"] for one in screen.until(2, "score", "error")] == ["line-6", "line-2"]
        assert control(service, "status")["scored"] == 2


def test_a_line_that_numbers_its_parts_anew_after_a_restart_is_scored(backbone, runtime):
    config = small_config(transport={"reliable": free_port()})
    for begin in (0, 10):  # the same ids, other pictures
        with serving(config, backbone) as service, Dealer(service) as dealer:
            for number in range(6):
                dealer.send(begin + number, number)
            assert dealer.acks(6) == [(number, "scored", "") for number in range(6)]
            dealer.send(begin + 1, 2)  # within a life an id is one picture's
            assert dealer.acks(1) == [(2, "refused", "id_reused")]


def test_a_reset_frees_earlier_ids_too(backbone, runtime):
    config = small_config(transport={"reliable": free_port()})
    for stream in (None, "line"):
        with serving(config, backbone) as service, Dealer(service) as dealer:
            if stream is None:
                control(service, "reset")  # before anything is open
            dealer.send(0)
            dealer.send(1)
            assert dealer.acks(2) == [(f"line-{seed}", "scored", "") for seed in range(2)]
            control(service, "reset", **({} if stream is None else {"stream": stream}))


@pytest.mark.parametrize("kind", ["history", "snapshot", "neither"])
def test_there_is_a_file_only_where_nothing_else_is_kept(backbone, runtime, tmp_path, kind):
    path = {"history": str(tmp_path / "h.sqlite"), "snapshot": str(tmp_path / "rings")}.get(kind)
    sections = {} if path is None else {kind: {"path": path}}
    with serving(small_config(transport={"reliable": free_port()}, **sections), backbone) as service:
        assert type(service.history.known) is (RuntimeIds if kind == "neither" else KnownIds)
        assert bool(list(runtime.iterdir())) == (kind == "neither")


@pytest.mark.slow
def test_killed_for_real(backbone, one_thread, tmp_path):
    """Resent, then numbered anew, each by a process of its own."""
    with server_process(tmp_path, transport={"reliable": free_port()}) as server:
        with Dealer(server) as dealer:
            for number in range(4):
                dealer.send(number, number)
            dealer.acks(4)
        server.kill()
        server.start()
        with Dealer(server) as dealer:
            for number in range(4):
                dealer.send(number, number)
            assert dealer.acks(4) == [(number, "scored", "duplicate") for number in range(4)]
            for number in range(4):
                dealer.send(10 + number, number)
            assert dealer.acks(4) == [(number, "scored", "") for number in range(4)]
