"""What is said to a supervisor, and when nothing is."""

import os
import socket
from contextlib import contextmanager

import pytest
from structlog.testing import capture_logs

from streamer.notify import Notify


@contextmanager
def listening(address):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(address)
        ear.settimeout(30)
        yield ear


def heard(ear):
    """All that was said so far: datagrams are there once they are sent."""
    ear.setblocking(False)
    said = []
    while True:
        try:
            said.append(ear.recv(4096).decode())
        except BlockingIOError:
            return said


NAME = f"musc-notify-{os.getpid()}"


@pytest.fixture
def ear():
    with listening(f"\0{NAME}") as ear:
        yield ear


def notify(**more):
    return Notify({"NOTIFY_SOCKET": f"@{NAME}", **more})


def test_every_word_is_a_datagram_of_its_own(ear):
    with notify(WATCHDOG_USEC="30000000") as told:
        told.ready()
        told.status("2 streams")
        told.status("2 streams")
        told.watchdog()
        told.extend(1.5)
        told.stopping()
    told.ready()
    assert heard(ear) == [
        "READY=1", "STATUS=2 streams", "WATCHDOG=1", "EXTEND_TIMEOUT_USEC=1500000", "STOPPING=1",
    ]  # fmt: skip


def test_a_path_is_spoken_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with listening("n") as ear, Notify({"NOTIFY_SOCKET": f"/proc/self/cwd/{ear.getsockname()}"}) as told:
        told.ready()
        assert heard(ear) == ["READY=1"]


def test_a_status_is_one_line_and_bounded(ear):
    with notify() as told:
        told.status("line-\nREADY=1 " + "ü" * 4000)
    (said,) = heard(ear)
    assert said.startswith("STATUS=line- READY=1 ü")
    assert len(said.encode()) <= 407


def test_the_environment_is_emptied_so_that_children_say_nothing(monkeypatch):
    for name, value in (
        ("NOTIFY_SOCKET", "/run/x"),
        ("WATCHDOG_USEC", "5000000"),
        ("WATCHDOG_PID", str(os.getpid())),
    ):
        monkeypatch.setenv(name, value)
    with Notify() as told:
        assert told.watchdog_s == 5
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & set(os.environ)
    assert not Notify().is_on


@pytest.mark.parametrize(
    ("variables", "watchdog_s", "every_s"),
    [
        ({}, None, 5),
        ({"WATCHDOG_USEC": "4000000"}, 4, 2),
        ({"WATCHDOG_USEC": "600000000"}, 600, 5),
        ({"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": str(os.getpid())}, 4, 2),
        ({"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"}, None, 5),
        *(({"WATCHDOG_USEC": odd}, None, 5) for odd in ("0", "-3", "soon", "9" * 30, "nan")),
    ],
)
def test_pings_are_for_the_process_they_are_asked_of_and_come_in_time(ear, variables, watchdog_s, every_s):
    with notify(**variables) as told:
        assert (told.watchdog_s, told.every_s) == (watchdog_s, every_s)
        told.watchdog()
    assert heard(ear) == ([] if watchdog_s is None else ["WATCHDOG=1"])


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative/path"])
def test_without_a_supervisor_nothing_happens(address):
    told = Notify({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "4000000"})
    for say in (told.ready, told.watchdog, told.stopping):
        say()
    assert (told.is_on, told.watchdog_s) == (False, None)


@pytest.mark.parametrize("address", ["/nowhere/at/all", "/" + "x" * 200, "@" + "x" * 200])
def test_a_supervisor_that_cannot_be_told_is_logged_once(address):
    with Notify({"NOTIFY_SOCKET": address}) as told, capture_logs() as logs:
        told.ready()
        told.status("up")
    assert [line["event"] for line in logs] == ["supervisor_not_told"]


@pytest.mark.usefixtures("ear")
def test_a_supervisor_that_reads_nothing_holds_nobody_up(monkeypatch):
    monkeypatch.setattr("streamer.notify._SEND_S", 0.01)
    with notify() as told:
        for number in range(2000):  # a socket keeps a few hundred words at most
            told.status(f"{number}")
            if told._failed:
                break
        assert told._failed
