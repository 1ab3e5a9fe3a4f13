"""A real detector and the files' own process, killed under load: every verdict is a line, once, in order."""

import csv
import json
import multiprocessing
import os
import signal

import cv2
import pytest
from bridge_support import DRAWN, Arrival, Line, bridging, published, wait_for_all
from files_support import write_for_ever
from item_support import queue_folder
from streamer_support import control, one_thread, until

__all__ = ["one_thread"]

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]
A_TURN = 10


def objects(folder):
    files = sorted(folder.glob("*/told*.jsonl"))
    lines = [line for path in files for line in path.read_text("ascii").splitlines(keepends=True)]
    return [json.loads(line) for line in lines if line.endswith("\n")]


def table(folder):
    found = []
    for path in sorted(folder.glob("*/told*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            found += csv.DictReader(file, strict=True)
    return found


def arrivals(folder):
    return [Arrival.of(one["header"]) for one in objects(folder) if one["kind"] == "verdict"]


def test_every_verdict_is_a_line_once_whoever_is_killed(tmp_path, detector):
    told = tmp_path / "told"
    section = {"folder": str(told), "file_bytes": "16KiB"}
    with (
        bridging(tmp_path, detector, "files", section, tell={"streams": [DRAWN]}) as bridge,
        Line(detector, DRAWN) as line,
    ):
        for turn in range(3):
            for number in range(A_TURN):
                line.send("stain" if number % 5 == 4 else "good")
                if number == A_TURN // 2:
                    bridge.kill()
            until(lambda n=A_TURN * (turn + 1): len(published(detector, DRAWN, ("score",))["score"]) == n)
            if turn == 1:
                detector.kill()
                detector.start()
            bridge.start()
        control(detector, "flush", stream=DRAWN)
        wait_for_all(detector, DRAWN, lambda: arrivals(told))
        anomalous = [one for one in objects(told) if one.get("overlay")]
        until(lambda: len(table(told)) == len(objects(told)))
    numbers = [one["number"] for one in objects(told)]
    assert numbers == sorted(set(numbers))
    assert [int(row["number"]) for row in table(told)] == numbers
    assert len(list(told.glob("*/told*.jsonl"))) > 1
    assert anomalous
    for one in anomalous:
        assert cv2.imread(str(told / one["overlay"])) is not None
        assert one["header"]["pred_label"] is True


def test_a_process_killed_at_any_moment_leaves_whole_lines_each_once(tmp_path):
    queue_folder(tmp_path / "queue", "files")
    context = multiprocessing.get_context("spawn")
    returned = tmp_path / "returned"
    for _ in range(3):
        ready = context.Event()
        process = context.Process(target=write_for_ever, args=(tmp_path, ready), daemon=True)
        process.start()
        until(lambda p=process, r=ready: r.is_set() or not p.is_alive())
        assert ready.is_set()
        before = returned.read_bytes()
        until(lambda was=before: returned.read_bytes() != was)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        kept = [one["number"] for one in objects(tmp_path / "told")]
        at_least = int(returned.read_text(encoding="ascii"))
        assert kept == list(range(len(kept)))
        assert len(kept) >= at_least
    rows = [int(row["number"]) for row in table(tmp_path / "told")]
    assert rows == list(range(len(rows)))
