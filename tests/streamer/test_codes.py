"""Every code that the service can send is in the list that its peers read."""

import ast
import inspect
import re
from pathlib import Path

import streamer
from streamer.wire.codes import CODES

# The page answers browsers over HTTP, and bridges answer the plant, in words of their own.
STREAMER = Path(inspect.getfile(streamer)).parent
PAGE, MQTT = STREAMER / "page", STREAMER / "bridges" / "mqtt"
DOCS = STREAMER.parent / "docs"
TOLD_BY = {"WireError": 0, "_tell": 1, "refuse": 1, "warn": 1, "answer_now": 2, "_used": 2}
"""Who takes a code, and as which argument."""
NO_CODES = {"drop_oldest", "drop_newest", "block", "scored"}


def codes_in(path):
    """Constant codes in a source file, wherever one is handed over."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", None))
            at = TOLD_BY.get(name)
            if at is not None and len(node.args) > at and isinstance(node.args[at], ast.Constant):
                yield node.args[at].value
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if getattr(key, "value", None) == "code" and isinstance(value, ast.Constant):
                    yield value.value


def test_no_code_is_sent_that_is_not_listed():
    """`snapshot_lost` was missing, and so were two that only requests can get."""
    sources = [path for path in sorted(STREAMER.rglob("*.py")) if not {PAGE, MQTT} & set(path.parents)]
    sent = {code for path in sources for code in codes_in(path) if isinstance(code, str)}
    assert {"snapshot_lost", "unknown_frame", "internal", "bad_parts", "busy", "out_of_order"} <= sent
    assert sent - CODES.keys() == set()


def test_no_answer_to_a_command_by_mqtt_has_a_code_that_its_page_does_not_list():
    listed = set(re.findall(r"`(\w+)`", (DOCS / "bridges-mqtt.md").read_text(encoding="utf-8")))
    sent = {code for path in sorted(MQTT.rglob("*.py")) for code in codes_in(path) if isinstance(code, str)}
    assert {"malformed", "outcome_unknown"} <= sent
    assert sent - listed == set()


def test_every_code_listed_can_be_sent():
    sources = [path for path in Path(inspect.getfile(streamer)).parent.rglob("*.py") if path.stem != "codes"]
    text = "".join(path.read_text(encoding="utf-8") for path in sources)
    assert [code for code in CODES if f'"{code}"' not in text] == []
