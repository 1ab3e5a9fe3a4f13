"""bench.cost: what is scored against fewer subsets uses fewer references, and all of them is the batch."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from replay_support import CONFIG
from rich.progress import Progress

from bench import cost, demo_data
from bench.replay import run, scored
from bench.replay.features import Features
from musc_online import config

SETTINGS = config.load({"backbone": {"image_size": 28}, "revise": {"every": 5}, "warmup": 3})


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((1, 1, 16, 8)) + 0.5 * rng.standard_normal((1, 16, 16, 8))
    tokens[:, 12:] += rng.standard_normal((1, 4, 16, 8))
    class_tokens = rng.standard_normal((16, 8)).astype(np.float32)
    return Features(tokens.astype(np.float32), class_tokens, ((28, 28),) * 16)


def test_rows_are_means_over_the_seeds_and_all_subsets_are_the_batch(features):
    truth = scored.Truth((np.arange(16) >= 12).astype(int), None)
    rows = cost.sweep(features, truth, SETTINGS, 4, [0, 1], Progress(disable=True))
    single = [cost.sweep(features, truth, SETTINGS, 4, [seed], Progress(disable=True)) for seed in (0, 1)]
    batch = scored.levels(run.batch(features, SETTINGS), truth)
    assert [row.score_against for row in rows] == [1, 2, 3, 4]
    # An arrival in the last three quarters of 16 has 4 to 15 frames before it, of which it sees so many.
    assert rows[-1].references == pytest.approx(np.mean(range(4, 16)))
    assert rows[0].references < rows[1].references < rows[2].references < rows[3].references
    assert rows[-1].revised_auroc == pytest.approx(batch["image_raw"]["auroc"])
    assert rows[-1].revised_rscin_auroc == pytest.approx(batch["image"]["auroc"])
    for row, one, other in zip(rows, *single, strict=True):
        assert row.provisional_auroc == pytest.approx((one.provisional_auroc + other.provisional_auroc) / 2)


def test_the_command_writes_table_figures_and_plot(tmp_path):
    data = demo_data.generate(tmp_path / "line", n_good=6, n_defective=2, size=64)
    (tmp_path / "small.yaml").write_text(CONFIG)
    arguments = ["mvtec", "--data", str(data), "--category", "part", "--subsets", "2", "--seeds", "0"]
    arguments += ["--config", str(tmp_path / "small.yaml"), "--output", str(tmp_path / "cost")]
    done = CliRunner().invoke(cost.main, arguments)
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "cost" / "cost.json").read_text())
    table = (tmp_path / "cost" / "cost.md").read_text().splitlines()
    assert [row["score_against"] for row in rows] == [1, 2]
    assert table[-1].startswith(
        f"| 2 | {rows[1]['references']:.0f} | {100 * rows[1]['provisional_auroc']:.1f} "
    )
    assert (tmp_path / "cost" / "cost.png").stat().st_size > 5000
    wrong = CliRunner().invoke(cost.main, [*arguments[:4], "nothing", *arguments[5:]])
    assert wrong.exit_code == 2
    assert "no category 'nothing'" in wrong.output
