"""docs/api.md has every public name, and each says what it takes, gives and raises."""

import ast
import inspect
import re
from pathlib import Path

import pytest

griffe = pytest.importorskip("griffe", reason="mkdocstrings is not installed: pip install -e '.[docs]'")

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "api.md"
PUBLIC = {
    "musc_online.backbones.load": "name weights image_size stages device precision",
    "musc_online.backbones.registry.Backbone.prepare": "frame",
    "musc_online.backbones.registry.Backbone.extract": "inputs",
    "musc_online.lnamd.aggregate": "patch_tokens degree",
    "musc_online.msm.interval_average": "low high",
    "musc_online.msm.mutual_scores": "patch_tokens degrees low high nearest class_tokens position",
    "musc_online.anomaly_map.upsample": "patch_scores size",
    "musc_online.rscin.rescore": "image_scores class_tokens neighbour_counts normalise",
    "musc_online.config.load": "",
    "musc_online.detector.Detector": "config",
    "musc_online.detector.Detector.step": "frame frame_id",
    "musc_online.detector.Detector.step_tokens": "patch_tokens class_token frame_id",
    "musc_online.detector.Detector.revise": "",
    "musc_online.detector.Detector.flush": "",
    "musc_online.detector.Detector.take_events": "",
    "musc_online.detector.Detector.operators": "",
    "musc_online.detector.Detector.set_threshold": "rule value false_alarms preview",
    "musc_online.operators.Operators.pin": "frame_id",
    "musc_online.operators.Operators.unpin": "frame_id",
    "musc_online.operators.Operators.forget": "frame_id",
    "musc_online.operators.Operators.false_alarm": "frame_id",
    "musc_online.operators.Operators.confirm": "frame_id verdict name",
    "musc_online.operators.Operators.accept": "group",
    "musc_online.operators.Operators.reject": "group name",
    "bench.metrics.image_metrics": "labels scores",
    "bench.metrics.pixel_metrics": "masks maps",
    "streamer.publish.Publisher": "endpoint stream keys",
    "streamer.publish.Publisher.send": "frame frame_id meta",
    "streamer.publish.Publisher.has_room": "timeout_s",
    "streamer.reliable.ReliablePublisher": "endpoint stream keys",
    "streamer.reliable.ReliablePublisher.send": "frame frame_id meta",
    "streamer.reliable.ReliablePublisher.has_room": "timeout_s",
    "streamer.subscribe.subscribe": "endpoint stream",
    "streamer.subscribe.Subscriber": "endpoint stream kinds keys timeout_s",
    "streamer.subscribe.Subscriber.receive": "",
    "streamer.ask.ask": "request endpoint keys timeout_s",
    "streamer.bridges.sink.Sink.open": "",
    "streamer.bridges.sink.Sink.deliver": "items",
    "streamer.bridges.sink.Sink.close": "",
}
"""Public functions and their public arguments: a name that goes is a break for whoever calls it."""
IN_PROSE = ("prepare", "extract", "operators", "revise_due", "deliver", "open", "close")
"""Their first sentence says shapes, results or errors; nothing is left for a list."""


@pytest.fixture(scope="module")
def source():
    loader = griffe.GriffeLoader(search_paths=[ROOT], docstring_parser="google")
    loaded = {name: loader.load(name) for name in ("musc_online", "streamer", "bench")}

    def find(path):
        package, _, rest = path.partition(".")
        found = loaded[package][rest]
        return found.final_target if found.is_alias else found

    return find


def entries():
    """Names that the page shows, with the members that it chose."""
    shown = {}
    for name, options in re.findall(r"^::: ([\w.]+)\n((?:    .*\n)*)", PAGE.read_text("utf-8"), re.MULTILINE):
        members = re.search(r"members: \[(.*)\]", options)
        shown[name] = members and [one.strip() for one in members[1].split(",") if one.strip()]
    return shown


def sections(thing):
    """The sections of a docstring by kind: names that each lists."""
    found = {}
    for section in thing.docstring.parse("google", warnings=False):
        listed = section.value if isinstance(section.value, list) else []
        found[section.kind.value] = [
            getattr(one, "name", "") or str(getattr(one, "annotation", "")) for one in listed
        ]
    return found


def errors_raised(thing):
    """Our own errors that the body raises itself, by name."""
    tree = ast.parse(inspect.cleandoc(thing.source) if thing.source[0] == " " else thing.source)
    calls = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    names = [call.func.id for call in calls if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)]
    return {name for name in names if re.search(r"Error$|^NoRoom$", name)} - {
        "NotImplementedError",
        "AssertionError",
    }


@pytest.mark.parametrize("path", PUBLIC)
def test_every_public_name_has_its_entry(path, source):
    shown, (owner, _, member) = entries(), path.rpartition(".")
    within = shown.get(owner, [])
    assert path in shown or within is None or member in within, f"docs/api.md does not show {path}"
    thing = source(path)
    if not thing.is_attribute:
        function = thing.members["__init__"] if thing.is_class else thing
        assert {*PUBLIC[path].split()} <= {one.name for one in function.parameters}


@pytest.mark.parametrize("path", PUBLIC)
def test_every_public_name_says_what_it_takes_gives_and_raises(path, source):
    thing = source(path)
    assert thing.docstring is not None, path
    said, prose = sections(thing), path.rpartition(".")[2] in IN_PROSE
    if thing.is_attribute or prose:
        return
    function = thing.members["__init__"] if thing.is_class else thing
    taken = [one.name for one in function.parameters if one.name != "self"]
    assert set(said.get("parameters", [])) == set(taken)
    gives = not thing.is_class and str(function.returns) not in ("None", "NoReturn")
    assert not gives or {"returns", "yields"} & said.keys(), f"{path} does not say what it returns"
    assert errors_raised(function) <= set(said.get("raises", []))


def test_every_entry_of_the_page_is_there(source):
    shown = entries()
    assert len(shown) > 30
    for path, members in shown.items():
        thing = source(path)
        assert thing.docstring is not None, path
        for member in members or ():
            found = thing.all_members[member]
            assert (found.final_target if found.is_alias else found).docstring is not None, f"{path}.{member}"
