"""An orderly stop: whoever was taken in is answered, and who comes meanwhile is told what to do."""

import threading
from contextlib import contextmanager
from types import SimpleNamespace

import cv2
import zmq
from journal_support import Outlet
from stops_support import Dealer
from streamer_support import (
    ANY_PORT,
    PATIENCE_MS,
    PATIENCE_S,
    Camera,
    Held,
    backbone,
    identity_holds,
    picture,
    serving,
    small_config,
    until,
)

from streamer.ask import ask
from streamer.process import free_port
from streamer.server.intake import Intake
from streamer.server.outcomes import Ledger, Outcomes
from streamer.server.receive import Ports, Receiver
from streamer.server.service import Service
from streamer.server.sources import Sources
from streamer.server.streams import Streams
from streamer.wire.frame import Limits

__all__ = ["backbone"]


@contextmanager
def stopping(config, backbone):
    """A service whose backbone waits; `stop` begins its end, which is over after `with`."""
    held = Held(backbone)
    service = Service(config, held)
    service.start()
    thread = threading.Thread(target=service.stop)

    def stop():
        thread.start()
        assert service._receiver._drained.wait(PATIENCE_S)

    try:
        yield service, held, stop
    finally:
        held.release()
        if thread.ident is None:
            thread.start()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_whatever_was_taken_in_is_acknowledged(backbone):
    with stopping(small_config(), backbone) as (service, _held, stop):
        dealer = Dealer(service)
        for seed in range(6):
            dealer.send(seed)
        until(lambda: service.ledger.totals()["received"] == 6)
        stop()
    with dealer:
        assert dealer.acks(6) == [(f"line-{seed}", "scored", "") for seed in range(6)]


def test_who_comes_during_a_stop_is_answered(backbone):
    """A sender that was restarted gets the acks of its frames; what nobody knows is for the next service."""
    with stopping(small_config(), backbone) as (service, held, stop), Dealer(service) as first:
        first.send(0)
        until(lambda: service.ledger.totals()["received"] == 1)
        stop()
        with Dealer(service) as second, Dealer(service) as third:
            third.send(7)
            assert third.acks(1) == [("line-7", "busy", "busy")]
            third.send(5, "line-0")  # in flight, and another picture
            assert third.acks(1) == [("line-0", "refused", "id_reused")]
            second.send(0)
            until(lambda: service.ledger.totals()["refused"].get("duplicate") == 1)
            held.release()
            assert second.acks(1) == [("line-0", "scored", "")]
            assert identity_holds(service.ledger.totals())


def test_an_imagezmq_sender_is_answered(backbone):
    config = small_config(transport={"imagezmq": ANY_PORT, "queue": 1, "batch": 1})
    context = zmq.Context()
    with stopping(config, backbone) as (service, held, stop):
        with Camera(service.endpoints["frames"]) as camera:
            held.fill(camera)
            camera.picture(3)
            camera.all_offered(service)
        sender = context.socket(zmq.REQ)
        sender.connect(service.endpoints["imagezmq"])
        jpeg = cv2.imencode(".jpg", picture(4))[1].tobytes()
        sender.send_multipart([b'{"msg": "line"}', jpeg])
        until(lambda: service.ledger.totals()["received"] == 6)
        assert not sender.poll(0)  # held back: the queue is full
        threading.Timer(0.2, held.release).start()
        stop()
    assert sender.poll(PATIENCE_MS)
    assert sender.recv() == b"OK"
    assert service.ledger.totals()["scored"] == 5
    context.destroy(linger=0)


def test_plain_frames_that_were_received_are_scored_and_the_rest_stays_with_the_sender(backbone):
    """More than the queue holds, but no more than libzmq takes in: none is left on the way between."""
    endpoint = free_port()
    config = small_config(transport={"frames": endpoint, "queue": 2, "batch": 1})
    with stopping(config, backbone) as (service, held, stop):
        camera = Camera(endpoint)
        held.fill(camera)
        for seed in range(3, 8):
            camera.picture(seed)
        until(lambda: service.ledger.totals()["received"] == 6)  # the sixth is held, two are in libzmq
        threading.Timer(0.2, held.release).start()
        stop()
    with camera:
        assert service.ledger.totals()["scored"] == 8
        camera.picture(8)  # nobody listens: it waits here
        with serving(small_config(transport={"frames": endpoint}), backbone) as service:
            until(lambda: service.ledger.totals()["scored"] == 1)


def test_requests_that_wait_are_answered(backbone):
    with stopping(small_config(), backbone) as (service, held, stop):
        with Camera(service.endpoints["frames"]) as camera:
            camera.picture(0)
            until(lambda: held.prepared == 1)
        answers = []

        def say(kind):
            answers.append(ask({"kind": kind}, service.endpoints["control"], timeout_s=PATIENCE_S)["kind"])

        asker = threading.Thread(target=say, args=("flush",))
        asker.start()  # it is answered once the frame is scored, the others at once
        waiters = service._control._waiters
        until(lambda: waiters._of.total() == 1 and waiters._queue.empty())
        say("status")
        assert service.wait(0) is False
        say("shutdown")
        assert service.wait(PATIENCE_S)
        stop()
    asker.join(PATIENCE_S)
    assert answers == ["status", "shutdown", "flush"]


def test_no_ack_is_left_however_many_wait_at_the_end():
    """A sender's large frames may hold up the receiving thread while acks of many small ones come in."""
    context = zmq.Context()
    outcomes = Outcomes(Ledger())
    outcomes.outbox = Outlet()
    frames, acks, reliable = (context.socket(kind) for kind in (zmq.PULL, zmq.PULL, zmq.ROUTER))
    for port, endpoint in ((frames, ANY_PORT), (acks, "inproc://acks"), (reliable, ANY_PORT)):
        port.rcvhwm = 0
        port.bind(endpoint)
    config = small_config()
    receiver = Receiver(
        Ports(frames, acks, reliable), Intake(2**20), Streams(config, None, lambda _: None), outcomes,
        Limits(), None, Sources(1, lambda _: False), failed=lambda _: None,
    )  # fmt: skip
    sending = context.socket(zmq.PUSH)
    sending.sndhwm = 0
    sending.connect("inproc://acks")
    service = SimpleNamespace(endpoints={"reliable": reliable.last_endpoint.decode()})
    receiver.start()
    with Dealer(service, b"sender") as dealer:
        dealer.socket.send(b"no frame")
        until(lambda: outcomes.outbox.said)
        receiver.stop()
        for number in range(300):
            sending.send_multipart([b"sender", b"%d" % number])
        sending.close()
        receiver.finish()
        assert [dealer.socket.recv() for _ in range(300)] == [b"%d" % number for number in range(300)]
    context.term()
