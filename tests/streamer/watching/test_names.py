"""Rules and dashboard name metrics that a real detector or bridge answers a scrape with, and no others."""

import urllib.request

import pytest
from bridge_support import bridging
from prometheus_support import board_expressions, metrics_of, rules
from receiver_support import BRIDGE, own_modules, receiving
from streamer_support import (
    PATIENCE_S,
    Camera,
    header,
    one_thread,
    server_process,
    until,
)

from streamer.ask import ask
from streamer.publish import Publisher

__all__ = ["one_thread", "own_modules"]


def named():
    """By name of a metric that is scraped, an expression that asks for it."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    expressions = [*(rule["expr"] for rule in rules()), *board_expressions()]
    found = {name: expression for expression in expressions for name in metrics_of(expression)}
    plain = found.keys() - recorded
    return {name: found[name] for name in plain if not name.startswith("musc:plant:")}


def test_what_is_a_metric_in_an_expression():
    asked = 'sum by (le) (rate(a_b{c="d e"}[5m])) / on (f) group_left () g:h > 2 * time() unless k offset 30m'
    assert metrics_of(asked) == {"a_b", "g:h", "k"}
    assert metrics_of("x * 0 + scalar(y or vector(60))") == {"x", "y"}


def scraped(place):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{place}/metrics", timeout=PATIENCE_S) as answer:
        lines = answer.read().decode().splitlines()
    return {line.partition("{")[0].partition(" ")[0] for line in lines if not line.startswith("#")}


@pytest.mark.usefixtures("own_modules", "one_thread")
def test_every_metric_that_is_named_is_scraped(tmp_path):
    sections = {
        "metrics": {"endpoint": "127.0.0.1:0"},
        "snapshot": {"path": str(tmp_path / "rings"), "every_s": 0.1},
        "history": {"path": str(tmp_path / "history.sqlite")},
        "threshold": {"rule": "fixed", "value": 0.5},
    }
    with (
        server_process(tmp_path, **sections) as server,
        receiving() as receiver,
        bridging(tmp_path / "bridge", server, BRIDGE, {"port": receiver.port}) as bridge,
        Camera(server.endpoints["frames"]) as camera,
        Publisher(server.endpoints["frames"], "line", wait_s=PATIENCE_S) as publisher,
    ):
        for seed in range(4):
            camera.picture(seed)
        camera.send(header("bad"), b"no picture")
        until(lambda: publisher.tell_source("live", age_ms=5.0, counts={"read": 4}))
        asked = named()
        assert len(asked) > 30
        assert {name.partition("_")[0] for name in asked} == {"musc", "process", "up"}
        there = {"up"}  # Prometheus' own

        def all_there():
            there.update(scraped(server.endpoints["metrics"]), scraped(bridge.status))
            return asked.keys() <= there

        try:
            until(all_there)
        except AssertionError:
            missing = {name: asked[name] for name in asked.keys() - there}
            pytest.fail(f"nobody answers a scrape with {missing}")
        state = ask({"kind": "status"}, server.endpoints["control"], timeout_s=PATIENCE_S)["state"]
        assert state == "ready"
