"""What people write into YAML: doubled keys, variables, numbers that are none, encodings, bombs."""

import math
from types import UnionType
from typing import Annotated, Union, get_args, get_origin

import pytest
from pydantic import BaseModel, ByteSize

from musc_online import config
from musc_online.errors import ConfigError


def loaded(tmp_path, text):
    path = tmp_path / "line.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        return config.load(path)
    except ConfigError as error:
        said = str(error)
        assert "\n" not in said
        assert said.startswith(f"{path}: ")
        return said.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ring: {capacity: 10}\nwarmup: 8\nring: {keep: 9}\n", "key 'ring' stands twice, in lines 1 and 3"),
        ("ring:\n  keep: 1\n  capacity: 10\n  keep: 2\n", "key 'keep' stands twice, in lines 2 and 4"),
        ("streams:\n- match: a\n  match: b\n", "key 'match' stands twice, in lines 2 and 3"),
        ("ring: {<<: {keep: 1}, <<: {keep: 2}}", "key '<<' stands twice, in lines 1 and 1"),
        ("ring:\n\tkeep: 3\n", "is not YAML: line 2, column 1: found character '\\t' that cannot start any "
         "token; indent with spaces"),
        ("a: b: c", "is not YAML: line 1, column 5: mapping values"),
        ("a: &a [*a]", "is not YAML: line 1, column 4: an alias stands within what it names"),
        ("a: &a {<<: *a}", "is not YAML: line 1, column 4: an alias stands within what it names"),
        ("[" * 60 + "]" * 60, "is not YAML: line 1, column 52: nested too deep"),
        ("[" * 100_000, "is nested too deep"),
        ("warmup: " + "9" * 5000, "is not YAML: Exceeds the limit"),
        ("? [1]\n: 3", "is not YAML: line 1, column 3: found unhashable key"),
        ("1: 2", "1: got 1, keys should be strings"),
        ("ring: !!python/object:os.system x", "is not YAML: line 1, column 7: could not determine"),
        ("#" * 2**20 + "#", "has more than 1048576 bytes"),
        ("history: {path: caf\xe9}".encode("cp1252"), "is not YAML: is not UTF-8: line 1 has the byte 0xe9, "
         "which is 'é' in Windows-1252; save it as UTF-8"),
        ("warmup: 3".encode("utf-16-le"), "is not YAML: holds NUL characters"),
        ("warmup: yes", "warmup: got True, expected a number or a word"),
        ("streams: [{match: no}]", "streams.0.match: got False, expected text; put it in quotes"),
        ("streams: [{match: 12}]", "streams.0.match: got 12, input should be a valid string; put it"),
        ("warmup: 1:40", "warmup: got '1:40', input should be a valid integer"),
        ("history: {path: $NOT_SET_HERE/x}", "history.path: got '$NOT_SET_HERE/x', the environment has no "
         "variable 'NOT_SET_HERE'"),
        ("ignore: $NOT_SET_HERE/x", "ignore: got '$NOT_SET_HERE/x', the environment has no variable"),
        ("history: {path: ~nobody-of-that-name/x}", "history.path: got '~nobody-of-that-name/x', expected"),
    ],
)  # fmt: skip
def test_what_is_ambiguous_or_broken_is_one_line(text, said, tmp_path):
    found = loaded(tmp_path, text)
    assert isinstance(found, str)
    assert found.startswith(said)


