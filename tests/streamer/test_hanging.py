"""Each part of a real service hangs in turn: its supervisor is told no more that it is alive."""

import threading
from contextlib import contextmanager

import pytest
from streamer_support import PATIENCE_S, Camera, backbone, control, scrape, serving, small_config, until

from streamer.server import snapshots
from streamer.server.supervised import Supervised

__all__ = ["backbone"]

_PING_S = 0.01


class Heard:
    """A `Notify` that keeps the last status, and whether it was followed by a ping."""

    is_on = True
    watchdog_s, every_s = _PING_S, _PING_S
    line, pinged = "", False

    def status(self, text):
        self.line, self.pinged = text, False

    def watchdog(self):
        self.pinged = True


@pytest.fixture(scope="module")
def running(backbone, tmp_path_factory):
    config = small_config(
        snapshot={"path": tmp_path_factory.mktemp("hanging"), "every_s": 1e6},
        metrics={"endpoint": "127.0.0.1:0"},
    )
    with serving(config, backbone) as service, Camera(service.endpoints["frames"]) as camera:
        camera.picture(0)
        until(lambda: service.ledger.totals()["scored"] == 1)
        yield service, camera


@contextmanager
def hanging(owner, name):
    """A method of a part, or an entry of a map, that does not come back."""
    is_map = isinstance(owner, dict)
    is_own = is_map or name in vars(owner)
    work, gate = owner[name] if is_map else getattr(owner, name), threading.Event()

    def hang(*values, **named):
        assert gate.wait(PATIENCE_S)
        return work(*values, **named)

    put = owner.__setitem__ if is_map else lambda name, value: setattr(owner, name, value)
    put(name, hang)
    try:
        yield
    finally:
        if is_own:
            put(name, work)
        else:
            delattr(owner, name)  # the class's again
        gate.set()


def is_seen(service, step):
    """Wait until the supervisor hears that the service is stuck in a step, and hears no ping."""
    heard = Heard()
    told = Supervised(service, heard)

    def stuck():
        told.tell()
        return heard.line.startswith(f"stuck in '{step}'")

    until(stuck)
    assert not heard.pinged


def is_well(service):
    """Wait until it hears again that the service is alive."""
    heard = Heard()
    told = Supervised(service, heard)

    def alive():
        told.tell()
        return heard.pinged

    until(alive)


def asks(kind):
    return lambda service: control(service, kind)


def settled(service):
    until(lambda: service.ledger.totals()["queued"] == 0)


@pytest.mark.parametrize(
    ("step", "part", "method"),
    [
        ("prepare", lambda service: service.pipeline._backbone, "prepare"),
        ("extract", lambda service: service.pipeline._backbone, "extract"),
        ("score", lambda service: service.pipeline, "_score"),
        ("publish", lambda service: service._outbox, "_publish"),
        ("receive", lambda service: service._receiver, "_read"),
    ],
)
def test_a_step_of_a_frame_that_hangs_is_seen(running, step, part, method):
    service, camera = running
    before = service.ledger.totals()["scored"]
    with hanging(part(service), method):
        camera.picture(before)
        is_seen(service, step)
    until(lambda: service.ledger.totals()["scored"] == before + 1)
    settled(service)
    is_well(service)


def test_a_decoder_that_hangs_is_seen(running, monkeypatch):
    service, camera = running
    before = service.ledger.totals()["scored"]
    first, second = service.engine.decoders.decoders
    with hanging(first, "decode"), hanging(second, "decode"):
        with monkeypatch.context() as patch:  # as long as a picture may take it is none that hangs
            for decoder in (first, second):
                patch.setattr(decoder, "_decode_s", 0.1)
            camera.picture(before)
            until(lambda: "decode" in [name for name, _ in service.overdue(-first.longest_s)])
        is_seen(service, "decode")
    until(lambda: service.ledger.totals()["scored"] == before + 1)
    is_well(service)


def test_frames_that_wait_for_ever_for_room_are_seen(running):
    """No thread is in a step: each waits for another."""
    service, camera = running
    before, waiting = service.ledger.totals()["scored"], service.pipeline._batches
    room, waiting._room = waiting._room, threading.Semaphore(0)
    none = waiting._room
    camera.picture(before)
    is_seen(service, "queue")
    waiting._room = room
    none.release()
    until(lambda: service.ledger.totals()["scored"] == before + 1)
    is_well(service)


@pytest.mark.parametrize(
    ("step", "part", "method", "does"),
    [
        ("job", lambda service: service.snapshots, "_copied", asks("snapshot")),
        ("write a snapshot", lambda _: snapshots.snapshot, "write", asks("snapshot")),
        ("request", lambda service: service._control._handlers, "flush", asks("flush")),
        ("answer", lambda service: service._control._handlers, "status", asks("status")),
        ("sleep", lambda service: service.sleep, "_try_to_sleep", lambda service: service.sleep.look()),
        ("scrape", lambda service: service.metrics._server, "_app", scrape),
    ],
)  # fmt: skip
def test_what_else_hangs_is_seen(running, monkeypatch, step, part, method, does):
    service, _ = running
    monkeypatch.setattr(service.sleep, "_due", lambda _: True)
    asking = threading.Thread(target=does, args=(service,))
    with hanging(part(service), method):
        asking.start()
        is_seen(service, step)
    asking.join()
    is_well(service)


def test_who_waits_for_a_thread_that_works_is_not_seen_to_hang(running, monkeypatch):
    """Two requests wait for one file, the second behind the first: only what writes it grows old."""
    service, camera = running
    before = service.ledger.totals()["scored"]
    camera.picture(before)  # there is a ring to write, whoever slept
    until(lambda: service.ledger.totals()["scored"] == before + 1)
    progress, now = service.snapshots.progress, [0.0]
    monkeypatch.setattr(progress, "_clock", lambda: now[0])
    asking = [
        threading.Thread(target=control, args=(service, "snapshot")),
        threading.Thread(target=service.snapshots.save_now),
    ]
    looking = threading.Thread(target=service.sleep.look)
    monkeypatch.setattr(service.sleep, "_due", lambda _: True)
    with hanging(snapshots.snapshot, "write"):
        for thread in (*asking, looking):
            thread.start()
        until(lambda: progress.at_work)
        now[0] += 1e6
        until(lambda: [name for name, _ in progress.overdue(1e5)] == ["write a snapshot"])
    for thread in (*asking, looking):
        thread.join()
    monkeypatch.undo()
    is_well(service)
