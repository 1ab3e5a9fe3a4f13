"""bench.speed runs, agrees with the published recipe on the scores, and reports what it measured."""

import json

import naive_nearest
import numpy as np
import pytest
from click.testing import CliRunner

from bench.speed import batch, command, options, report, runs, service
from bench.speed.online import slope
from bench.speed.setup import Shape, tokens
from musc_online import config

SHAPE = Shape(n_stages=2, n_patches=16, n_channels=24)
MACHINE = {
    "processor": "x",
    "cores": 2,
    "threads": 2,
    "vector_instructions": ["avx2"],
    "float32_gemm_gflops": 100.0,
    "load_before": 0.1,
}
SHAPE_FIGURES = {"n_patches": 256, "n_channels": 384, "n_stages": 4, "degrees": [1, 3, 5]}


def test_one_small_run_writes_json_and_markdown(tmp_path):
    arguments = ["--images", "6", "--ring", "5", "--patches", "16", "--channels", "24", "--stages", "2"]
    more = [
        "--rounds",
        "1",
        "--no-scaling",
        "--no-nearest",
        "--no-service",
        "--output",
        str(tmp_path),
        "--json",
        str(tmp_path / "figures.json"),
    ]
    done = CliRunner().invoke(command.main, [*arguments, *more])
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert json.loads((tmp_path / "speed.json").read_text()) == figures
    assert figures["batch"]["gemm"]["max_difference"] < 1e-4
    assert figures["batch"]["faiss"]["max_difference"] < 1e-4
    assert figures["online"]["ring"] == 5
    assert set(figures["online"]["phases_ms"]) == {"match", "average", "verdict"}
    assert figures["machine"]["float32_gemm_gflops"] > 0
    page = (tmp_path / "speed.md").read_text()
    for word in ("published", "faiss", "gemm", "Online", "ring of 5", "Kept per image"):
        assert word in page


def test_the_restated_recipe_gives_the_naive_distances():
    images = tokens(SHAPE, 3)
    vectors = batch.aggregated(images, SHAPE.degrees)
    forward, _ = naive_nearest.match(images[:, 0], images[:, 1:].swapaxes(0, 1), SHAPE.degrees)
    for (stage, degree), part in vectors.items():
        found = batch.nearest_to_all(part, part, 0).numpy()
        expected = forward[:, stage, SHAPE.degrees.index(degree)].T
        np.testing.assert_allclose(found[:, 1:], expected, atol=1e-4)


def test_all_images_are_scored_by_the_recipe_whatever_the_rounds():
    images = tokens(SHAPE, 7)
    result = batch.measure(images, SHAPE, rounds=3, with_faiss=False, say=lambda _: None)
    assert result["gemm"]["max_difference"] < 1e-4
    assert "faiss" not in result


def test_slope_of_a_power_is_its_exponent():
    assert slope({size: 3.0 * size**1.5 for size in (10, 20, 40)}) == pytest.approx(1.5)
    assert np.isnan(slope({10: 1.0}))


@pytest.mark.slow
def test_a_real_service_is_measured_and_the_line_s_own_configuration(monkeypatch):
    chosen = [run for run in runs.lines() if run.name == "line.yaml"]
    monkeypatch.setattr(service, "RUNS", service.RUNS[1:])
    monkeypatch.setattr(runs, "lines", lambda: chosen)
    monkeypatch.setattr(service, "_ALONE", 4)
    alone, measured = [], service._backbone_fps
    monkeypatch.setattr(
        service, "_backbone_fps", lambda *options: alone.append(measured(*options)) or alone[-1]
    )
    found = service.measure(ring=32, frames=4, with_lines=True, say=lambda _: None)
    subset, line = found["runs"]
    assert subset["references"] == 7  # one subset of four, without the image that the arrival evicts
    assert line["references"] == 28  # of more that there are
    assert found["backbone_fps"] == pytest.approx(np.mean(alone))
    for run, around in ((subset, alone[:2]), (line, alone[1:])):
        assert run["of_backbone"] == pytest.approx(run["fps"] / np.mean(around))
        # A frame leaves before the next has passed both: what one took is no less than what one cost.
        assert 1 / run["fps"] <= 1e-3 * run["phases_ms"]["total"]
        assert {"queue", "decode", "wait", "backbone", "match", "publish", "total"} <= run["phases_ms"].keys()


