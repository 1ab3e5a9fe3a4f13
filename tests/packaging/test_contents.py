"""What a wheel is made of: every package, every file beside them, and what is found of it afterwards."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from streamer import shipped
from streamer.errors import StreamerError

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]
OURS = ("bench", "musc_online", "streamer")


def place(package):
    """A package's folder in the checkout."""
    return ROOT / SETUPTOOLS["package-dir"].get(package, package.replace(".", "/"))


def carried():
    """The files that pyproject.toml has a wheel carry beside modules."""
    return {
        path
        for package, patterns in SETUPTOOLS["package-data"].items()
        for pattern in patterns
        for path in place(package).glob(pattern)
        if path.is_file()
    }


def test_each_folder_with_modules_is_a_package_of_the_wheel():
    folders = {path.parent for name in OURS for path in (ROOT / name).rglob("*.py")}
    found = {".".join(path.relative_to(ROOT).parts) for path in folders}
    assert found | {"streamer.configs"} == set(SETUPTOOLS["packages"])
    assert {path for path in folders if not (path / "__init__.py").is_file()} == set()


def test_each_file_beside_the_modules_goes_along():
    kept = {
        path
        for name in (*OURS, "configs")
        for path in (ROOT / name).rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    assert kept == {path for path in carried() if path.suffix != ".py"}
    assert {path.name for path in kept} >= {"py.typed", "published.yaml", "live.html", "line.yaml"}


def test_configurations_are_found_by_name_those_of_services_first():
    found = shipped.shipped()
    assert list(found)[:2] == ["board", "bridge-files"]
    assert found["line"] == ROOT / "configs" / "line.yaml"
    assert found["prometheus/musc-rules.yml"].is_file()
    files = {path for path in (ROOT / "configs").rglob("*") if path.is_file()}
    assert set(found.values()) == {path for path in files if not path.name.startswith("mkdocs")}


def test_those_in_a_wheel_go_before_those_of_a_checkout(tmp_path, monkeypatch):
    for place in ("inside", "beside"):
        (tmp_path / place).mkdir()
    (tmp_path / "beside" / "line.yaml").touch()
    monkeypatch.setattr(shipped, "_PLACES", (tmp_path / "inside", tmp_path / "beside"))
    assert shipped.shipped() == {"line": tmp_path / "beside" / "line.yaml"}
    (tmp_path / "inside" / "line.yaml").touch()
    assert shipped.shipped() == {"line": tmp_path / "inside" / "line.yaml"}


def test_an_installation_without_them_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "_PLACES", (tmp_path / "inside", tmp_path / "beside"))
    with pytest.raises(
        StreamerError, match=r"^configurations: .*/inside is missing; .* /path/to/musc_online-"
    ):
        shipped.shipped()


def test_a_wheel_that_is_not_installed_but_on_the_path_is_told(tmp_path):
    wheel = tmp_path / "musc_online-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("__init__.py", "errors.py", "shipped.py"):
            archive.write(ROOT / "streamer" / name, f"streamer/{name}")
        archive.write(ROOT / "configs" / "line.yaml", "streamer/configs/line.yaml")
    script = "from streamer.shipped import shipped\ntry: shipped()\nexcept Exception as error: print(error)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], env={"PYTHONPATH": str(wheel)}, capture_output=True, text=True,
        check=True, timeout=180,
    )  # fmt: skip
    assert done.stdout == (
        f"configurations: {wheel} is an archive, in which they cannot be opened; install it: "
        f"pip install {wheel}\n"
    )
