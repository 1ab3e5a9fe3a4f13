"""The connection of a live camera: one that carries nothing is made anew, and how soon."""

import contextlib
import time
import uuid

import numpy as np
import zmq
from frame_receiver import FrameReceiver
from link_support import Link
from streamer_support import PATIENCE_MS, PATIENCE_S, until

from streamer.errors import NoRoom
from streamer.publish import Publisher
from streamer.sockets import Context, connect, socket_endpoint
from streamer.stalled import Stalled

FRAME = np.zeros((4, 4), np.uint8)


def test_a_connection_that_carries_nothing_is_made_anew_and_what_is_on_it_is_not_carried_later():
    context = Context()
    receiver = context.socket(zmq.PULL)
    receiver.rcvtimeo = PATIENCE_MS
    receiver.bind("tcp://127.0.0.1:*")
    with Link(int(socket_endpoint(receiver).rpartition(":")[2])) as link:
        sender = connect(
            context, zmq.PUSH, link.endpoint, hwm=1, wait_ms=PATIENCE_MS, timeout_ms=0,
            connected_only=True, send_buffer=16384, stalled_ms=300,
        )  # fmt: skip
        sender.send(b"first")
        assert receiver.recv() == b"first"
        # A name of its own: that of the monitor which watched the first handshake may not be free yet.
        monitor = sender.get_monitor_socket(zmq.EVENT_DISCONNECTED, f"inproc://{uuid.uuid4()}")
        link.held.set()
        end = time.monotonic() + PATIENCE_S
        while not monitor.poll(1):
            assert time.monotonic() < end, "a connection that carries nothing is kept"
            if sender.poll(0, zmq.POLLOUT):
                sender.send(bytes(16384))
        link.held.clear()
        until(lambda: sender.poll(0, zmq.POLLOUT))
        sender.send(b"new")
        assert receiver.recv() == b"new"
        sender.disable_monitor()
        monitor.close()
    context.destroy(0)


def test_a_detector_that_takes_nothing_is_left_ever_fewer_connections(monkeypatch):
    monkeypatch.setattr("streamer.publish._STALLED_MS", 100)
    context = Context()
    receiver = context.socket(zmq.PULL)
    receiver.rcvhwm, receiver.rcvbuf = 1, 16384
    receiver.bind("tcp://127.0.0.1:*")
    accepted = receiver.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    sender = Publisher(
        socket_endpoint(receiver), "line", wait_s=PATIENCE_S, encoding="raw", queue=1, live=True
    )
    frame, patience = np.zeros((300, 300), np.uint8), []

    def goes_on():
        if sender.has_room(0.01):
            with contextlib.suppress(NoRoom):
                sender.send(frame, timeout_s=0.0)
        if patience[-1:] != [sender._stalled.patience_ms]:
            patience.append(sender._stalled.patience_ms)

    until(lambda: goes_on() or len(patience) == 4)
    assert patience == [100, 200, 400, 800]
    connections = 0
    while accepted.poll(0):
        accepted.recv_multipart()
        connections += 1
    assert connections <= len(patience)
    monkeypatch.setattr("streamer.stalled._BLOCKED_S", 0.0)
    until(lambda: goes_on() or sender._stalled._blocked_since is not None)
    until(
        lambda: (
            goes_on() or (receiver.poll(0) and receiver.recv_multipart() and sender._stalled.next_ms == 100)
        )
    )
    assert sender._stalled.patience_ms > 100, "a connection that works is kept"
    until(lambda: goes_on() or patience[-1] == 100)
    sender.abandon()
    receiver.disable_monitor()
    accepted.close(0)
    context.destroy(0)


def test_a_detector_that_goes_time_and_again_is_waited_for_no_longer():
    context = Context()
    receiver = context.socket(zmq.PULL)
    receiver.rcvtimeo = PATIENCE_MS
    receiver.bind("tcp://127.0.0.1:*")
    with (
        Link(int(socket_endpoint(receiver).rpartition(":")[2])) as link,
        Publisher(link.endpoint, "line", wait_s=PATIENCE_S, encoding="raw", queue=1, live=True) as sender,
    ):
        for number in range(25):
            until(lambda: sender.has_room(0.01))
            sender.send(FRAME, number, timeout_s=0.0)
            receiver.recv_multipart()
            until(lambda: sender.has_room(0.01))
            link.cut()
            until(lambda: not sender.has_room(0.0))
        assert sender._stalled.patience_ms == sender._stalled.next_ms == 5000
    context.destroy(0)


def test_a_stall_is_waited_for_ten_minutes_at_most():
    context = Context()
    receiver = context.socket(zmq.PULL)
    receiver.bind("tcp://127.0.0.1:*")
    endpoint = socket_endpoint(receiver)
    sender = connect(
        context, zmq.PUSH, endpoint, wait_ms=PATIENCE_MS, connected_only=True, stalled_ms=400_000
    )
    stalled = Stalled(sender, endpoint, 400_000)
    stalled._blocked_since = time.monotonic()
    receiver.close(0)
    until(lambda: stalled._monitor.poll(1))
    stalled.look()
    assert (stalled.patience_ms, sender.tcp_maxrt) == (600_000, 600_000)
    stalled.close()
    context.destroy(0)


def test_a_camera_s_frames_have_a_connection_that_keeps_few(monkeypatch):
    asked = {}
    real = connect

    def watched(*args, **options):
        asked.update(options)
        return real(*args, **options)

    monkeypatch.setattr("streamer.sender.connect", watched)
    with FrameReceiver() as receiver:
        for live in (False, True):
            asked.clear()
            Publisher(receiver.endpoint, "line", wait_s=PATIENCE_S, live=live).abandon()
            assert ("stalled_ms" in asked, "send_buffer" in asked) == (live, live)
