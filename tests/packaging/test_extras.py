"""Which extra brings a module: held to pyproject.toml and to what the code imports."""

import ast
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from streamer import extras

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OURS = {"bench", "musc_online", "streamer"}
CORE = {"click", "cv2", "msgpack", "numpy", "rich", "zmq"}
# Distributions whose module has another name, or that bring another's module along.
OF = {
    "PIL": "pillow",
    "faiss": "faiss-cpu",
    "llvmlite": "numba",
    "open_clip": "open-clip-torch",
    "paho": "paho-mqtt",
    "pydantic_core": "pydantic",
    "sklearn": "scikit-learn",
    "starlette": "fastapi",
    "torchvision": "open-clip-torch",
    "yaml": "pyyaml",
}


def asked(texts):
    """Distributions of requirements, those of our own extras among them."""
    found = set()
    for one in map(Requirement, texts):
        if one.name == PROJECT["name"]:
            found |= {name for extra in one.extras for name in asked(of_extra(extra))}
        else:
            found.add(canonicalize_name(one.name))
    return found


def of_extra(extra):
    return PROJECT["optional-dependencies"][extra]


def brings(extra, module):
    """Whether an extra, or what it asks for, brings a module."""
    return OF.get(module, canonicalize_name(module)) in asked(of_extra(extra))


@cache
def imported():
    """Top-level modules of others that our code imports anywhere, each with the file of ours."""
    paths = [path for package in OURS for path in (ROOT / package).rglob("*.py")]
    found = {(path.relative_to(ROOT).as_posix(), top) for path in paths for top in tops(path)}
    return {(path, top) for path, top in found if top not in OURS and top not in sys.stdlib_module_names}


def tops(path):
    """Top-level modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (one.name.partition(".")[0] for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize(
    ("extra", "module"), [(extra, module) for extra, modules in extras.BROUGHT.items() for module in modules]
)
def test_an_extra_brings_the_modules_that_it_is_named_for(extra, module):
    assert brings(extra, module)


def test_every_module_that_the_code_imports_is_of_the_core_or_of_an_extra():
    unknown = {
        (path, module)
        for path, module in imported()
        if module not in CORE and extras.extra_of(module) is None
    }
    assert unknown == set()


def test_the_core_is_what_a_camera_host_needs_and_no_extra_names_it():
    assert {extras.extra_of(module) for module in CORE} == {None}
    assert len(PROJECT["dependencies"]) == len(CORE)


@pytest.mark.parametrize(
    ("folder", "extra"),
    [
        ("streamer/page", "page"),
        ("streamer/bridges", "plant"),
        ("streamer/bridges/files", "bridge"),
        ("streamer/bridges/mqtt", "mqtt"),
        ("streamer/bridges/webhook", "webhook"),
        ("streamer/bridges/opcua", "opcua"),
        ("streamer/sources", "plant"),
        ("musc_online", "all"),
        ("bench", "all"),
    ],
)
def test_a_part_imports_only_what_its_own_extra_brings(folder, extra):
    beyond = {
        (path, module)
        for path, module in imported()
        if path.startswith(f"{folder}/")
        and module not in CORE
        and extras.extra_of(module) not in ("dev", "offline")  # measured or tested with, or beside them
        and not brings(extra, module)
    }
    assert beyond == set()


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("faiss", "faiss is not installed; pip install 'musc-online[detector]' brings it"),
        ("paho.mqtt.client", "paho.mqtt.client is not installed; pip install 'musc-online[mqtt]' brings it"),
        ("no_such_module", "no_such_module is not installed"),
    ],
)
def test_a_missing_module_is_told_with_what_brings_it(module, line):
    assert extras.not_installed(module) == line


def test_a_part_that_knows_its_extra_names_that():
    line = extras.not_installed("pydantic", "page")
    assert line == "pydantic is not installed; pip install 'musc-online[page]' brings it"
