"""What each command says where only the core is installed: it works, or names the extra that it lacks."""

import subprocess
import sys
from pathlib import Path

import pytest

# Wrong data is told before what is missing.
PICTURES = str(Path(__file__).parents[2] / "docs" / "images")

# As if no extra were installed: an import of what one brings finds nothing.
CORE_ONLY = """
import sys
from streamer.extras import BROUGHT

for modules in BROUGHT.values():
    for module in modules:
        sys.modules[module] = None
from musc_online.__main__ import main
main()
"""


def core(*arguments, cwd):
    command = [sys.executable, "-c", CORE_ONLY, *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd, timeout=180)


@pytest.fixture(autouse=True)
def this_checkout(monkeypatch, request):
    """The commands run elsewhere, and import this."""
    monkeypatch.setenv("PYTHONPATH", str(request.config.rootpath))


@pytest.mark.parametrize(
    "command", ["publish", "subscribe", "status", "operate", "keys", "config", "completion"]
)
def test_a_camera_host_needs_no_extra(command, tmp_path):
    done = core(command, "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["serve"], "detector"),
        (["demo"], "detector"),
        (["speed"], "detector"),
        (["load"], "detector"),
        (["replay", "demo"], "detector,replay"),
        (["verdict", "folder", "--data", PICTURES], "detector,replay"),
        (["options", "folder", "--data", PICTURES], "detector,replay"),
        (["page"], "page"),
        (["bridge", "files", "--config", "bridge.yaml"], "bridge"),
        (["bridge", "mqtt", "--config", "bridge.yaml"], "mqtt"),
        (["bridge", "webhook", "--config", "bridge.yaml"], "webhook"),
        (["bridge", "opcua", "--config", "bridge.yaml"], "opcua"),
    ],
    ids=lambda given: given if isinstance(given, str) else given[0],
)
def test_another_command_names_the_extra_in_one_line(arguments, extra, tmp_path):
    done = core(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.endswith(f" is not installed; pip install 'musc-online[{extra}]' brings it\n")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


# As if all were installed but Ray.
WITHOUT_RAY = """
import sys

sys.modules["ray"] = None
import bench.load.command
import bench.speed.command
import streamer.server.service
from musc_online.__main__ import main
main()
"""


def test_without_ray_its_engine_is_one_line_and_the_other_loads(tmp_path):
    command = [sys.executable, "-c", WITHOUT_RAY, "serve", "--engine", "ray"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path, timeout=180)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: ray is not installed; pip install 'musc-online[ray]' brings it\n"