def test_aliases_of_aliases_are_bounded(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "aliases make more than 100000 values" in loaded(tmp_path, "\n".join(lines))
    lines = ["a0: &a0 {b: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 12)]
    assert "aliases make more than 100000 values" in loaded(tmp_path, "\n".join(lines))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_that_say_what_they_are(encoding, tmp_path):
    text = "ring:\r\n  capacity: 10\r\nhistory: {path: café}\r\n"
    found = loaded(tmp_path, text.encode(encoding))
    assert (found.ring.capacity, found.history.path.name) == (10, "café")


def test_merge_keys_and_plain_numbers(tmp_path):
    text = "ring: &r {capacity: 010, keep: 1_0}\nstreams: [{match: x, ring: {<<: *r, keep: 0x14}}]\n"
    found = loaded(tmp_path, text + "threshold: {k: 1e-3}")
    assert (found.ring.capacity, found.ring.keep, found.threshold.k) == (10, 10, 1e-3)
    assert found.streams[0].ring == {"capacity": 10, "keep": 20}


def test_paths_of_home_and_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/line")
    monkeypatch.setenv("RINGS", "/var/rings")
    found = loaded(
        tmp_path,
        "history: {path: ~/h.sqlite}\nsnapshot: {path: '${RINGS}/$$a'}\nsecurity: {keys: $HOME/keys}\n"
        "ignore: ~/$$mask.png\nbackbone: {weights: 'openai:~/clip.pt'}\n",
    )
    assert str(found.history.path) == "/home/line/h.sqlite"
    assert str(found.snapshot.path) == "/var/rings/$a"
    assert str(found.security.keys) == "/home/line/keys"
    assert str(found.ignore) == "/home/line/$mask.png"
    assert found.backbone.weights == "openai:/home/line/clip.pt"
    assert config.load(found.model_dump()) == found, "what is expanded is not expanded again"
    assert config.load(found.model_dump(mode="json")) == found, "nor by way of a file"


def test_an_empty_section_is_all_defaults(tmp_path):
    sections = [name for name, field in config.Config.model_fields.items() if is_section(field.annotation)]
    text = "".join(f"{name}:\n" for name in [*sections, "streams"])
    assert loaded(tmp_path, text) == config.load()
    assert loaded(tmp_path, "transport:\n  imagezmq_subscribe:\n") == config.load()
    assert loaded(tmp_path, "streams:\n- match: a\n  ring:\n").streams[0].ring == {}


def is_section(annotation):
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def parts(annotation):
    """Every type that a value may have, and every type of what it holds."""
    found = {annotation}
    if get_origin(annotation) in (Union, UnionType, tuple, Annotated):
        for part in get_args(annotation):
            found |= parts(part) if not isinstance(part, type(...)) else set()
    return found


def numbers(model, prefix=()):
    """Paths of all keys that hold numbers, and how deep in lists."""
    for name, field in model.model_fields.items():
        kinds = parts(field.annotation)
        for section in (kind for kind in kinds if is_section(kind)):
            yield from numbers(section, (*prefix, name))
        if kinds & {int, float, ByteSize}:
            yield (*prefix, name)


NUMBERS = list(numbers(config.Config))


@pytest.mark.parametrize("path", NUMBERS, ids=".".join)
def test_no_number_is_beyond_this_world(path):
    for value in (math.nan, math.inf, -math.inf, 10**30, "nan", True, 1e300):
        for given in (value, [value] * 3, [[[value, 0], [0, 1], [1, 1]]]):
            if (path, given) == (("ignore",), "nan"):
                continue  # the name of a file
            values = given
            for key in reversed(path):
                values = {key: values}
            with pytest.raises(ConfigError) as caught:
                config.load(values)
            assert "\n" not in str(caught.value)


def test_numbers_are_found():
    assert len(NUMBERS) > 40
    assert {("threshold", "value"), ("method", "interval"), ("method", "image_score", "worst")} <= set(
        NUMBERS
    )


@pytest.mark.parametrize("key", ["value", "k", "quantile", "false_alarms"])
@pytest.mark.parametrize("value", [math.nan, math.inf, 1e300, True])
def test_a_threshold_told_later_is_held_to_the_same(key, value):
    rule = "fixed" if key == "value" else "auto"
    with pytest.raises(ConfigError, match=f"threshold: {key}: "):
        config.threshold_rule(config.ThresholdConfig(), {"rule": rule, key: value})
