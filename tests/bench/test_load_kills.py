"""Kills of a load test: whom they meet, when they are over, and what they are said to cost."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager

import pytest
import zmq
from click.testing import CliRunner
from streamer_support import PATIENCE_S, settings

from bench.load import command
from bench.load.drive import Observed
from bench.load.figures import KILLED, RECOVERED, SAME_SCORES, compare, judged
from bench.load.kills import Kill, Killer
from bench.load.plan import KINDS, Plan, interleaved
from bench.load.settings import cluster
from bench.load.settings import settings as settings_of
from bench.load.victims import Victim, chosen, replaced
from bench.machine import below, processor_s
from streamer.errors import StreamerError
from streamer.wire.frame import pack

PLAN = Plan(publishers=2, fps=20.0, seconds=1.0, size=32, reliable=True, patience_s=PATIENCE_S)


def engine(**changed):
    """The engine of a status, with two streams on two nodes beside the head."""
    said = {
        "name": "ray",
        "nodes": [
            {"id": "h", "address": "127.0.0.9", "alive": True, "is_head": True},
            {"id": "n0", "address": "127.0.0.10", "alive": True, "is_head": False},
            {"id": "n1", "address": "127.0.0.11", "alive": True, "is_head": False},
        ],
        "backbones": [{"pid": 11, "node": "n0"}, {"pid": 12, "node": "n1"}],
        "lines": {"a": {"pid": 21, "node": "n1"}, "b": {"pid": 22, "node": "n1"}},
        "shards": {
            "a": [{"pid": 31, "node": "n0"}, {"pid": 32, "node": "n1"}],
            "b": [{"pid": 41, "node": "n0"}, {"pid": 42, "node": "n1"}],
        },
        "recoveries_s": [],
    }
    return {**said, **changed}


def test_kinds_take_turns():
    assert interleaved({"line": 3, "backbone": 3, "gate": 1}) == (
        "line", "backbone", "gate", "line", "backbone", "line", "backbone",
    )  # fmt: skip
    assert interleaved(dict.fromkeys(KINDS, 0)) == ()


@pytest.mark.parametrize(
    ("kind", "turn", "victim"),
    [
        ("gate", 0, Victim("gate")),
        ("line", 0, Victim("line", "a", 21, "n1")),
        ("line", 1, Victim("line", "b", 22, "n1")),
        ("line", 2, Victim("line", "a", 21, "n1")),
        ("backbone", 1, Victim("backbone", None, 12, "n1", 2)),
        ("shard", 1, Victim("shard", "b", 41, "n0", 2)),
        ("shard", 2, Victim("shard", "a", 32, "n1", 2)),
        ("node", 0, Victim("node", node="n1", count=2)),
    ],
)
def test_each_kill_of_a_kind_meets_another(kind, turn, victim):
    assert chosen(kind, turn, engine(), ["a", "b"]) == victim


def test_nobody_is_killed_whom_the_status_does_not_name():
    down = {"a": {"pid": None, "node": None}}
    assert chosen("line", 0, engine(lines=down), ["a", "b"]) is None
    assert chosen("line", 0, engine(), ["c"]) is None
    assert chosen("shard", 0, engine(shards={}), ["a"]) is None
    assert chosen("backbone", 0, engine(backbones=[]), ["a"]) is None
    on_head = {"lines": {"a": {"pid": 21, "node": "h"}}, "backbones": [{"pid": 11, "node": "h"}]}
    assert chosen("node", 0, engine(**on_head), ["a"]) is None
    assert chosen("line", 0, {}, ["a"]) is None


@pytest.mark.parametrize(
    ("victim", "after"),
    [
        (Victim("line", "a", 21, "n1"), {"lines": {"a": {"pid": 99, "node": "n0"}}}),
        (Victim("backbone", None, 12, "n1", 2), {"backbones": [{"pid": 11, "node": "n0"}, {"pid": 99}]}),
        (Victim("shard", "a", 32, "n1", 2), {"shards": {"a": [{"pid": 98}, {"pid": 99}]}}),
        (
            Victim("node", node="n1", count=2),
            {
                "backbones": [{"pid": 11, "node": "n0"}, {"pid": 99, "node": "n0"}],
                "lines": {"a": {"pid": 97, "node": "n0"}, "b": {"pid": 98, "node": "n0"}},
            },
        ),
    ],
)
def test_a_kill_is_over_when_another_is_in_the_victims_place(victim, after):
    gone = {
        "line": {"lines": {"a": {"pid": None}}},
        "backbone": {"backbones": [{"pid": 11, "node": "n0"}]},
        "shard": {"shards": {"a": []}},
        "node": {"backbones": [{"pid": 11, "node": "n0"}], "lines": {}},
    }[victim.kind]
    for unfinished in (engine(), engine(**gone), {}):
        assert not replaced(victim, unfinished)
    assert replaced(victim, engine(**after))


class FakeCamera:
    """Has another ack each time it is looked at, while `goes_on` says so."""

    done = False

    def __init__(self, stream, goes_on=lambda: False):
        self.stream, self._goes_on, self._count = stream, goes_on, 0

    @property
    def acknowledged(self):
        self._count += self._goes_on()
        return self._count


@contextmanager
def answering(status):
    """A control port that answers each request with what `status` says then."""
    context, stop = zmq.Context(), threading.Event()
    socket = context.socket(zmq.REP)
    port = socket.bind_to_random_port("tcp://127.0.0.1")

    def answer():
        while not stop.is_set():
            if socket.poll(20):
                socket.recv()
                socket.send(pack({"ok": True, "engine": status()}))
        socket.close(0)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{port}"
    finally:
        stop.set()
        thread.join()
        context.term()


def sleeper():
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])


def test_a_line_is_killed_and_waited_for_until_its_stream_goes_on():
    processes = [sleeper()]
    camera, other = FakeCamera("a", lambda: len(processes) == 2), FakeCamera("b")
    recoveries = [7.0]

    def status():
        if processes[-1].poll() is not None:  # what the gate does: another, and what that took
            processes.append(sleeper())
            recoveries.append(0.5)
        return engine(lines={"a": {"pid": processes[-1].pid}, "b": {"pid": 22}}, recoveries_s=recoveries)

    try:
        with answering(status) as control:
            killer = Killer(None, None, [camera, other], control, PATIENCE_S)
            assert killer.recoveries() == [7.0]
            began = time.monotonic()
            kill = killer.kill("line")
            spent = time.monotonic() - began
            assert processes[0].wait() == -signal.SIGKILL
            assert processes[1].poll() is None
            assert (kill.victim.kind, kill.victim.stream, kill.recovered) == ("line", "a", True)
            assert kill.recoveries_s == [0.5]
            # The other stream had no ack in all that time, and is not concerned.
            assert 0 < kill.without_ack_s <= spent
            assert other.acknowledged == 0
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_what_does_not_come_back_is_not_waited_for_for_ever():
    camera, victim = FakeCamera("a"), sleeper()
    with answering(lambda: engine(lines={"a": {"pid": victim.pid}})) as control:
        kill = Killer(None, None, [camera], control, 0.3).kill("line")
        assert not kill.recovered
        with pytest.raises(StreamerError, match="--kill-shard: the detector's status names none"):
            Killer(None, None, [FakeCamera("z")], control, 0.1).kill("shard")
    assert victim.wait() == -signal.SIGKILL


class FakeWatch:
    fetched, latencies_ms, dropped = 0, (), Counter()

    def __init__(self, raw_scores):
        self._raw_scores = raw_scores

    def scored(self, stream):
        return Counter([*self._raw_scores])

    def raw_scores(self, stream):
        return self._raw_scores


def observed(raw_scores, kills=()):
    tally = {"received": 3, "scored": 3, "queued": 0, "dropped": {}, "refused": {}}
    sent = [{"stream": "a", "sent": 3, "late_s": 0.0}]
    return Observed(sent, {"a": tally}, FakeWatch(raw_scores), kills, 1.0)


RAW = {0: None, 1: 0.1, 2: 0.30000000000000004}


@pytest.mark.parametrize(
    ("other", "different"),
    [(dict(RAW), 0), (RAW | {2: 0.3}, 1), (RAW | {0: 0.0}, 1), ({0: None, 1: 0.1}, 1)],
)
def test_scores_are_compared_to_the_last_bit(other, different):
    figures = judged(PLAN, observed(RAW))
    assert figures["holds"]
    compare(figures, observed(RAW), observed(other), "local")
    assert figures["compared"] == {"engine": "local", "frames": 3, "different": different}
    assert figures["checks"][SAME_SCORES] == figures["holds"] == (different == 0)


def test_kills_that_failed_or_did_not_come_fail_the_run():
    plan = Plan(2, 20.0, 1.0, 32, reliable=True, kills=("line", "gate"))
    line, gate = (Kill(Victim(kind), seconds, [seconds / 2], True) for kind, seconds in
                  (("line", 2.0), ("gate", 4.0)))  # fmt: skip
    figures = judged(plan, observed(RAW, [line, gate]))
    assert figures["holds"], figures["checks"]
    assert figures["without_ack_s"]["all"]["max"] == figures["without_ack_s"]["gate"]["p50"] == 4.0
    assert (figures["recovery_s"]["p50"], figures["kills"]) == (1.5, 2)
    assert json.loads(json.dumps(figures)) == figures
    assert not judged(plan, observed(RAW, [line]))["checks"][KILLED]
    lost = Kill(Victim("gate"), 9.0, [], False)
    assert not judged(plan, observed(RAW, [line, lost]))["checks"][RECOVERED]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--kill-line", "1", "--reliable"], "--kill-line: the engine is 'local', expected --engine ray"),
        (["--kill-line", "1", "--engine", "ray"], "needs --reliable"),
        (["--compare"], "--compare: needs --reliable"),
        (
            ["--reliable", "--compare", "--connect", "reliable=a,scores=b,control=c"],
            "need a server of their own",
        ),
    ],
)
def test_what_cannot_be_killed_is_one_line(options, text):
    done = CliRunner().invoke(command.main, options)
    assert done.exit_code == 2
    assert text in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_configuration_has_what_is_killed(tmp_path):
    plan = Plan(3, 1.0, 1.0, 32, True, ("shard", "node"), "ray")
    values = settings_of(plan, None, tmp_path)
    assert (values["engine"]["name"], values["engine"]["shards"]) == ("ray", 2)
    assert values["snapshot"]["journal"]
    pytest.importorskip("ray")
    nodes = cluster(values, plan, tmp_path / "ray")
    assert values["engine"]["address"] == nodes.address
    assert values["engine"]["token"] == str(nodes.token)
    with pytest.raises(StreamerError, match="address is set, expected null"):
        cluster(values, plan, tmp_path / "ray")
    assert not settings_of(PLAN, None, tmp_path)["snapshot"]["journal"]
    assert Plan(1, 1, 1, 8, kills=("gate",), compared=True).window == 1
    assert Plan(1, 1, 1, 8, kills=("line",), compared=True).window > 1


@pytest.mark.slow
def test_a_killed_detector_with_a_journal_scores_as_if_it_had_not_been(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps(settings(limits={})), encoding="utf-8")
    plan = Plan(2, 20.0, 2.0, 64, True, ("gate",), compared=True, patience_s=PATIENCE_S)
    figures = command.measure(plan, path, compare_with="local")
    assert figures["holds"], figures["checks"]
    assert figures["compared"] == {"engine": "local", "frames": 80, "different": 0}
    (kill,) = figures["killed"]
    assert kill["recovered"]
    assert figures["without_ack_s"]["gate"]["max"] > 0


def test_processes_below_are_found_and_their_time_is_told():
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not below(parent.pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        (only,) = below(parent.pid)
        assert only in below(os.getpid())
    finally:
        parent.communicate(b"\n")
    assert processor_s(os.getpid()) > 0
    assert processor_s(parent.pid) == 0.0
