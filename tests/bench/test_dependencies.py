"""What may be installed: no floor below a known hole, and the tested versions are all named and above it."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NAMED = re.compile(r"[\w.-]+(?:>=|==)[\d.]+")
ADVISORIES = yaml.safe_load((ROOT / ".ci" / "advisories.yaml").read_text(encoding="utf-8"))


def requirements():
    project = PROJECT["project"]
    lists = [
        PROJECT["build-system"]["requires"],
        project["dependencies"],
        *project["optional-dependencies"].values(),
    ]
    return [Requirement(text) for part in lists for text in part]


def floor(requirement):
    """The lowest version that is admitted, as it is written."""
    versions = [
        Version(one.version.removesuffix(".*"))
        for one in requirement.specifier
        if one.operator in (">=", "==")
    ]
    return max(versions, default=Version("0"))


def below(requirement):
    """Advisories that the requirement admits."""
    name = canonicalize_name(requirement.name)
    return [
        one["id"]
        for one in ADVISORIES
        if one["package"] == name and floor(requirement) < Version(one["fixed"])
    ]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_no_floor_is_below_a_known_hole(requirement):
    assert below(requirement) == []


def test_a_floor_below_one_is_found():
    assert below(Requirement("torch>=2.4")) == ["CVE-2026-24747", "CVE-2025-32434"]
    assert below(Requirement("opencv-python-headless>=4.9")) == ["CVE-2025-53644"]
    assert "CVE-2024-28219" in below(Requirement("Pillow"))


def test_each_advisory_is_of_something_we_ask_for():
    asked = {canonicalize_name(requirement.name) for requirement in requirements()}
    assert {one["package"] for one in ADVISORIES} <= asked
    assert all(one.keys() == {"package", "fixed", "id", "what"} for one in ADVISORIES)


def test_the_tested_versions_are_those_of_all_we_ask_for():
    lines = (ROOT / ".ci" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {
        canonicalize_name(one.name): one
        for one in map(Requirement, filter(lambda line: line[0] != "#", lines))
    }
    elsewhere = {"faiss-gpu", "setuptools", PROJECT["project"]["name"]}
    for requirement in requirements():
        name = canonicalize_name(requirement.name)
        if name not in elsewhere:
            assert requirement.specifier.contains(str(floor(pinned[name]))), name
    assert not any(below(pin) for pin in pinned.values())


def test_what_pages_and_containers_install_by_name_is_above_the_holes_too():
    """A line for people, and what `make` does not take from pyproject.toml."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "configs" / "Containerfile"]
    lines = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines()]
    texts = [text for line in lines if "pip " in line for text in NAMED.findall(line)]
    assert len(texts) > 3
    assert [text for text in texts if below(Requirement(text))] == []
