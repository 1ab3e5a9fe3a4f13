"""What goes wrong in a plant, done for real: messages cut off, a backbone that fails, clocks, a full disk."""

import socket
import struct
import threading
import time

import numpy as np
import pytest
from streamer_support import (
    Camera,
    Screen,
    backbone,
    control,
    header,
    identity_holds,
    picture,
    png,
    serving,
    small_config,
    watched,
)

from streamer.server.outbox import Outgoing
from streamer.server.service import Service
from streamer.wire.codes import WARNINGS

__all__ = ["backbone"]


def zmtp(endpoint, socket_type):
    """A connection that has shaken hands by hand, as the ZMTP 3.0 specification (RFC 23) writes it."""
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    raw = socket.create_connection((host, int(port)), 30)
    raw.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32))
    kind = b"\x0bSocket-Type" + struct.pack(">I", len(socket_type)) + socket_type
    ready = b"\x05READY" + kind
    raw.sendall(b"\x04" + bytes([len(ready)]) + ready)
    received = b""
    while len(received) < 70 or b"READY" not in received:
        piece = raw.recv(1000)
        assert piece, "the service has hung up"
        received += piece
    return raw


@pytest.mark.parametrize(
    "bytes_sent",
    [
        b"\x01\x05hello",  # a first part, more to follow, and nothing follows
        b"\x01\x05hel",  # half a part
        b"\x03" + struct.pack(">Q", 2**62),  # the length of a part larger than any memory
        b"\x01\x00" * 2000,  # thousands of empty parts without an end
    ],
)
@pytest.mark.parametrize("port", ["frames", "reliable"])
def test_half_sent_messages_cost_nobody_anything(backbone, bytes_sent, port):
    kind = {"frames": b"PUSH", "reliable": b"DEALER"}[port]
    with serving(small_config(), backbone) as service, Screen(service) as screen:
        with zmtp(service.endpoints[port], kind) as raw, Camera(service.endpoints["frames"]) as camera:
            raw.sendall(bytes_sent)
            camera.picture(1)
            screen.until(1, "score")
        with Camera(service.endpoints["frames"]) as camera:
            camera.picture(2)
            assert screen.until(1, "score")[0]["frame_id"] == "line-2"
        status = control(service, "status")
        assert (status["received"], status["scored"]) == (2, 2)


class Failing:
    """The real backbone, which raises `error` for what `fails` is true of."""

    def __init__(self, backbone, error, fails):
        self._backbone, self._error, self._fails = backbone, error, fails

    def __getattr__(self, name):
        return getattr(self._backbone, name)

    def extract(self, inputs):
        if self._fails(inputs):
            raise self._error
        return self._backbone.extract(inputs)


def test_a_backbone_that_raises_costs_only_its_frame(backbone):
    def without_structure(inputs):
        return any(float(one.std(dim=(1, 2)).max()) < 1e-4 for one in inputs)

    moody = Failing(backbone, RuntimeError("no structure at all"), without_structure)
    with watched(moody) as (service, screen, camera):
        camera.picture(0)
        camera.send(header("grey", seq=1), png(np.full((20, 20, 3), 128, np.uint8)))
        camera.send(header("black", seq=2), png(np.zeros((20, 20, 3), np.uint8)))
        camera.picture(3)
        told = screen.until(5, "score", "error")  # the first of two of one colour warns
        assert [fields["frame_id"] for fields in told if fields["kind"] == "score"] == ["line-0", "line-3"]
        told = [fields for fields in told if fields.get("code") not in WARNINGS]
        codes = {fields["frame_id"]: fields["code"] for fields in told if fields["kind"] == "error"}
        assert codes == {"grey": "backbone_failed", "black": "backbone_failed"}
        assert identity_holds(control(service, "status"))


def test_a_backbone_out_of_memory_costs_only_the_frames_it_had(backbone):
    # The third call fails, and the fourth: a frame is tried once more by itself, in case a neighbour in its
    # batch was the trouble.
    calls = iter([False, False, True, True, False, False, False])
    short = Failing(backbone, MemoryError("cannot allocate"), lambda _: next(calls))
    with watched(short, transport={"batch": 1}) as (service, screen, camera):
        for seed in range(6):
            camera.picture(seed)
        codes = {fields["frame_id"]: fields.get("code") for fields in screen.until(6, "score", "error")}
        assert codes == {f"line-{seed}": "backbone_failed" if seed == 2 else None for seed in range(6)}
        assert identity_holds(control(service, "status"))


def test_clocks_that_jump_change_no_score(backbone, monkeypatch):
    steps = iter([0, -3600, 7200, -(10**6), 10**9, -(10**9), 5, 0])
    real = time.time_ns
    with watched(backbone) as (_, screen, camera):
        for seed, step in enumerate(steps):
            monkeypatch.setattr(time, "time_ns", lambda step=step: real() + step * 10**9)
            camera.send(header(seed, seq=seed, capture_ns=None), png(picture(seed)))
            (score,) = screen.until(1, "score")
            assert (score["frame_id"], score["n_references"], score["pub_seq"]) == (seed, seed, seed)
            assert all(value >= 0 for value in score["latency_ms"].values())
            assert score["capture_ns"] <= score["scored_ns"]
        camera.send(header("tomorrow", seq=100, capture_ns=real() + 10**14), png(picture(50)))
        assert screen.until(1, "score")[0]["frame_id"] == "tomorrow"
        screen.until(2, "status")


def test_a_full_disk_under_the_history_stops_no_score(backbone, tmp_path):
    kept = {"path": str(tmp_path / "history.sqlite")}
    with watched(backbone, history=kept, transport={"heartbeat_s": 0.01}) as (service, screen, camera):
        camera.picture(0)
        screen.until(1, "score")
        # SQLite's own limit of pages stands for the disk's: the same error, at the same place.
        service.history._database.execute("PRAGMA max_page_count = 1")
        for seed in range(1, 30):
            camera.picture(seed, meta={"text": "x" * 2000})
        assert len(screen.until(29, "score")) == 29
        assert control(service, "status")["state"] == "degraded"
        service.history._database.execute("PRAGMA max_page_count = 1000000")
        camera.picture(40)
        screen.until(1, "score")
        assert control(service, "status")["state"] == "ready"


@pytest.mark.parametrize(
    "part", ["scoring.resume", "snapshots.start", "pipeline.start", "_receiver.start", "_control.start"]
)
def test_a_start_that_fails_half_way_ends_what_runs(backbone, tmp_path, monkeypatch, part):
    """The PUB socket was closed under the thread that owns it, which then died of it or lived on."""
    service = Service(small_config(snapshot={"path": str(tmp_path)}), backbone)
    told, out = [], []
    make = service._make_parts

    def make_parts(*given):
        make(*given)
        owner, _, name = part.rpartition(".")
        holder = getattr(service, owner)

        def fail():
            service._outbox.put(
                Outgoing("line", "error", {"stream": "line", "frame_id": None}, settle=lambda: out.append(1))
            )
            raise RuntimeError("no more threads")

        monkeypatch.setattr(holder, name, fail)
        monkeypatch.setattr(service._outbox, "_failed", told.append)

    monkeypatch.setattr(service, "_make_parts", make_parts)
    before = set(threading.enumerate())
    with pytest.raises(RuntimeError, match="no more threads"):
        service.start()
    assert [
        thread.name for thread in threading.enumerate() if thread not in before and thread.name != "ZAP"
    ] == []
    assert told == []  # no thread died of it
    assert out == [1]  # what was said before is out
    with serving(small_config(snapshot={"path": str(tmp_path)}), backbone):
        pass  # and ports, folder and history are free again