def test_lines_are_the_project_s_configuration_with_ports_of_their_own():
    usual, lines = runs.USUAL, {run.name: run for run in runs.lines()}
    started = {run.name: config.load(run.configuration(50)) for run in (*usual, *lines.values())}
    line = config.load(runs.__file__.replace("bench/speed/runs.py", "configs/line.yaml"))
    assert started["full ring"].ring.score_against == "all"
    assert started["4 subsets, 1 a frame"].ring.score_against == 1
    assert {run.precision for run in usual} == {"float32"}
    own = started["line.yaml"]
    assert own.method == line.method
    assert own.ring == line.ring.model_copy(update={"capacity": 50})
    assert own.backbone == line.backbone.model_copy(update={"precision": "float32"})
    assert started["line.yaml, auto"].backbone.precision == "auto"
    (large,) = [found for name, found in started.items() if "448 px" in name]
    (tiles,) = [found for name, found in started.items() if "2 x 2 tiles" in name]
    assert (large.backbone.image_size, large.tiles.count) == (448, 1)
    assert (tiles.backbone.image_size, tiles.tiles.count) == (224, 4)
    assert lines["line.yaml"].image_size == 224
    for found in started.values():
        assert found.transport.frames.endswith(":*")
        assert found.snapshot.path is None


def test_steps_in_rings_of_two_sizes_are_measured_once_both_are_full():
    found = options.nearest(SHAPE, rings=(34, 40), steps=5, repeats=2, say=lambda _: None)
    small, large = found["rings"][34], found["rings"][40]
    assert found["nearest"] == 32
    assert small["bytes"] < large["bytes"]
    assert found["step_ratio"] == pytest.approx(large["step_ms"] / small["step_ms"])
    assert found["both_ratio"] == pytest.approx(large["both_ms"] / small["both_ms"])
    for entry in (small, large):
        assert entry["both_ms"] > entry["revisions_ms"] >= 0
    page = report.markdown({"machine": MACHINE, "shape": SHAPE_FIGURES, "nearest": found})
    assert f"with revisions {found['both_ratio']:.2f}x" in page


def test_tiles_are_measured_against_one_tile():
    found = options.tiles(SHAPE, repeats=1, say=lambda _: None)
    assert found["ratio"] == pytest.approx(found["four_ms"] / found["one_ms"])
    page = report.markdown({"machine": MACHINE, "shape": SHAPE_FIGURES, "tiles": found})
    assert f"{found['ratio']:.2f}x" in page


def test_frames_of_a_line_are_the_same_in_every_ring_and_near_their_pose():
    one, other = options.Line(SHAPE), options.Line(SHAPE)
    for first, second in zip(one.frame(7), other.frame(7), strict=True):
        np.testing.assert_array_equal(first, second)
    tokens_of = np.stack([one.frame(number)[1] for number in range(60)])
    units = tokens_of / np.linalg.norm(tokens_of, axis=1, keepdims=True)
    near = units @ units.T - 2 * np.eye(60)
    assert near.max(axis=1).mean() > 0.6
    assert np.median(near) < 0.3


def test_a_service_run_is_reported():
    phases = {"decode": 1.0, "match": 2.0}
    run = {"name": "full ring", "references": 199, "fps": 5.0, "of_backbone": 0.25, "phases_ms": phases}
    service = {"image_size": 224, "ring": 200, "backbone_fps": 20.0, "runs": [run]}
    page = report.markdown({"machine": MACHINE, "shape": SHAPE_FIGURES, "service": service})
    assert "0.25x" in page
    assert "| decode | 1.0 |" in page


def test_a_grid_that_is_no_square_is_one_line():
    done = CliRunner().invoke(
        command.main, ["--images", "5", "--patches", "15", "--channels", "8", "--stages", "1"]
    )
    assert done.exit_code == 2
    assert "error:" in done.output
    assert "15" in done.output
