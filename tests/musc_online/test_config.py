"""Configuration: defaults, freezing, and one-line errors that name the key, the value and what is allowed."""

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from musc_online import config
from musc_online.config_errors import one_line
from musc_online.errors import ConfigError

FOLDER = Path(__file__).parents[2] / "configs"
OTHERS = {FOLDER / "page.yaml", *FOLDER.glob("bridge-*.yaml")}  # of other commands
CONFIGS = sorted(set(FOLDER.glob("*.yaml")) - OTHERS)


def test_defaults_are_those_of_the_design():
    assert config.load({}).model_dump(
        include={"backbone", "method", "ring", "rscin", "revise", "warmup"}
    ) == {
        "backbone": {
            "name": "dinov2_vits14",
            "weights": "auto",
            "image_size": 224,
            "stages": (2, 5, 8, 11),
            "device": "auto",
            "precision": "float32",
            "activation": "auto",
        },
        "method": {"degrees": (1, 3, 5), "interval": (0.0, 0.3), "position": None, "image_score": "max"},
        "ring": config.load().ring.model_dump() | {"capacity": 200, "subsets": 1, "max_bytes": 4 * 2**30},
        "rscin": {"neighbour_counts": (1, 2, 3), "normalise": True},
        "revise": {"every": 20, "window": 200},
        "warmup": 8,
    }


def test_of_several_things_that_are_wrong_a_key_that_is_unknown_comes_first():
    """What is missing beside it is likely what was meant."""

    class Address(BaseModel):
        model_config = ConfigDict(extra="forbid")
        url: str

    with pytest.raises(ValidationError) as error:
        Address.model_validate({"uri": "x"})
    line = one_line(error.value, Address)
    assert line == "unknown key 'uri'; did you mean 'url'? allowed here: url (and 1 more)"


def test_configuration_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        config.load({}).ring.capacity = 3


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_configuration_loads(path):
    assert config.load(path) != config.load({})


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            {"ring": {"capcity": 3}},
            "unknown key 'ring.capcity'; did you mean 'capacity'? allowed here: capacity",
        ),
        ({"rings": {}}, "unknown key 'rings'; did you mean 'ring'?"),
        ({"ring.capacity": 5}, "unknown key 'ring.capacity'; allowed here"),
        ({"limits": {"rate-": 5}}, "unknown key 'limits.rate-'; did you mean 'rate'?"),
        ({"a\x1b[31m\n": 1}, r"unknown key 'a\x1b[31m\n'"),
        ({"ring": {"capacity": -3}}, "ring.capacity: got -3, input should be greater than or equal to 2"),
        ({"ring": {"capacity": "many"}}, "ring.capacity: got 'many', input should be a valid integer"),
        ({"ring": {"subsets": 9, "capacity": 4}}, "subsets: got 9, expected at most capacity (4)"),
        ({"ring": {"score_against": 2}}, "score_against: got 2, expected 'all' or at most subsets (1)"),
        ({"ring": {"max_bytes": "4 GiBs"}}, "ring.max_bytes: got '4 GiBs'"),
        ({"ring": 3}, "ring: got 3"),
        ({"method": {"degrees": [2]}}, "method.degrees: got [2], expected distinct odd numbers"),
        ({"method": {"interval": [0.5, 0.1]}}, "expected [low, high] with 0 <= low < high <= 1"),
        ({"threshold": {"rule": "fixed"}}, "value: missing, expected a raw score"),
        ({"backbone": {"precision": "half"}}, "backbone.precision: got 'half'"),
        ({"backbone": {"activation": "relu"}}, "backbone.activation: got 'relu'"),
        (
            {"engine": {"backbone_gpus": 1.5}},
            "engine.backbone_gpus: got 1.5, expected a share up to 1 or a whole number: Ray divides no more",
        ),
        ({"engine": {"line_gpus": 2.25}}, "engine.line_gpus: got 2.25, expected a share up to 1 or a whole"),
        ({"limits": {"sleep_after_s": -1}}, "limits.sleep_after_s: got -1, input should be greater"),
        (
            {"limits": {"sleep_after_s": 60}},
            ": limits.sleep_after_s: got 60 without snapshot.path, the folder",
        ),
    ],
)
def test_wrong_keys_and_values_are_one_line(values, says, tmp_path):
    path = tmp_path / "line.yaml"
    path.write_text(yaml.safe_dump(values))
    for source, origin in ((values, "config: "), (path, f"{path}: ")):
        with pytest.raises(ConfigError) as caught:
            config.load(source)
        assert says in str(caught.value)
        assert str(caught.value).startswith(origin)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("gpus", [0, 0.25, 1, 2, 8.0])
def test_gpus_that_ray_can_hand_out(gpus):
    engine = config.load({"engine": {"backbone_gpus": gpus, "line_gpus": gpus}}).engine
    assert (engine.backbone_gpus, engine.line_gpus) == (gpus, gpus)


@pytest.mark.parametrize(
    ("limits", "folder", "after_s"),
    [
        ({}, None, None),
        ({}, "rings", 3600.0),
        ({"sleep_after_s": None}, "rings", None),
        ({"sleep_after_s": 0}, None, None),
        ({"sleep_after_s": 1.5}, "rings", 1.5),
    ],
)
def test_streams_sleep_where_there_is_a_folder_for_their_rings(limits, folder, after_s):
    values = {"limits": limits, "snapshot": {"path": folder}}
    assert config.load(values).sleep_after_s == after_s


@pytest.mark.parametrize(
    ("text", "says"), [("a: [", "is not YAML"), ("- 1", "got a list"), (b"\xff\xfe\x00a\x00", "is not YAML")]
)
def test_files_that_are_no_configuration(text, says, tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=says):
        config.load(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path / "missing.yaml")
