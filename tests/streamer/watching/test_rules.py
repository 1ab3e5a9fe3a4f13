"""The alerts: promtool takes them, each has its proof both ways, says what to do, and names what there is."""

import re
from typing import get_args

import pytest
import yaml
from prometheus_support import FOLDER, ROOT, alerts, metrics_of, promtool, rules

from musc_online.events import Kind
from streamer.server.metrics import _SOURCE_COUNTS
from streamer.wire.codes import CODES
from streamer.wire.source import STATES, UNKNOWN

TESTS = yaml.safe_load((FOLDER / "musc-rules.test.yml").read_text(encoding="utf-8"))["tests"]
PAGE = (ROOT / "docs" / "watching.md").read_text(encoding="utf-8")
VALUES = {
    "state": {*STATES, UNKNOWN, "warmup", "ready", "degraded", "asleep"},
    "event": set(get_args(Kind)),
    "what": set(_SOURCE_COUNTS),
    "reason": set(CODES),
    "job": {"musc", "musc-bridges"},
    "stream": {""},
}


def test_promtool_takes_the_files():
    for name in ("musc-rules.yml", "musc-plant.yml"):
        assert "SUCCESS" in promtool("check", "rules", "--lint-fatal", name)
    assert "2 rule files found" in promtool("check", "config", "--lint-fatal", "prometheus.yml")


def test_every_alert_fires_when_it_should_and_not_otherwise():
    assert "SUCCESS" in promtool("test", "rules", "musc-rules.test.yml")


@pytest.mark.parametrize("name", alerts())
def test_each_has_a_proof_both_ways(name):
    expected = [
        one["exp_alerts"] for test in TESTS for one in test["alert_rule_test"] if one["alertname"] == name
    ]
    assert any(expected)
    assert not all(expected)


@pytest.mark.parametrize("name", alerts())
def test_each_says_how_bad_it_is_and_what_to_do(name):
    rule = alerts()[name]
    assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"})
    assert rule["annotations"].keys() == {"summary", "what_to_do"}
    assert rule["annotations"]["what_to_do"].endswith(f" docs/watching.md#{name.lower()}")
    (place,) = re.findall(rf"^### {name}$", PAGE, re.MULTILINE)
    assert place


def test_nothing_is_proven_or_explained_that_there_is_not():
    assert {one["alertname"] for test in TESTS for one in test["alert_rule_test"]} == alerts().keys()
    assert set(re.findall(r"^### (Musc\w+)$", PAGE, re.MULTILINE)) == alerts().keys()


def test_what_a_plant_sets_is_what_the_rules_look_at(tmp_path):
    used = {name for rule in rules() for name in metrics_of(rule["expr"])}
    text = (FOLDER / "musc-plant.yml").read_text(encoding="utf-8")
    # Its examples as a plant takes them: without the `#`.
    taken = "\n".join(
        line.replace("#", "", 1) if re.match(r" +#[- ] ", line) else line for line in text.splitlines()
    )
    (tmp_path / "plant.yml").write_text(taken, encoding="utf-8")
    offered = {rule["record"] for group in yaml.safe_load(taken)["groups"] for rule in group["rules"]}
    assert offered == {name for name in used if name.startswith("musc:plant:")}
    assert set(re.findall(r"`(musc:plant:\w+)`", PAGE)) == offered
    assert "5 rules found" in promtool("check", "rules", "--lint-fatal", "plant.yml", folder=tmp_path)


def test_labels_are_asked_for_values_that_they_have():
    for rule in rules():
        for label, text in re.findall(r'(\w+)(?:=|!=|=~|!~)"([^"]*)"', rule["expr"]):
            assert set(text.split("|")) <= VALUES[label], rule
