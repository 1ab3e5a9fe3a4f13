"""`python -m bench.replay` on bad data and bad options: one line that names it, and exit status 2."""

import json
import os
import shutil
import subprocess
import sys

import cv2
import pytest
from replay_support import call, config, line

from bench import demo_data

__all__ = ["config", "line"]


def one_image(root):
    _frames(root, 1)


def no_mask(root):
    _frames(root, 3)
    (root / "part" / "test" / "scratch").mkdir()
    (root / "part" / "ground_truth" / "scratch").mkdir(parents=True)
    shutil.copy(root / "part" / "test" / "good" / "0.png", root / "part" / "test" / "scratch" / "7.png")


def broken_image(root):
    _frames(root, 3)
    (root / "part" / "test" / "good" / "1.png").write_bytes(b"\x89PNG\r\n")


def empty(root):
    (root / "part" / "test" / "good").mkdir(parents=True)


def _frames(root, count):
    folder = root / "part" / "test" / "good"
    folder.mkdir(parents=True)
    for index in range(count):
        cv2.imwrite(str(folder / f"{index}.png"), demo_data.draw(0, index, size=64)[0])


@pytest.mark.parametrize(
    ("make", "named"),
    [(one_image, "part"), (no_mask, "7"), (broken_image, "1.png"), (empty, "part")],
)
def test_bad_data_is_one_line_that_names_it(make, named, config, tmp_path, capsys):
    make(tmp_path)
    status, _, said = call(capsys, "mvtec", "--data", tmp_path, "--config", config)
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert status == 2
    assert named in line
    assert "Traceback" not in said


def test_skip_bad_goes_on_without_what_cannot_be_read_and_names_it(line, config, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(line, data)
    test, masks = data / "part" / "test", data / "part" / "ground_truth"
    defect = next(folder.name for folder in sorted(test.iterdir()) if folder.name != "good")
    good, bad = sorted((test / "good").iterdir()), sorted((test / defect).iterdir())
    good[0].write_bytes(good[0].read_bytes()[:200])
    good[1].write_bytes(b"")
    mask = next((masks / defect).glob(f"{bad[0].stem}*"))
    mask.write_bytes(mask.read_bytes()[:60])
    status, out, said = call(capsys, "mvtec", "--data", data, "--config", config)
    assert status == 2
    assert said.splitlines()[-1].startswith(f"error: {mask}: cannot be decoded")
    status, out, said = call(
        capsys, "mvtec", "--data", data, "--config", config, "--skip-bad", "--json", tmp_path / "a.json"
    )
    assert status == 0, said
    (entry,) = json.loads((tmp_path / "a.json").read_text())["categories"]
    assert (entry["n_images"], entry["n_anomalous"]) == (9, 3)
    unread, mask_line, empty = entry["left_out"]
    unread, mask_line = sorted((unread, mask_line), key=lambda one: "test/good" not in one)
    why = "cannot be decoded (the png is truncated or damaged (it ends within a chunk))"
    assert unread.startswith(f"test/good/{good[0].name} ({why}")
    assert mask_line.startswith(f"test/{defect}/{bad[0].name} ({mask}: cannot be decoded")
    assert empty == f"test/good/{good[1].name} (no bytes)"
    assert "part: 9 images, 6 normal, 3 anomalous" in said.splitlines()
    assert any(row.startswith("  9 images: 6 normal, 3 anomalous; 3 left out: ") for row in out.splitlines())


def test_a_set_without_a_normal_image_is_measured_and_what_is_undefined_is_said(
    line, config, tmp_path, capsys
):
    shutil.copytree(line, tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "part" / "test" / "good")
    arguments = ["mvtec", "--data", tmp_path / "data", "--config", config, "--json", tmp_path / "a.json"]
    status, out, said = call(capsys, *arguments, "--output", tmp_path / "out")
    assert status == 0, said
    (entry,) = json.loads((tmp_path / "a.json").read_text())["categories"]
    assert (entry["n_images"], entry["n_anomalous"]) == (4, 4)
    assert entry["batch"]["image"]["auroc"] is None
    assert entry["batch"]["pixel"]["auroc"] is not None
    assert "part: 4 images, 0 normal, 4 anomalous" in said.splitlines()
    assert any("undefined, no normal image: batch image.auroc" in row for row in out.splitlines())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["mvtec"], "--data: missing"),
        (["mvtec", "--data", "nowhere"], "nowhere"),
        (["flowers", "--data", "."], "flowers"),
        (["demo", "--capacity", "1"], "--capacity: got '1'"),
        (["demo", "--capacity", "20,most"], "--capacity: got 'most'"),
        (["demo", "--seeds", "0,0"], "--seeds: got '0,0'"),
        (["demo", "--limit", "1"], "--limit"),
        (["demo", "--save", "maps,map"], "--save: got 'map', expected maps, overlays, masks"),
        (["demo", "--save", "maps"], "--save: there is no --output"),
        (["demo", "--config", "no.yaml"], "no.yaml: cannot be read"),
        (["demo", "--wrong"], "--wrong"),
        (["mvtec", "--data", ".", "--output", "/dev/null/report"], "/dev/null/report: cannot be written"),
        (["mvtec", "--data", ".", "--json", "/dev/null/out.json"], "/dev/null/out.json: cannot be written"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(arguments, named, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, said = call(capsys, *arguments)
    assert status == 2
    assert out == ""
    assert len(said.splitlines()) == 1
    assert said.startswith("error: ")
    assert named in said


def test_expecting_what_nobody_published_is_said(line, config, capsys):
    status, _, said = call(
        capsys, "mvtec", "--data", line, "--config", config, "--limit", 3, "--expect", "published"
    )
    assert status == 2
    assert "nothing is published for mvtec part" in said.splitlines()[-1]


@pytest.mark.slow
def test_neither_a_reader_that_leaves_nor_a_terminal_is_a_verdict(config, line):
    """Both were exit status 1, as if parity did not hold."""
    command = [sys.executable, "-m", "bench.replay", "mvtec", "--data", str(line), "--config", str(config)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, capture_output=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(
        command, check=False, stdout=writes, stderr=subprocess.PIPE, env=environment, timeout=300
    )
    os.close(writes)
    assert done.returncode == 141
    assert b"Traceback" not in done.stderr
