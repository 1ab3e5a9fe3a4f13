"""The load test itself: what it counts is what happened, and it fails when it should."""

import json
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from click.testing import CliRunner
from streamer_support import PATIENCE_S, Held, backbone, serving, small_config, until

from bench.load import command
from bench.load.drive import Observed
from bench.load.figures import judged
from bench.load.plan import Plan
from bench.load.publisher import pictures
from bench.memory import Memory
from streamer.images import decode_file

__all__ = ["backbone"]


def plan(**changes):
    return replace(Plan(publishers=2, fps=20.0, seconds=1.0, size=32, patience_s=PATIENCE_S), **changes)


@pytest.mark.parametrize("reliable", [False, True])
def test_every_frame_is_accounted_for(backbone, tmp_path, reliable):
    with serving(small_config(), backbone) as service:
        ready = tmp_path / "ready.json"
        ready.write_text(json.dumps({"endpoints": service.endpoints}))
        figures = command.measure(plan(reliable=reliable), connect=str(ready))
    assert figures["holds"], figures["checks"]
    assert (figures["sent"], figures["scored"], figures["lost"]) == (40, 40, 0)
    assert figures["server"]["scored"] == 40
    latency = figures["latency_ms"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"] <= latency["max"]


def test_drops_are_seen_from_outside_as_from_inside(backbone):
    config = small_config(transport={"when_full": "drop_oldest", "queue": 1, "batch": 1})
    held = Held(backbone)
    with serving(config, held) as service, ThreadPoolExecutor(1) as pool:
        # However fast the machine is: nothing is scored before frames were dropped for others.
        opened = pool.submit(
            lambda: (until(lambda: sum(service.ledger.totals()["dropped"].values()) > 0), held.release())
        )
        where = ",".join(f"{name}={service.endpoints[name]}" for name in ("frames", "scores", "control"))
        figures = command.measure(plan(fps=6000.0, seconds=0.05), connect=where)
        opened.result()
    assert figures["holds"], figures["checks"]
    assert figures["dropped"] > 0
    assert figures["scored"] + figures["dropped"] == figures["sent"] == 600


class FakeWatch:
    fetched = 0
    latencies_ms = ()

    def __init__(self, scored, dropped=0):
        self._scored, self.dropped = scored, Counter({"drop_oldest": dropped})

    def scored(self, stream):
        return Counter(self._scored)


@pytest.mark.parametrize(
    ("scored", "reliable", "check"),
    [
        ([0, 1], True, "every frame sent was scored or told as dropped"),
        ([0, 1, 2, 2], True, "no frame scored twice"),
        ([0, 1], False, "the server counted the scores and drops it published"),
    ],
)
def test_a_lost_or_repeated_frame_fails(scored, reliable, check):
    tally = {"received": 3, "scored": 3, "queued": 0, "dropped": {}, "refused": {}}
    sent = [{"stream": "a", "sent": 3, "late_s": 0.0}]
    figures = judged(plan(reliable=reliable), Observed(sent, {"a": tally}, FakeWatch(scored), (), 1.0))
    assert not figures["checks"][check]
    assert not figures["holds"]


def test_a_frame_in_no_column_fails():
    tally = {"received": 4, "scored": 3, "queued": 0, "dropped": {}, "refused": {}}
    sent = [{"stream": "a", "sent": 3, "late_s": 0.0}]
    figures = judged(plan(reliable=True), Observed(sent, {"a": tally}, FakeWatch([0, 1, 2]), (), 1.0))
    assert [name for name, holds in figures["checks"].items() if not holds] == [
        "received = scored + dropped + refused + queued, nothing queued at the end"
    ]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--connect", "nowhere.json"], "expected a --ready-file"),
        (["--connect", "frames=tcp://127.0.0.1:1,scores=tcp://127.0.0.1:2"], "no endpoint 'control'"),
        (["--kill", "1"], "needs --reliable"),
    ],
)
def test_what_cannot_run_is_one_line(options, text, monkeypatch):
    class Unstarted:
        endpoints = dict.fromkeys(("frames", "scores", "control", "reliable"), "tcp://127.0.0.1:1")

        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(command, "ServerProcess", Unstarted)
    done = CliRunner().invoke(command.main, options)
    assert done.exit_code == 2
    assert text in done.stderr
    assert done.stderr.count("\n") == 1


def test_pictures_differ_and_decode():
    files = pictures(24, seed=1, count=5)
    assert len(set(files)) == 5
    assert all(decode_file(one).shape == (24, 24, 3) for one in files)


@pytest.mark.parametrize("leak_kib", [0.0, 3.0])
def test_memory_tells_a_leak_from_warming_up(leak_kib):
    class Server:
        pid = 1
        frames = 0

        def rss(self):
            warm = min(self.frames, 400) * 100 * 1024
            return 2**30 + warm + self.frames * leak_kib * 1024 + (self.frames % 7) * 4096

    server = Server()
    memory = Memory(server, samples=100, steps=4000)
    for server.frames in range(1, 4001):
        memory.step()
    assert memory.slope_kib() == pytest.approx(leak_kib, abs=0.1)
    assert memory.growth_mib() == pytest.approx(leak_kib * 2750 / 1024, abs=1.0)


def test_ctrl_c_of_a_terminal_is_the_commands_alone():
    code = (
        "import os, signal; from multiprocessing import Pipe; from bench.load import publisher\n"
        "def interrupted(size, seed):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    raise publisher.StreamerError('went on')\n"
        "publisher.pictures = interrupted\n"
        "ours, theirs = Pipe()\n"
        "publisher.run(theirs, 'inproc://a', 'a', reliable=False, fps=1, seconds=1, size=8, seed=0,\n"
        "              patience_s=1, acknowledged=None)\n"
        "print(ours.recv()['error'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "went on\n", "")
