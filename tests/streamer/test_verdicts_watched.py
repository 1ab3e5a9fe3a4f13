"""How many frames were anomalous, which was the last, by what threshold: status, heartbeats, Prometheus."""

import json

import pytest
from click.testing import CliRunner
from snapshot_support import config, play, tampered
from streamer_support import (
    PATIENCE_S,
    backbone,
    control,
    identity_holds,
    scrape,
    serving,
    watched,
)

from streamer import status as status_command
from streamer.server.outcomes import LastFrame, Ledger
from streamer.server.snapshot_files import file_name
from streamer.status import main as status_main

pytestmark = pytest.mark.engines

__all__ = ["backbone"]

ALARMING = {"rule": "fixed", "value": 1e-6}
"""A threshold that every frame exceeds, once the warm-up is over."""


def last_of(score):
    return {name: score[name] for name in ("frame_id", "scored_ns", "pred_label")}


def test_who_has_seen_a_score_finds_it_in_status(backbone):
    with watched(backbone, threshold=ALARMING) as (service, screen, camera):
        labels = []
        for seed in range(6):
            camera.picture(seed)
            (score,) = screen.until(1, "score")
            labels.append(score["pred_label"])
            status = control(service, "status")
            shown = status["streams"]["line"]
            assert shown["anomalous"] == status["anomalous"] == labels.count(True)
            assert shown["last_frame"] == last_of(score)
            assert shown["threshold"] == (score["threshold"] or shown["threshold"])
        assert labels == [None, None, True, True, True, True]
        control(service, "false_alarm", stream="line", frame_id="line-5")
        control(service, "reset", stream="line")
        shown = control(service, "status")["streams"]["line"]
        assert (shown["anomalous"], shown["last_frame"]) == (4, last_of(score)), "counters go on"


def test_heartbeats_and_prometheus_say_it_too(backbone):
    with watched(backbone, threshold=ALARMING, metrics={"endpoint": "127.0.0.1:0"}) as (
        service,
        screen,
        camera,
    ):
        camera.send({}, b"")
        screen.until(1, "error")
        figures = scrape(service)
        assert figures['musc_frames_anomalous_total{stream="-"}'] == "0.0"
        assert not any(name.startswith(("musc_threshold{", "musc_last_frame")) for name in figures)
        for seed in range(5):
            camera.picture(seed)
        score = screen.until(5, "score")[-1]
        figures = scrape(service)
        assert figures['musc_frames_anomalous_total{stream="line"}'] == "3.0"
        assert figures['musc_threshold{stream="line"}'] == "1e-06"
        scored_s = float(figures['musc_last_frame_timestamp_seconds{stream="line"}'])
        assert scored_s == pytest.approx(score["scored_ns"] / 1e9, abs=1e-3)
        beats = {fields["stream"]: fields for fields in screen.until(4, "status")}
        assert beats["line"]["last_frame"] == last_of(score)
        assert (beats["line"]["anomalous"], beats["-"]["anomalous"]) == (3, 3)
        assert "last_frame" not in beats["-"], "of no one stream"


@pytest.mark.parametrize("old", [False, True], ids=["now", "of before"])
def test_the_count_outlives_a_restart(backbone, tmp_path, old):
    with serving(config(tmp_path, threshold=ALARMING), backbone) as service:
        score = play(service, range(5))[-1]
    if old:
        tampered(tmp_path / file_name("line"), forget_verdicts)
    again = config(tmp_path, threshold=ALARMING, metrics={"endpoint": "127.0.0.1:0"})
    with serving(again, backbone) as service:
        shown = control(service, "status")["streams"]["line"]
        assert (shown["scored"], shown["anomalous"]) == (5, 0 if old else 3)
        assert shown["last_frame"] == (None if old else last_of(score))
        score = play(service, [5])[0]
        status = control(service, "status")
        shown = status["streams"]["line"]
        assert (shown["anomalous"], shown["last_frame"]) == (1 if old else 4, last_of(score))
        figures = scrape(service)
        for name in ("received", "scored", "anomalous"):
            assert figures[f'musc_frames_{name}_total{{stream="line"}}'] == "1.0", "of this run"
        assert identity_holds(status)


def forget_verdicts(state):
    del state["extra"]["tally"]["anomalous"], state["extra"]["tally"]["last_frame"]


@pytest.mark.parametrize(
    "entry",
    [
        {"anomalous": "x"},
        {"last_frame": 3},
        {"last_frame": {"frame_id": 1}},
        {"last_frame": {"frame_id": [], "scored_ns": 1, "pred_label": None}},
    ],
)
def test_a_tally_that_does_not_fit_is_refused_whole(backbone, tmp_path, entry):
    with serving(config(tmp_path), backbone) as service:
        play(service, range(2))
    tampered(tmp_path / file_name("line"), lambda state: state["extra"]["tally"].update(entry))
    with serving(config(tmp_path), backbone) as service:
        status = control(service, "status")
        assert (status["snapshot"]["refused"], status["scored"]) == (1, 0)


