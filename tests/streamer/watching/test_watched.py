"""A real detector, camera and bridge, and a real Prometheus: with the rules as they are, 15 times as fast."""

import re
import shutil
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
import yaml
from bridge_support import bridging
from camera_support import MjpegCamera, Publish
from prometheus_support import (
    BOARD,
    FOLDER,
    Prometheus,
    alerts,
    board_expressions,
    labels_of,
    program,
    rules,
    selectors_of,
)
from receiver_support import BRIDGE, own_modules, receiving
from streamer_support import PATIENCE_S, backbone, picture, serving, small_config, until

from streamer import auth
from streamer.publish import Publisher

__all__ = ["backbone", "own_modules"]

SILENT_S = 3
PLANT = [
    {"record": "musc:plant:silent_seconds", "expr": f"vector({SILENT_S})", "labels": {"stream": "line"}},
    {"record": "musc:plant:silent_seconds", "expr": "vector(Inf)", "labels": {"stream": "other"}},
]
"""A line on which three seconds are a silence; one that may be silent for ever."""


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """The folder of the detector's keys."""
    folder = tmp_path_factory.mktemp("keys") / "keys"
    auth.create_keys(folder, {"camera": "publishers", "bridge": "bridges"})
    return folder


@pytest.fixture(scope="module")
def detector(backbone, keys, tmp_path_factory):
    program("prometheus")
    folder = tmp_path_factory.mktemp("detector")
    sections = {
        "metrics": {"endpoint": "127.0.0.1:0"},
        "transport": {"when_full": "drop_oldest"},
        "security": {"keys": str(keys)},
        "snapshot": {"path": str(folder / "rings"), "every_s": 1.0},
        "history": {"path": str(folder / "history.sqlite")},
        "threshold": {"rule": "fixed", "value": 0.5},
    }
    with serving(small_config(**sections), backbone) as service:
        yield service


@pytest.fixture(scope="module")
def plant(detector, keys, tmp_path_factory):
    """Prometheus, and what it watches: a camera with its sender, a bridge, a stream that was sent twice."""
    pytest.importorskip("av", reason="PyAV is not installed: pip install -e '.[camera]'")
    folder = tmp_path_factory.mktemp("plant")
    server_key, clients = keys / "server.key", keys / "clients"
    token = shutil.copy(keys / "metrics.token", folder / "metrics.token")
    camera_key = auth.load_client(clients / "camera.key_secret", server_key)
    of_the_bridge = {
        **{name: detector.endpoints[name] for name in ("scores", "control")},
        "key": str(clients / "bridge.key_secret"),
        "server_key": str(server_key),
    }
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        own_modules.__wrapped__(patch)
        camera = stack.enter_context(MjpegCamera())
        options = ["--source", camera.url, "--stream", "line", "--endpoint", detector.endpoints["frames"]]
        options += ["--fps", "5", "--lost-after", "1", "--server-key", str(server_key)]
        stack.enter_context(Publish(*options, "--key", str(clients / "camera.key_secret")))
        receiver = stack.enter_context(receiving())
        bridge = stack.enter_context(
            bridging(folder / "bridge", detector, BRIDGE, {"port": receiver.port}, detector=of_the_bridge)
        )
        other = {"wait_s": PATIENCE_S, "keys": camera_key}
        with Publisher(detector.endpoints["frames"], "other", **other) as publisher:
            for seed in range(2):
                publisher.send(picture(seed), "a")  # one id, two pictures: one of them is refused
        targets = {"musc": detector.endpoints["metrics"], "musc-bridges": bridge.status}
        prometheus = stack.enter_context(Prometheus(folder / "prometheus", targets, PLANT, token))
        yield SimpleNamespace(prometheus=prometheus, camera=camera, instance=targets["musc"])


def scraped(series):
    """By name of a metric the labels that its series have."""
    found = {}
    for labels in series:
        found.setdefault(labels["__name__"], set()).update(labels.keys() - {"__name__"})
    return found


