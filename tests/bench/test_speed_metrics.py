"""What `bench.speed metrics` compares must be equal; how fast it is is not tested."""

import json

import naive_metrics as naive
import numpy as np
import pytest
from click.testing import CliRunner

from bench.speed import command, metrics


def test_both_sides_agree_on_every_metric():
    result = metrics.run(n_images=6, size=96, seed=3)
    difference = result["max_abs_difference"]
    assert set(difference) == {"auroc", "f1_max", "ap", "pro"}
    assert max(difference.values()) < 1e-6
    assert result["n_pixels"] == 6 * 96 * 96
    seconds = result["seconds"]
    assert result["ratio"] == pytest.approx((seconds["sklearn"] + seconds["pro_loop"]) / seconds["ours"])


def test_the_baseline_is_the_published_formula():
    masks, maps = metrics.synthetic(4, 80)
    assert metrics.pro_loop(masks, maps) == pytest.approx(naive.published_pro(masks, maps), abs=1e-3)


def test_synthetic_maps_are_seeded_and_look_like_a_category():
    masks, maps = metrics.synthetic(9, 120, seed=1)
    again = metrics.synthetic(9, 120, seed=1)
    np.testing.assert_array_equal(masks, again[0])
    np.testing.assert_array_equal(maps, again[1])
    assert (masks.dtype, maps.dtype) == (np.uint8, np.float32)
    assert masks.any(axis=(1, 2)).sum() == 6
    assert 0.001 < masks.mean() < 0.2


def test_the_command_prints_a_table_and_writes_json(tmp_path):
    path = tmp_path / "new" / "metrics.json"
    result = CliRunner().invoke(
        command.main, ["metrics", "--images", "4", "--size", "80", "--json", str(path)]
    )
    assert result.exit_code == 0, result.output
    assert "4 maps of 80 x 80" in result.output
    assert "faster" in result.output
    assert set(json.loads(path.read_text())["seconds"]) == {"ours", "sklearn", "pro_loop"}
