"""What Home Assistant is told, as a broker keeps it for it."""

import asyncio
import json
import re

import jinja2
import pytest
from item_support import queue_folder
from mqtt_items import score
from mqtt_support import broker, needs_mosquitto, retained
from streamer_support import PATIENCE_S

from streamer.bridges.common import Common
from streamer.bridges.mqtt import BRIDGE

pytestmark = needs_mosquitto
STREAMS = ["line", "Prüfstand +/#", "Prüfstand /#+", "\u202e"]


def handed_on(folder, address, items, tell=None, **section):
    """One run of the bridge from its start to its end."""

    async def work():
        common = Common.model_validate(
            {"queue": {"path": str(queue_folder(folder / "queue", "mqtt"))}, "tell": tell or {}}
        )
        sink = BRIDGE.make(BRIDGE.section.model_validate({"address": address, **section}), common)
        try:
            await sink.open()
            left = items
            while left:
                left = left[await sink.deliver(left) :]
        finally:
            await sink.close()

    asyncio.run(asyncio.wait_for(work(), PATIENCE_S))


def entities(port, prefix="homeassistant"):
    kept = retained(port)
    return {topic: json.loads(body) for topic, body in kept.items() if topic.startswith(f"{prefix}/")}


def test_each_stream_is_a_problem_and_a_score_of_one_device(tmp_path):
    with broker(tmp_path) as running:
        items = [score(number, stream) for number, stream in enumerate(STREAMS)]
        handed_on(tmp_path, running.address, items, home_assistant={"enabled": True, "device": "Press 4"})
        found = entities(running.port)
        kept = retained(running.port)
    assert len(found) == 2 * len(STREAMS)
    for topic in found:  # as Home Assistant takes it
        assert re.fullmatch(
            r"homeassistant/(binary_sensor|sensor)/[a-zA-Z0-9_-]+/[a-zA-Z0-9_-]+/config", topic
        )
    assert len({entity["unique_id"] for entity in found.values()}) == len(found)
    assert len({json.dumps(entity["device"]) for entity in found.values()}) == 1
    problem = next(one for one in found.values() if one["name"] == "line problem")
    assert problem["device_class"] == "problem"
    assert problem["device"]["name"] == "Press 4"
    assert [one["topic"] for one in problem["availability"]] == [
        "musc/line/availability", "musc/line/detector/availability",
    ]  # fmt: skip
    for entity in found.values():
        assert entity["state_topic"] in kept


@pytest.mark.parametrize(("label", "shown"), [(True, "ON"), (False, "OFF"), (None, "None")])
def test_the_templates_say_what_home_assistant_expects(tmp_path, label, shown):
    with broker(tmp_path) as running:
        handed_on(
            tmp_path, running.address, [score(1, pred_label=label, raw_score=None)],
            home_assistant={"enabled": True},
        )  # fmt: skip
        found, kept = entities(running.port), retained(running.port)
    told = {}
    for one in found.values():
        value = json.loads(kept[one["state_topic"]])
        told[one["name"]] = (
            jinja2.Environment(autoescape=True).from_string(one["value_template"]).render(value_json=value)
        )
    assert told == {"line problem": shown, "line score": "None"}


def test_what_is_no_longer_wanted_is_removed(tmp_path):
    items = [score(1, "a"), score(2, "b")]
    with broker(tmp_path) as running:
        on = {"home_assistant": {"enabled": True}}
        handed_on(tmp_path, running.address, items, {"pictures": True}, **on)
        assert len(entities(running.port)) == 6
        handed_on(tmp_path, running.address, [], **on)  # no pictures any more
        assert len(entities(running.port)) == 4
        handed_on(tmp_path, running.address, [], {"streams": ["a"]}, **on)
        assert {one["name"] for one in entities(running.port).values()} == {"a problem", "a score"}
        moved = {"home_assistant": {"enabled": True, "prefix": "ha"}}
        handed_on(tmp_path, running.address, [], **moved)
        assert (len(entities(running.port)), len(entities(running.port, "ha"))) == (0, 4)
        handed_on(tmp_path, running.address, [])
        assert not entities(running.port, "ha")


def test_a_broker_that_lost_what_it_kept_is_told_again(tmp_path):
    with broker(tmp_path) as running:
        on = {"home_assistant": {"enabled": True}}
        handed_on(tmp_path, running.address, [score(1)], **on)
        running.kill()
        running.start()
        assert not entities(running.port)
        handed_on(tmp_path, running.address, [], **on)
        assert len(entities(running.port)) == 2