def labels_in(expression, there):
    """All that its metrics have; what rules record and a plant sets has those of streams."""
    names = [one.partition("{")[0] for one in selectors_of(expression)]
    return set().union(*(there.get(name, {"job", "instance", "stream"}) for name in names))


def is_scraped(selector):
    """Not what rules make of others, nor what a plant sets."""
    return ":" not in selector.partition("{")[0]


def test_every_metric_label_and_value_that_is_named_is_scraped(plant):
    expressions = [*(rule["expr"] for rule in rules()), *board_expressions()]
    asked = {one for expression in expressions for one in selectors_of(expression) if is_scraped(one)}
    assert len(asked) > 60
    missing = set(asked)

    def all_there():
        for selector in list(missing):
            if plant.prometheus.api("series", **{"match[]": selector}):
                missing.discard(selector)
        return not missing

    try:
        until(all_there)
    except AssertionError:
        pytest.fail(f"nobody answers a scrape with {missing}")
    there = scraped(plant.prometheus.api("series", **{"match[]": '{job=~"musc|musc-bridges"}'}))
    for expression in expressions:
        assert labels_of(expression) <= labels_in(expression, there), expression
    for name, rule in alerts().items():
        used = set(re.findall(r"\$labels\.(\w+)", repr(rule["annotations"])))
        assert used <= labels_in(rule["expr"], there), name
    for panel in BOARD["panels"]:
        for target in panel.get("targets", []):
            used = set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
            assert used <= labels_in(target["expr"], there), panel["title"]
    tested = yaml.safe_load((FOLDER / "musc-rules.test.yml").read_text(encoding="utf-8"))["tests"]
    for series in {one["series"] for test in tested for one in test["input_series"]}:
        name, _, labels = series.partition("{")
        if is_scraped(series) and "node" not in labels:
            assert set(re.findall(r"(\w+)=", labels)) == there[name], series


def test_a_silence_is_told_until_frames_come_again_though_prometheus_is_killed_meanwhile(plant):
    prometheus, camera = plant.prometheus, plant.camera
    until(lambda: prometheus.value('musc_source_state{state="live"}') == 1)
    until(lambda: prometheus.value('musc:silent_limit_seconds{stream="line"}') == SILENT_S)
    until(lambda: (prometheus.value("musc_uptime_seconds") or 0) > SILENT_S)
    until(lambda: prometheus.alert("MuscCameraSilent") is None)
    camera.hold(True)
    told = prometheus.wait_for("MuscCameraSilent", "firing")
    assert told["labels"] == {
        "alertname": "MuscCameraSilent",
        "instance": plant.instance,
        "job": "musc",
        "severity": "critical",
        "stream": "line",
    }
    assert told["annotations"]["summary"].startswith("line: no part was looked at for ")
    prometheus.wait_for("MuscCameraLost", "firing")
    prometheus.kill_and_start()
    prometheus.wait_for("MuscCameraSilent", "firing")
    camera.hold(False)
    until(lambda: prometheus.alert("MuscCameraSilent") is None)
    until(lambda: prometheus.alert("MuscCameraLost") is None)
    assert [prometheus.value(f'up{{job="{job}"}}') for job in ("musc", "musc-bridges")] == [1, 1]
    ours = [rule for group in prometheus.api("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in ours if rule["type"] == "alerting"} == alerts().keys()
    assert {(rule["health"], rule.get("lastError")) for rule in ours} == {("ok", None)}
    quiet = {one["labels"]["alertname"] for one in prometheus.api("alerts")["alerts"]}
    assert quiet <= {"MuscFramesRefused"}, "a healthy line, and two pictures under one id"


@pytest.mark.slow
def test_a_scrape_without_the_token_sees_a_detector_that_is_down(detector, tmp_path):
    targets = {"musc": detector.endpoints["metrics"]}
    with Prometheus(tmp_path / "prometheus", targets) as prometheus:
        told = prometheus.wait_for("MuscDetectorDown", "firing")
        assert told["labels"]["instance"] == targets["musc"]
        (target,) = prometheus.api("targets")["activeTargets"]
        assert "401" in target["lastError"]
