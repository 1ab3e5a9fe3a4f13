"""A follower and a history: when it is asked, and one that refuses asked again."""

from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import ClassVar

import zmq
from streamer_support import PATIENCE_S, until

from streamer.following import follower, patience
from streamer.following.follower import Follower
from streamer.following.presence import Presence
from streamer.sockets import Context, connect
from streamer.wire.frame import pack, unpack


class _Heard(Presence):
    """Of a detector that is there all the time."""

    is_up = True


class _Follower(Follower):
    """Keeps nothing, and remembers how the history is."""

    whose = "test"
    has_given_up = answers = False
    known: ClassVar = {}

    def _known(self):
        return self.known

    def _keep(self, taken, *, quiet=False):
        pass

    def _bad(self):
        raise AssertionError

    def _look(self):
        pass

    def _gave_up(self, topic=None):
        self.has_given_up = True

    def _answering(self, answers):
        self.answers = answers


@contextmanager
def detector(kind=zmq.PUB):
    """The sockets of one, `scores` and `control`, and where they are."""
    context = Context()
    try:
        scores, control = context.socket(kind), context.socket(zmq.ROUTER)
        places = {}
        for name, socket in (("scores", scores), ("control", control)):
            socket.bind("tcp://127.0.0.1:*")
            places[name] = socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")
        yield scores, control, SimpleNamespace(**places)
    finally:
        context.destroy(linger=0)


def test_a_connection_that_is_there_before_anybody_looks_is_noticed(monkeypatch):
    """What was said while nobody followed is asked for, whether or not anything is said later."""
    with detector(zmq.XPUB) as (scores, control, places), ExitStack() as held:

        def connect_at_once(context, kind, endpoint, **options):
            socket = connect(context, kind, endpoint, **options)
            if kind == zmq.SUB:
                socket.subscribe(b"")
                assert scores.recv() == b"\x01"  # the handshake is over
            return socket

        monkeypatch.setattr(follower, "connect", connect_at_once)
        known = {"line/score": (4, b"digest")}
        one = _Follower(places, None, _Heard(), known)
        one.known = known
        one.start()
        held.callback(one.stop)
        assert control.poll(PATIENCE_S * 1000), "it never asked"
        asked = unpack(control.recv_multipart()[-1], 10_000)
        assert (asked["kind"], asked["topic"], asked["first"]) == ("history", "line/score", 4)


def test_a_history_that_refused_everything_for_too_long_is_asked_again_and_found_to_work(monkeypatch):
    monkeypatch.setattr(follower, "_PROBE_S", 0.05)
    monkeypatch.setattr(patience, "_AGAIN_S", 0.05)
    with detector() as (_, control, places), ExitStack() as held:
        one = _Follower(places, None, _Heard(), {}, scores_first=True, patience_s=0.3)
        one.start()
        held.callback(one.stop)

        def answer():
            if control.poll(20):
                works = one.has_given_up
                said = {"messages": [], "more": False, "next": 0} if works else {"code": "internal"}
                *route, _ = control.recv_multipart()
                control.send_multipart([*route, pack({"ok": works, **said})])

        def is_found_to_work():
            answer()
            return one.has_given_up and one.answers

        until(is_found_to_work)
