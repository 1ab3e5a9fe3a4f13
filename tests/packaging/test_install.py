"""`.ci/install`, which `make` runs: CPU builds of PyTorch where a pair works, else the usual wheels."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from packaging_support import SITE_PACKAGES, Environment, index, tiny_wheel

ROOT = Path(__file__).parents[2]
VISION = "class ops:\n    @staticmethod\n    def nms(*_):\n        pass\n"
PROJECT = """
[build-system]
requires = []
build-backend = "setuptools.build_meta"
[project]
name = "checkout"
version = "1"
[project.optional-dependencies]
{extras}
offline = ["weights==0.1.1", "reader>=1"]
[tool.setuptools]
packages = []
"""


def torch(folder, version, cuda, *, works=True):
    text = f"class version:\n    cuda = {cuda!r}\ndef zeros(*_):\n    {'return 0' if works else '1 / 0'}\n"
    return tiny_wheel(folder, "torch", version, {"torch/__init__.py": text})


def vision(folder, version, needs):
    return tiny_wheel(folder, "torchvision", version, {"torchvision/__init__.py": VISION}, [needs])


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """The usual index: the pair with GPU libraries, and what the checkout needs."""
    folder = tmp_path_factory.mktemp("usual")
    wheels = [
        torch(folder, "2.14.1", "13.0"),
        vision(folder, "0.29.1", "torch==2.14.1"),
        tiny_wheel(folder, "weights", "0.1.1", {"weights/__init__.py": ""}, ["not_wanted"]),
        tiny_wheel(folder, "reader", "1.2", {"reader/__init__.py": ""}),
    ]
    return index(folder / "index", *wheels)


@pytest.fixture
def checkout(tmp_path):
    """A checkout of a project with the extras that are installed, and an environment with pip."""
    environment = Environment(tmp_path / "environment")
    for name in ("pip", "setuptools", "_distutils_hack", "setuptools-*.dist-info"):
        there = next(SITE_PACKAGES.glob(name))
        (environment.packages / there.name).symlink_to(there)
    lines = ['detector = ["torchvision"]', 'gpu = ["torchvision"]']
    lines += [f"{name} = []" for name in ("dev", "docs", "replay", "openvino", "page", "plant")]
    folder = tmp_path / "checkout"
    (folder / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "install", folder / ".ci")
    (folder / "pyproject.toml").write_text(PROJECT.format(extras="\n".join(lines)), encoding="utf-8")
    return environment, folder


def install(checkout, usual, cpu, *arguments):
    """What was said, and the versions that are there afterwards."""
    environment, folder = checkout
    variables = {
        **os.environ,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": usual,
        "PIP_NO_BUILD_ISOLATION": "0",  # as pip reads it: none
        "TORCH_INDEX": cpu,
    }
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT", "PYTHONPATH"):
        variables.pop(name, None)
    done = subprocess.run(
        [environment.python, folder / ".ci" / "install", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=variables,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = {path.name.removesuffix(".dist-info") for path in environment.packages.glob("*.dist-info")}
    return done.stdout, sorted(one for one in found if not one.startswith("setuptools"))


def with_pair(torch_version, vision_version):
    return [
        "checkout-1",
        "reader-1.2",
        f"torch-{torch_version}",
        f"torchvision-{vision_version}",
        "weights-0.1.1",
    ]


@pytest.mark.slow
def test_cpu_builds_are_taken_in_the_pinned_versions_where_both_are_offered(checkout, usual, tmp_path):
    offers = [torch(tmp_path, f"{version}+cpu", None) for version in ("2.14.1", "2.15.0")]
    offers += [
        vision(tmp_path, "0.29.1+cpu", "torch==2.14.1"),
        vision(tmp_path, "0.30.0+cpu", "torch==2.15.0"),
    ]
    pins = tmp_path / "pins.txt"
    pins.write_text("torch==2.14.1\ntorchvision==0.29.1\nreader==1.2\nelsewhere==1\n", encoding="utf-8")
    said, found = install(checkout, usual, index(tmp_path / "cpu", *offers), "detector", "-c", str(pins))
    assert found == with_pair("2.14.1+cpu", "0.29.1+cpu")
    assert "about 2.9 GB" in said
    assert "about 7.7 GB" not in said
    assert said.splitlines()[-1].startswith("installed: ")


@pytest.mark.slow
@pytest.mark.parametrize("lacking", ["torchvision", "a pair that works"])
def test_else_the_usual_wheels_come_and_nothing_of_the_others_stays(checkout, usual, tmp_path, lacking):
    build = "0.29.1" if lacking == "torchvision" else "0.29.1+cpu"
    offers = [
        torch(tmp_path, "2.14.1+cpu", None, works=lacking == "torchvision"),
        vision(tmp_path, build, "torch==2.14.1"),
    ]
    said, found = install(checkout, usual, index(tmp_path / "cpu", *offers), "detector")
    assert found == with_pair("2.14.1", "0.29.1")
    assert "about 7.7 GB, 4.8 GB of it for PyTorch on a GPU" in said


@pytest.mark.slow
def test_with_a_gpu_the_other_index_is_not_asked(checkout, usual, tmp_path):
    offers = [torch(tmp_path, "2.14.1+cpu", None), vision(tmp_path, "0.29.1+cpu", "torch==2.14.1")]
    said, found = install(checkout, usual, index(tmp_path / "cpu", *offers), "gpu")
    assert found == with_pair("2.14.1", "0.29.1")
    assert "looking for CPU builds" not in said
