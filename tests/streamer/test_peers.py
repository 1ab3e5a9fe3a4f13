"""What one peer may pin and hold up: answers it does not read, subscriptions, parts, requests that wait."""

import threading

import msgpack
import pytest
import zmq
from streamer_support import (
    PATIENCE_MS,
    PATIENCE_S,
    Camera,
    Held,
    Screen,
    backbone,
    control,
    header,
    identity_holds,
    serving,
    small_config,
    until,
    watched,
)
from zmq.utils.monitor import recv_monitor_message

from streamer.errors import WireError
from streamer.server.history import Entry
from streamer.server.ports import bind_all
from streamer.server.subscriptions import MAX_TOPIC_BYTES, MAX_TOPICS
from streamer.sockets import Context, Security
from streamer.subscribe import Subscriber

__all__ = ["backbone"]


class Guest:
    """A bare peer of the control socket: asks without waiting, and reads when it is told to."""

    def __init__(self, service, **options):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.rcvtimeo = PATIENCE_MS
        for name, value in options.items():
            setattr(self.socket, name, value)
        self.socket.connect(service.endpoints["control"])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.destroy(linger=0)

    def ask(self, kind, **fields):
        self.socket.send_multipart([b"", msgpack.packb({"kind": kind, **fields})])

    def answer(self):
        return msgpack.unpackb(self.socket.recv_multipart()[1])


@pytest.fixture
def held(backbone):
    """A service whose backbone waits, one who fills it, and one who watches."""
    gate = Held(backbone)
    with watched(gate, transport={"batch": 1}) as (service, screen, camera):
        yield gate, service, screen, camera


def test_status_and_history_are_answered_while_a_flush_waits(held):
    gate, service, _, camera = held
    gate.fill(camera)
    with Guest(service) as operator:
        operator.ask("flush")
        operator.ask("reset", stream="line")
        operator.ask("status")
        assert operator.answer()["kind"] == "status"
        answer = control(service, "history", topic="line/score")
        assert answer["messages"] == []
        gate.release()
        # In the order they came: what was scored is flushed before the ring is emptied.
        assert [operator.answer() for _ in range(2)] == [
            {"v": 1, "kind": "flush", "ok": True, "flushed": 3},
            {"v": 1, "kind": "reset", "ok": True, "reset": 1},
        ]


def test_who_asks_for_too_much_at_once_is_told_and_holds_up_nobody(held):
    gate, service, _, camera = held
    gate.fill(camera)
    with Guest(service) as greedy, Guest(service) as operator:
        for _ in range(12):
            greedy.ask("flush")
        assert {greedy.answer()["code"] for _ in range(4)} == {"busy"}
        operator.ask("flush")
        assert control(service, "status")["queued"] == 3
        gate.release()
        assert [greedy.answer()["ok"] for _ in range(8)] == [True] * 8
        assert operator.answer()["ok"]


def test_what_waits_at_a_stop_is_told_so(held):
    gate, service, _, camera = held
    gate.fill(camera)
    with Guest(service) as operator:
        operator.ask("flush")
        operator.ask("snapshot")
        operator.ask("shutdown")
        assert operator.answer()["kind"] == "shutdown"
        stopping = threading.Thread(target=service._control.stop)
        stopping.start()
        until(lambda: service._control._waiters._stopping)
        gate.release()
        stopping.join(PATIENCE_S)
        assert (operator.answer()["kind"], operator.answer()["code"]) == ("flush", "busy")


def test_answers_that_nobody_reads_are_few_and_small(backbone, monkeypatch):
    config = small_config(history={"max_bytes": "64MiB"})
    with serving(config, backbone) as service, Guest(service, rcvhwm=1) as silent:
        megabyte = bytes(2**20)
        service.history.add([Entry("big/score", number, b"", megabyte) for number in range(48)])
        asked, fetch = [], service.history.fetch
        monkeypatch.setattr(service.history, "fetch", lambda *a, **k: asked.append(a) or fetch(*a, **k))
        for _ in range(100):
            silent.ask("history", topic="big/score")
        until(lambda: len(asked) == 100)
        sizes = []
        while silent.socket.poll(500 if len(sizes) >= 4 else PATIENCE_MS):
            sizes.append(len(silent.socket.recv_multipart()[1]))
        # Four wait in the detector; the rest is in the buffers of TCP and of the peer itself.
        assert len(sizes) < 50
        assert max(sizes) < 2.5 * 2**20
        # Whoever reads gets all of them, a page at a time.
        numbers, more = [], True
        while more:
            answer = control(service, "history", topic="big/score", first=len(numbers))
            numbers += [message["pub_seq"] for message in answer["messages"]]
            more = answer["more"]
        assert numbers == list(range(48))