def test_a_closed_stream_s_count_stays_in_the_totals():
    ledger = Ledger()
    for label in (True, True, False, None):
        ledger.receive("gone")
        ledger.score("gone", LastFrame("a", 1, label))
    ledger.close("gone")
    assert (ledger.totals()["anomalous"], ledger.totals()["scored"]) == (2, 4)
    assert (ledger.streams()["-"]["anomalous"], ledger.streams()["-"]["last_frame"]) == (2, None)


def test_what_is_scraped_was_counted_in_this_run_and_for_that_stream():
    """Else a kill, which takes the last counts back, is all that was ever counted once more to Prometheus."""
    before = Ledger()
    for number in range(5):
        before.receive("line")
        before.score("line", LastFrame(number, number, True), late=True)
    before.drop("line", "drop_oldest")
    before.refuse("line", "undecodable")
    before.event("line", "drift")
    ledger = Ledger()
    ledger.receive("line")
    for tally in (before.streams()["line"], before.streams()["line"]):  # the history's, then a snapshot's
        ledger.resume("line", tally)
    ledger.refuse("line", "undecodable")
    now = ledger.since_start()["line"]
    assert (now["received"], now["queued"]) == (1, 0)
    assert (now["scored"], now["anomalous"], now["late"]) == (0, 0, 0)
    assert (now["dropped"], now["refused"], now["events"]) == (
        {"drop_oldest": 0},
        {"undecodable": 1},
        {"drift": 0},
    )
    assert ledger.streams()["line"]["refused"] == {"undecodable": 2}
    ledger.refuse("-", "bad_header")
    ledger.close("line")
    assert ledger.since_start().keys() == {"-"}
    assert ledger.since_start()["-"]["refused"] == {"undecodable": 0, "bad_header": 1}
    assert ledger.streams()["-"]["refused"] == {"undecodable": 2, "bad_header": 1}
    ledger.receive("line")
    assert ledger.since_start()["line"]["received"] == 1


@pytest.mark.one_process
def test_the_table_shows_it_in_80_columns(backbone, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with watched(backbone, threshold=ALARMING) as (service, screen, camera):
        for seed in range(4):
            camera.picture(seed)
        camera.picture(3)  # a duplicate
        screen.until(5, "score", "error")
        arguments = ["--endpoint", service.endpoints["control"], "--timeout", str(PATIENCE_S)]
        done = CliRunner().invoke(status_main, arguments)
        assert done.exit_code == 0
        lines = [line.split() for line in done.stdout.splitlines()]
        assert ["line", "ready", "4/12", "5", "4", "0", "1", "0"] in lines
        assert ["line", "2", "0.0000", "line-3", "anomalous"] in [line[:5] for line in lines]
        assert "line: 1 refused (duplicate)" in done.stdout
        asked = CliRunner().invoke(status_main, [*arguments, "--json"])
        assert json.loads(asked.stdout)["streams"]["line"]["anomalous"] == 2


@pytest.mark.one_process
def test_numbers_are_whole_whatever_the_names(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    full = {
        "received": 12_345_678,
        "scored": 12_345_670,
        "anomalous": 1_234_567,
        "dropped": {"drop_oldest": 3, "drop_newest": 1},
        "refused": {"snapshot_unreadable": 4},
        "queued": 64,
        "images": 1000,
        "capacity": 1000,
        "state": "degraded",
        "threshold": 0.4312,
        "last_frame": {"frame_id": "[red]" + "f" * 90, "scored_ns": 10**18, "pred_label": True},
    }
    before = {"received": 1, "scored": 0, "dropped": {}, "refused": {}, "queued": 1}  # an older detector's
    streams = {"[bold]" + "s" * 90: full, "-": before}
    status_command._show(
        {"state": "ready", "uptime_s": 1.0, "model_id": "m", "precision": "int8", "streams": streams}
    )
    said = capsys.readouterr().out
    # An id is copied: it is never broken, and is a line of its own where it is longer than one.
    names = {"[bold]" + "s" * 90, "[red]" + "f" * 90}
    assert {line.split()[-1] for line in said.splitlines() if len(line) > 80} == names
    for whole in ("12345678", "12345670", "1234567", "1000/1000", "0.4312", "2001-09-0", "degraded"):
        assert whole in said, said
    assert "[red]f" in said
    assert "[bold]s" in said
    assert "3 dropped (drop_oldest), 1 dropped (drop_newest)" in " ".join(said.split())
