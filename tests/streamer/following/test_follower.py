"""A follower and a history that refuses: when it is asked again."""

from contextlib import ExitStack
from types import SimpleNamespace

import zmq
from streamer_support import until

from streamer.following import follower, patience
from streamer.following.follower import Follower
from streamer.following.presence import Presence
from streamer.sockets import Context
from streamer.wire.frame import pack


class _Heard(Presence):
    """Of a detector that is there all the time."""

    is_up = True


class _Follower(Follower):
    """Keeps nothing, and remembers how the history is."""

    whose = "test"
    has_given_up = answers = False

    def _known(self):
        return {}

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


def test_a_history_that_refused_everything_for_too_long_is_asked_again_and_found_to_work(monkeypatch):
    monkeypatch.setattr(follower, "_PROBE_S", 0.05)
    monkeypatch.setattr(patience, "_AGAIN_S", 0.05)
    with ExitStack() as held:
        context = Context()
        held.callback(context.destroy, linger=0)
        scores, control = context.socket(zmq.PUB), context.socket(zmq.ROUTER)
        places = {}
        for name, socket in (("scores", scores), ("control", control)):
            socket.bind("tcp://127.0.0.1:*")
            places[name] = socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")
        one = _Follower(SimpleNamespace(**places), None, _Heard(), {}, scores_first=True, patience_s=0.3)
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
