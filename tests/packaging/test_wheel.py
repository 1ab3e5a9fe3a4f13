"""The wheel, installed where nothing of this checkout is: what a camera host has of it, and a detector."""

import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from packaging_support import ROOT, SITE_PACKAGES, Environment
from streamer_support import picture, png, server_process

pytestmark = pytest.mark.slow
NO_INDEX = (
    "No matching distribution found",
    "Connection",
    "connection",
    "Temporary failure in name resolution",
)


@pytest.fixture(scope="module")
def camera_host(built, tmp_path_factory):
    """An environment with the core alone, from the index, each part in the lowest version promised."""
    folder = tmp_path_factory.mktemp("camera-host")
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "floors"], check=True, capture_output=True, text=True
    )
    (folder / "floors.txt").write_text(done.stdout, encoding="utf-8")
    environment = Environment(folder / "environment")
    options = ("--retries", "1", "--timeout", "30", "--constraint", str(folder / "floors.txt"))
    done = environment.pip("install", *options, str(built.wheel), check=False)
    if done.returncode and any(sign in done.stderr for sign in NO_INDEX):
        pytest.skip(f"the core cannot be had from an index: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return environment


@pytest.fixture(scope="module")
def whole(built, tmp_path_factory):
    """An environment with the wheel, and all else of the environment that the tests run in."""
    environment = Environment(tmp_path_factory.mktemp("whole") / "environment")
    environment.install(built.wheel)
    environment.sees(built.needs)
    return environment


def said(done):
    """What a command that went well has printed."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_camera_host_pushes_asks_and_reads_with_the_core_at_its_floors(camera_host, tmp_path):
    (tmp_path / "frames").mkdir()
    for seed in range(4):
        (tmp_path / "frames" / f"{seed}.png").write_bytes(png(picture(seed)))
    with server_process(tmp_path) as server:
        frames, scores, asked = (server.endpoints[name] for name in ("frames", "scores", "control"))

        def run(*arguments):
            return said(camera_host.run("musc-online", *arguments, cwd=tmp_path))

        source = ("--source", "frames", "--stream", "line", "--endpoint", frames, "--control", asked)
        run("publish", *source)  # it ends well where all were scored
        status = json.loads(run("status", "--endpoint", asked, "--json"))
        assert status["streams"]["line"]["received"] == 4
        run("status", "--endpoint", asked)
        heard = json.loads(
            run("subscribe", "--endpoint", scores, "--kind", "status", "--count", "1", "--json")
        )
        assert heard["kind"] == "status"
        assert run("operate", "flush", "--stream", "line", "--endpoint", asked)
    run("keys", "keys", "--publisher", "camera-1")
    assert (tmp_path / "keys" / "server.key").is_file()
    assert run("config", "line") == (ROOT / "configs" / "line.yaml").read_text(encoding="utf-8")


def test_a_camera_host_is_small_and_has_nothing_of_the_detector(camera_host, tmp_path, capsys):
    code = "import importlib.util as u; print([n for n in ('torch', 'faiss', 'pydantic') if u.find_spec(n)])"
    assert said(camera_host.run("python", "-c", code, cwd=tmp_path)) == "[]\n"
    done = camera_host.run("musc-online", "serve", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(" is not installed; pip install 'musc-online[detector]' brings it\n")
    with capsys.disabled():
        print(f"\na camera host's environment: {camera_host.megabytes()} MB")
    assert camera_host.megabytes() < 400


def test_the_wheel_is_found_and_its_files_with_it(whole, tmp_path):
    code = (
        "import bench, musc_online, streamer; from streamer.shipped import shipped; "
        "print(bench.__file__, musc_online.__file__, streamer.__file__, shipped()['line'], sep='\\n')"
    )
    places = said(whole.run("python", "-c", code, cwd=tmp_path)).splitlines()
    assert {Path(place).parents[1] for place in places[:3]} == {whole.packages}
    assert places[3] == str(whole.packages / "streamer" / "configs" / "line.yaml")


def test_the_demo_of_the_wheel_runs_from_any_folder(whole, tmp_path):
    printed = said(whole.run("musc-online", "demo", "--output", "out", cwd=tmp_path))
    assert re.search(r"of \d+ verdicts agree", printed)
    assert list((tmp_path / "out").glob("*.png"))


def test_so_do_the_other_commands(whole, tmp_path):
    line = whole.run("musc-online", "config", "line", cwd=tmp_path)
    (tmp_path / "line.yaml").write_text(said(line), encoding="utf-8")
    replayed = whole.run(
        "musc-online", "replay", "demo", "--limit", "12", "--config", "line.yaml", cwd=tmp_path
    )
    assert replayed.returncode in (0, 1), replayed.stderr  # so few frames need not agree
    assert "AUROC" in replayed.stdout
    for command in (["musc-online", "speed"], ["musc-online", "page"], ["python", "-m", "streamer.status"]):
        assert "Usage: " in said(whole.run(*command, "--help", cwd=tmp_path))
    assert said(whole.run("musc-online", "--version", cwd=tmp_path)).startswith("musc-online 0.1.0\n")


def test_what_the_wheel_says_of_itself(built, whole, tmp_path):
    code = "import importlib.metadata as m; a = m.metadata('musc-online'); print(a.as_string())"
    about = said(whole.run("python", "-c", code, cwd=tmp_path))
    for line in ("Requires-Python: >=3.11", "License-Expression: MIT", "Classifier: Typing :: Typed"):
        assert f"\n{line}\n" in about
    assert "\n# musc-online\n" in about
    assert whole.packages != SITE_PACKAGES
    with tarfile.open(built.sdist) as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    assert {"configs/line.yaml", "streamer/page/static/live.html", "streamer/py.typed", "LICENSE"} <= names