class Glutton:
    """Subscribes without end over one connection, and hears when that is cut."""

    def __init__(self, service):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.XSUB)
        self.socket.sndhwm = self.socket.linger = 0
        self.socket.reconnect_ivl = -1
        self.monitor = self.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self.socket.connect(service.endpoints["scores"])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.disable_monitor()
        self.monitor.close()
        self.context.destroy(linger=0)

    def was_cut(self):
        assert self.monitor.poll(PATIENCE_MS)
        return recv_monitor_message(self.monitor)["event"] == zmq.EVENT_DISCONNECTED


@pytest.mark.parametrize(
    "topics",
    [
        [b"topic-%d" % number for number in range(MAX_TOPICS + 1)],
        [b"%0400d" % number for number in range(MAX_TOPIC_BYTES // 400 + 1)],
        [b"x" * 2000],
    ],
    ids=["many", "long", "longer than any topic"],
)
def test_endless_subscriptions_cost_their_own_connection_and_no_other(backbone, topics):
    with watched(backbone, topic="line/") as (service, screen, camera), Glutton(service) as glutton:
        for number in range(MAX_TOPICS // 2):
            screen.socket.setsockopt(zmq.SUBSCRIBE, b"other-%d/" % number)
        for topic in topics:
            glutton.socket.send(b"\x01" + topic)
        assert glutton.was_cut()
        for seed in range(3):
            camera.picture(seed)
        assert [fields["frame_id"] for fields in screen.until(3, "score")] == ["line-0", "line-1", "line-2"]


def test_subscriptions_that_end_count_no_more(backbone):
    with watched(backbone, topic="line/") as (service, screen, camera), Glutton(service) as viewer:
        for number in range(3 * MAX_TOPICS):
            viewer.socket.send(b"\x01stream-%d/" % number)
            viewer.socket.send(b"\x00stream-%d/" % number)
        viewer.socket.send(b"\x01line/score")
        connections = service._outbox._subscriptions._connections
        until(lambda: any(seen.topics == {b"line/score"} for seen in list(connections.values())))
        camera.picture(0)
        screen.until(1, "score")
        assert viewer.socket.poll(PATIENCE_MS)
        assert viewer.socket.recv_multipart()[0] == b"line/score"


@pytest.mark.parametrize("port", ["frames", "reliable", "imagezmq", "control"])
def test_a_message_of_very_many_parts_is_one_bad_message(backbone, port):
    config = small_config(transport={"imagezmq": "tcp://127.0.0.1:*"})
    kinds = {"frames": zmq.PUSH, "imagezmq": zmq.REQ}
    context = zmq.Context()
    with serving(config, backbone) as service, Screen(service) as screen:
        guest = context.socket(kinds.get(port, zmq.DEALER))
        guest.connect(service.endpoints[port])
        parts = [b"", *[b"part"] * 5000] if port == "control" else [b"part"] * 5000
        guest.send_multipart(parts)
        if port != "control":
            assert screen.until(1, "error")[0]["code"] == "bad_parts"
        if port == "imagezmq":
            assert guest.recv() == b"refused"
        with Camera(service.endpoints["frames"]) as camera:
            camera.picture(0)
            assert screen.until(1, "score")[0]["frame_id"] == "line-0"
        assert identity_holds(control(service, "status"))
        context.destroy(linger=0)


def test_a_sender_may_keep_no_more_waiting_than_all_queues_may_hold():
    config = small_config(limits={"payload_bytes": "64MiB", "queue_bytes": "512MiB"}, transport={"queue": 64})
    context = Context()
    bound = bind_all(context, config, Security())
    for port in (bound.ports.frames, bound.ports.reliable):
        assert (port.rcvhwm + 1) * port.maxmsgsize <= 512 * 2**20
        assert port.rcvhwm >= 4
    assert bound.ports.reliable.sndhwm >= 64  # acks: a window of frames is on the way
    for socket in bound.opened:
        socket.close(0)
    context.term()


def test_a_stream_is_heard_without_those_whose_names_begin_alike(backbone):
    options = {"kinds": ("score",), "timeout_s": PATIENCE_S, "wait_s": PATIENCE_S}
    with watched(backbone) as (service, screen, camera):
        subscriber = Subscriber(service.endpoints["scores"], "line-1", **options)
        with subscriber:
            connections = service._outbox._subscriptions._connections
            until(lambda: any(b"line-1/" in seen.topics for seen in list(connections.values())))
            for stream in ("line-10", "line-1"):
                camera.picture(0, stream)
            screen.until(2, "score")
            assert subscriber.receive()["stream"] == "line-1"


def test_an_error_of_a_request_has_its_kind(backbone):
    with serving(small_config(), backbone) as service, Guest(service) as guest:
        guest.ask("dance")
        answer = guest.answer()
        assert (answer["kind"], answer["code"]) == ("dance", "unknown_kind")
        with pytest.raises(WireError):
            control(service, "pin", stream="nobody", frame_id=header("a")["frame_id"])
