"""What goes wrong costs no more than it must: a passing fault no frame, bad messages no score."""

import contextlib
import itertools
import socket
import threading

import pytest
import zmq
from stops_support import Dealer
from streamer_support import (
    PATIENCE_MS,
    PATIENCE_S,
    Camera,
    Screen,
    backbone,
    control,
    identity_holds,
    picture,
    serving,
    small_config,
    until,
)

from streamer.reliable import ReliablePublisher
from streamer.sockets import connect

__all__ = ["backbone"]


class Short:
    """The real backbone, out of memory for its first calls."""

    def __init__(self, backbone, failures):
        self._backbone, self._calls, self._failures = backbone, itertools.count(), failures

    def __getattr__(self, name):
        return getattr(self._backbone, name)

    def extract(self, inputs):
        if next(self._calls) < self._failures:
            raise MemoryError("cannot allocate")
        return self._backbone.extract(inputs)


def test_a_passing_fault_costs_a_reliable_sender_no_frame(backbone):
    """Each try is two calls: with its neighbours, and by itself."""
    with serving(small_config(), Short(backbone, 4)) as service, Dealer(service) as dealer:
        answers = []
        while not answers or answers[-1][1] == "busy":
            dealer.send(0)
            answers += dealer.acks(1)
        assert answers == [("line-0", "busy", "backbone_failed")] * 2 + [("line-0", "scored", "")]
        status = control(service, "status")
        assert (status["refused"], status["scored"]) == ({"backbone_failed": 2}, 1)
        assert identity_holds(status)


def test_a_fault_that_stays_is_final_after_some_tries(backbone):
    with serving(small_config(), Short(backbone, 10**9)) as service, Dealer(service) as dealer:
        answers = []
        while not answers or answers[-1][1] == "busy":
            dealer.send(0)
            answers += dealer.acks(1)
        assert answers[-1] == ("line-0", "refused", "backbone_failed")
        assert len(answers) == 4
        dealer.send(1)  # each frame has its own tries
        assert dealer.acks(1) == [("line-1", "busy", "backbone_failed")]


def test_a_frame_whose_score_could_not_be_told_is_told_when_it_comes_again(backbone, monkeypatch):
    """It was in the ring already, and refused for ever as one whose id is there."""
    with serving(small_config(), backbone) as service, Dealer(service) as dealer:
        dealer.send(0)
        assert dealer.acks(1) == [("line-0", "scored", "")]
        detector = service.streams.get("line").detector

        def fails():
            raise MemoryError

        with monkeypatch.context() as patch:
            patch.setattr(detector, "status", fails)
            dealer.send(1)
            assert dealer.acks(1) == [("line-1", "busy", "internal")]
        dealer.send(1)
        assert dealer.acks(1) == [("line-1", "scored", "")]
        assert control(service, "status")["streams"]["line"]["images"] == 2


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_bad_messages_cost_no_score(backbone, tmp_path, where):
    """A few thousand messages of one byte pushed all scores out of the history."""
    kept = {"max_messages": 80, "path": str(tmp_path / "h.sqlite") if where == "disk" else None}
    with serving(small_config(history=kept), backbone) as service, Screen(service, "line/score") as screen:
        with Camera(service.endpoints["frames"]) as camera:
            for seed in range(6):
                camera.picture(seed)
            screen.until(6, "score")
            for _ in range(300):
                camera.socket.send(b"x")

            def kept(topic):
                return [one["pub_seq"] for one in control(service, "history", topic=topic)["messages"]]

            until(lambda: kept("-/error")[-1:] == [299])  # counted before, written last
        assert kept("line/score") == list(range(6))
        # A quarter of 80 for what goes wrong, and a quarter of that for one sender: the newest.
        assert kept("-/error") == list(range(295, 300))


def test_the_second_sender_under_an_identity_takes_no_acks(backbone):
    """With handover the first one, alive as it was, heard nothing more, and its frames were thrown away."""
    with serving(small_config(), backbone) as service, Dealer(service, b"camera") as first:
        first.send(0)
        assert first.acks(1) == [("line-0", "scored", "")]
        context, endpoint = zmq.Context(), service.endpoints["reliable"]
        second = connect(context, zmq.DEALER, endpoint, identity=b"camera", wait_ms=PATIENCE_MS)
        for seed in range(2, 6):
            first.send(seed)
            assert first.acks(1) == [(f"line-{seed}", "scored", "")]
        assert not second.poll(0)
        context.destroy(linger=0)
        first.send(6)
        assert first.acks(1) == [("line-6", "scored", "")]


def test_a_sender_that_was_killed_and_came_back_gets_its_acks(backbone):
    with serving(small_config(), backbone) as service:
        with Dealer(service, b"camera") as before:
            before.send(0)
            assert before.acks(1) == [("line-0", "scored", "")]
        answered = []
        while not answered:  # one that comes before the detector has seen the end of the first is not read
            with Dealer(service, b"camera") as after:
                after.send(0)
                if after.socket.poll(2000):
                    answered = after.acks(1)
                    after.send(1)
                    answered += after.acks(1)
        assert answered == [("line-0", "scored", "duplicate"), ("line-1", "scored", "")]


class HalfOpen:
    """A cable: `cut` ends the sender's half of its connections, of which the detector hears nothing."""

    def __init__(self, endpoint):
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        self._to = (host, int(port))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._listening.getsockname()[1]}"
        self._ours, self._theirs = [], []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        for one in self._ours:
            one.shutdown(socket.SHUT_RDWR)

    def close(self):
        for one in (self._listening, *self._ours, *self._theirs):
            one.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                ours, theirs = self._listening.accept()[0], socket.create_connection(self._to)
                self._ours.append(ours)
                self._theirs.append(theirs)
                for pair in ((ours, theirs), (theirs, ours)):
                    threading.Thread(target=self._copy, args=pair, daemon=True).start()

    def _copy(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)


def test_a_sender_that_lost_its_connection_alone_gets_its_acks(backbone):
    """Under the identity of its first connection, which the detector still held, it was never read again."""
    with serving(small_config(), backbone) as service:
        cable = HalfOpen(service.endpoints["reliable"])
        with ReliablePublisher(cable.endpoint, "line", wait_s=PATIENCE_S, resend_s=0.5) as sender:
            sender.send(picture(0), 0)
            sender.flush(PATIENCE_S)
            cable.cut()
            sender.send(picture(1), 1)
            sender.flush(30)
            assert sender.acknowledged == 2
        cable.close()
