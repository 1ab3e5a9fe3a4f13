"""bench.speed runs, agrees with the published recipe on the scores, and reports what it measured."""

import json

import naive_nearest
import numpy as np
import pytest
from click.testing import CliRunner

from bench.speed import batch, command, report, service
from bench.speed.online import slope
from bench.speed.setup import Shape, tokens

SHAPE = Shape(n_stages=2, n_patches=16, n_channels=24)


def test_one_small_run_writes_json_and_markdown(tmp_path):
    arguments = ["--images", "6", "--ring", "5", "--patches", "16", "--channels", "24", "--stages", "2"]
    more = [
        "--rounds",
        "1",
        "--no-scaling",
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
def test_a_real_service_is_measured(monkeypatch):
    monkeypatch.setattr(service, "RUNS", service.RUNS[1:])
    found = service.measure(ring=8, frames=4, say=lambda _: None)
    (run,) = found["runs"]
    assert run["references"] == 1  # one subset of four, without the image that the arrival evicts
    assert run["of_backbone"] == pytest.approx(run["fps"] / found["backbone_fps"])
    # A frame leaves before the next has passed both: what one took is no less than what one cost.
    assert 1 / run["fps"] <= 1e-3 * run["phases_ms"]["total"]
    assert {"queue", "decode", "wait", "backbone", "match", "publish", "total"} <= run["phases_ms"].keys()


def test_a_service_run_is_reported():
    phases = {"decode": 1.0, "match": 2.0}
    run = {"name": "full ring", "references": 199, "fps": 5.0, "of_backbone": 0.25, "phases_ms": phases}
    service = {"image_size": 224, "ring": 200, "backbone_fps": 20.0, "runs": [run]}
    machine = {"processor": "x", "cores": 2, "threads": 2, "vector_instructions": ["avx2"]}
    machine |= {"float32_gemm_gflops": 100.0, "load_before": 0.1}
    shape = {"n_patches": 256, "n_channels": 384, "n_stages": 4, "degrees": [1, 3, 5]}
    page = report.markdown({"machine": machine, "shape": shape, "service": service})
    assert "0.25x" in page
    assert "| decode | 1.0 |" in page


def test_a_grid_that_is_no_square_is_one_line():
    done = CliRunner().invoke(
        command.main, ["--images", "5", "--patches", "15", "--channels", "8", "--stages", "1"]
    )
    assert done.exit_code == 2
    assert "error:" in done.output
    assert "15" in done.output
