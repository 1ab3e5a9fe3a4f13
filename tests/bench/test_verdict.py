"""bench.verdict: draws, runs and headlines are what they say; the command writes them."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from replay_support import CONFIG

from bench import demo_data
from bench.verdict import command, pairs, summary
from bench.verdict.draws import draws
from bench.verdict.protocol import Plan, Series, measure, with_rule
from musc_online import config

SETTINGS = {"output": {"map_size": 16}, "revise": {"every": 5}, "warmup": 3}


def labels_of(n_good, n_defective):
    return np.arange(n_good + n_defective) >= n_good


def test_draws_take_all_good_images_and_as_many_defective_ones_as_asked_for():
    found = draws(labels_of(95, 40), 3, seed=0)
    sizes = {draw.contamination: (draw.n_good, draw.n_defective) for draw in found}
    expected = {"0": (95, 0), "2": (95, 2), "5": (95, 5), "10": (95, 11), "20": (95, 24), "30": (93, 40)}
    assert sizes == expected | {"all": (95, 40)}
    assert [draw.contamination for draw in found].count("0") == 1  # there is nothing to choose
    assert [draw.contamination for draw in found].count("5") == 3
    for draw in found:
        assert len(set(draw.images.tolist())) == len(draw.images)
        assert labels_of(95, 40)[draw.images].tolist() == [False] * draw.n_good + [True] * draw.n_defective
    five = [set(draw.images[95:].tolist()) for draw in found if draw.contamination == "5"]
    ten = [set(draw.images[95:].tolist()) for draw in found if draw.contamination == "10"]
    assert len({frozenset(chosen) for chosen in five}) > 1
    assert all(fewer <= more for fewer, more in zip(five, ten, strict=True))
    again = draws(labels_of(95, 40), 3, seed=0)
    assert all(np.array_equal(one.images, other.images) for one, other in zip(found, again, strict=True))


def test_a_contamination_without_a_defective_image_is_left_out():
    names = [draw.contamination for draw in draws(labels_of(20, 3), 1, seed=0)]
    assert names == ["0", "5", "10", "20", "30", "all"]  # two per cent of twenty is none
    assert [draw.contamination for draw in draws(labels_of(20, 0), 2, seed=0)] == ["0", "all"]


def measured(rules=("mad", "quantile")):
    rng, truth = np.random.default_rng(1), labels_of(22, 8)
    tokens = rng.normal(size=(2, 1, 16, 24)) + 0.4 * rng.normal(size=(2, 30, 16, 24))
    tokens[:, truth, :5] += rng.normal(size=(2, 8, 5, 24))
    tokens, class_tokens = tokens.astype(np.float32), rng.normal(size=(30, 6)).astype(np.float32)
    settings = config.load(SETTINGS)
    series = [Series(rule, with_rule(settings, rule)) for rule in rules]
    found = pairs.match_all(tokens, class_tokens, settings)
    return list(measure("part", found, truth, series, Plan(n_draws=2, n_orders=2)))


def test_a_run_for_every_draw_order_and_rule_and_means_of_them():
    runs = measured()
    # 2 per cent of 22 is none; 0 and all leave nothing to choose; 30 takes all defective ones, not all good.
    per_rule = 2 * (1 + 2 + 2 + 2 + 2 + 1)
    assert len(runs) == 2 * per_rule
    cells = summary.cells(runs)
    assert [cell.contamination for cell in cells[::2]] == ["0", "5", "10", "20", "30", "all"]
    chosen = [run for run in runs if run.contamination == "20" and run.series == "mad"]
    cell = next(cell for cell in cells if cell.contamination == "20" and cell.series == "mad")
    assert cell.n_runs == 4
    assert cell.final["recall"] == pytest.approx(np.mean([run.final.rate("recall") for run in chosen]))
    assert cell.auroc == pytest.approx(np.mean([run.auroc for run in chosen]))
    assert len({(run.draw, run.auroc) for run in chosen}) == 2  # whatever the order
    json.dumps(summary.as_json(runs), allow_nan=False)


def test_a_headline_counts_clean_draws_for_alarms_and_separable_contaminated_ones_for_f1():
    runs = measured(("mad",))
    (headline,) = summary.headlines(runs)
    clean = [run.final.rate("false_alarms") for run in runs if run.contamination == "0"]
    assert headline.false_alarms["final"]["mean"] == pytest.approx(np.mean(clean))
    assert headline.f1_over_best["final"]["cells"] == 5
    over = [
        np.mean([run.final.rate("f1_over_best") for run in runs if run.contamination == name])
        for name in ("5", "10", "20", "30", "all")
    ]
    assert headline.f1_over_best["final"]["mean"] == pytest.approx(np.mean(over))
    assert headline.f1_over_best["final"]["worst"] == pytest.approx(min(over))
    inseparable = [run for run in runs if run.auroc is None or run.auroc < summary.SEPARABLE]
    (headline,) = summary.headlines(inseparable)
    assert headline.f1_over_best == {"arrival": None, "final": None}


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verdict")
    (folder / "small.yaml").write_text(CONFIG)
    data = demo_data.generate(folder / "line", n_good=9, n_defective=2, size=64)
    config_path = str(folder / "small.yaml")
    return ["mvtec", "--data", str(data), "--config", config_path, "--draws", "1", "--orders", "1"]


def test_the_command_writes_tables_figures_and_plot(line, tmp_path):
    arguments = [*line, "--rules", "mad,quantile", "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(command.main, [*arguments, "--json", str(tmp_path / "also.json")])
    assert done.exit_code == 0, done.output
    assert "false alarms" in done.output.replace("\n", " ")
    found = json.loads((tmp_path / "out" / "verdict.json").read_text())
    assert found == json.loads((tmp_path / "also.json").read_text())
    assert {run["contamination"] for run in found["runs"]} == {"0", "10", "20", "30", "all"}
    assert {run["series"] for run in found["runs"]} == {"mad", "quantile"}
    assert [headline["series"] for headline in found["headlines"]] == ["mad", "quantile"]
    assert (tmp_path / "out" / "verdict.png").stat().st_size > 5000


def test_a_rule_asked_for_by_name_that_there_is_not_is_an_error(line):
    done = CliRunner().invoke(command.main, [*line, "--rules", "mad,magic"])
    assert done.exit_code == 2
    assert "got 'magic'" in done.output
    done = CliRunner().invoke(command.main, [*line, "--rules", ","])
    assert done.exit_code == 2
    assert "--rules" in done.output


def test_a_set_without_labels_is_refused(line, tmp_path):
    data = demo_data.generate(tmp_path / "line", n_good=3, n_defective=1, size=64)
    done = CliRunner().invoke(command.main, ["folder", "--data", str(data), *line[3:]])
    assert done.exit_code == 2
    assert "without a label" in done.output
