"""bench.options: a row says what a replay says, and options that share tokens share a backbone run."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from replay_support import CONFIG, line  # noqa: F401  (a fixture)
from rich.console import Console

from bench import datasets
from bench.options import command, measure, named, summary
from bench.options.named import CHANGES, Option
from bench.progress import Phases
from bench.replay import order, run, scored
from bench.replay.features import extracted
from musc_online import backbones, config
from musc_online.errors import CapacityError, ConfigError, DataError
from musc_online.frames import map_shape

SMALL = config.load({"backbone": {"image_size": 56, "stages": [5, 11]}, "revise": {"every": 4}, "warmup": 3})


def phases():
    return Phases("part", Console(quiet=True))


def changed(**sections):
    return config.load(SMALL.model_dump(exclude_unset=True) | sections)


@pytest.fixture(scope="module")
def category(line):  # noqa: F811
    (found,) = datasets.read("mvtec", line, "part")
    return found


@pytest.fixture(scope="module")
def options():
    return [
        Option("published", SMALL),
        Option("block 5", changed(backbone={"image_size": 56, "stages": [5]})),
        Option("degree 1", changed(method={"degrees": [1]})),
    ]


def test_a_row_is_what_the_replay_s_parts_say(category, options):
    rows, left_out = measure.Measured(options, None, 3).rows(category, phases())
    assert [row.option for row in rows] == ["published", "block 5", "degree 1"]
    assert not left_out
    row = rows[2]
    with extracted(category.samples, backbones.load_configured(SMALL.backbone)) as features:
        settings = run.without_regions(run.ring_config(options[2].config, len(features)))
        batch = run.batch(features, settings)
        recorder = run.stream(features, settings, order.arrivals(len(features), "shuffled", 3))
    truth = scored.read_truth(category.samples, map_shape(SMALL))
    assert row.levels["batch"] == scored.levels(batch, truth)
    assert row.levels["provisional"] == scored.levels(recorder.provisional, truth)
    assert row.levels["revised"] == scored.levels(recorder.revised, truth)
    assert (row.n_images, row.n_anomalous) == (12, 4)
    assert row.verdict["final"]["n_labelled"] + row.verdict["final"]["n_withheld"] == 12
    assert min(row.backbone_ms, row.stream_ms) > 0
    assert row.as_json()["revised"]["image_raw"]["auroc"] == row.levels["revised"]["image_raw"]["auroc"]


def test_options_of_one_backbone_share_its_tokens(category, options, monkeypatch):
    calls = []

    def counted(samples, backbone, tiles, **more):
        calls.append(backbone.stages)
        return extracted(samples, backbone, tiles, **more)

    monkeypatch.setattr(measure, "extracted", counted)
    measure.Measured(options, None, 0).rows(category, phases())
    assert [tuple(stages) for stages in calls] == [(5, 11), (5,)]


def test_a_ring_that_does_not_fit_is_left_out_and_said(category, options):
    tight = Option("tight", changed(ring={"max_bytes": 1000}))
    rows, left_out = measure.Measured([tight, options[0]], None, 0).rows(category, phases())
    assert [row.option for row in rows] == ["published"]
    assert left_out[0].startswith("part: tight left out: ")
    with pytest.raises(CapacityError):
        run.stream(*_empty(category, tight))


def _empty(category, option):
    with extracted(category.samples[:2], backbones.load_configured(option.config.backbone)) as features:
        return features, run.ring_config(option.config, 2), [0, 1]


def row(category, option, auroc, pro=math.nan):
    image, pixel = {"auroc": auroc, "ap": 0.5}, {"pro": pro}
    levels = {stage: {"image": image, "image_raw": image, "pixel": pixel} for stage in measure.STAGES}
    said = {"f1_over_best": None, "false_alarms": 0.1}
    return measure.Row(category, option, 9, 3, levels, {"provisional": said, "final": said}, 80.0, 20.0)


def test_means_are_over_the_categories_that_every_option_was_measured_on():
    rows = [row("a", "x", 0.5), row("a", "y", 0.7, 0.3), row("b", "x", 0.9), row("b", "y", 0.8)]
    means = summary.means([*rows, row("c", "x", 0.1)])
    assert means["x"].revised_auroc == pytest.approx(0.7)
    assert means["y"].batch_auroc == pytest.approx(0.75)
    assert means["y"].pro == pytest.approx(0.3)  # of the one category where it is defined
    assert math.isnan(means["x"].pro)
    assert summary.as_json(means["x"])["f1_over_best"] is None
    assert summary.means([row("a", "x", 0.5), row("b", "y", 0.5)]) == {}


def test_every_named_option_is_a_configuration_and_names_are_checked(tmp_path):
    assert [option.name for option in named.chosen(None, [])] == list(CHANGES)
    assert named.chosen("published", [])[0].config == config.load()
    (tmp_path / "published.yaml").write_text("warmup: 9\n")
    (one,) = named.chosen("", [tmp_path / "published.yaml"])
    assert (one.name, one.config.warmup) == ("published", 9)
    with pytest.raises(ConfigError, match="two rows called 'published'"):
        named.chosen("published", [tmp_path / "published.yaml"])
    with pytest.raises(ConfigError, match="--only: got 'publised', expected names of published, "):
        named.chosen("publised", [])
    with pytest.raises(ConfigError, match="--only: got no name"):
        named.chosen(" ,", [])


def test_labels_are_needed(category, options):
    blind = replace(category, samples=tuple(replace(one, label=None) for one in category.samples))
    with pytest.raises(DataError, match="part: has images without a label"):
        measure.Measured(options, None, 0).rows(blind, phases())


def test_the_command_writes_tables_figures_and_plot(line, tmp_path):  # noqa: F811
    (tmp_path / "small.yaml").write_text(CONFIG)
    (tmp_path / "small-1.yaml").write_text(CONFIG + "method: {degrees: [1]}\n")
    arguments = ["mvtec", "--data", str(line), "--category", "part", "--only", "", "--limit", "10"]
    arguments += ["--config", str(tmp_path / "small.yaml"), "--config", str(tmp_path / "small-1.yaml")]
    arguments += ["--output", str(tmp_path / "out"), "--json", str(tmp_path / "figures.json")]
    done = CliRunner().invoke(command.main, arguments)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "figures.json").read_text())
    assert json.loads((tmp_path / "out" / "options.json").read_text()) == found
    assert [one["option"] for one in found["rows"]] == list(found["mean"]) == ["small", "small-1"]
    assert found["options"]["small-1"]["method"]["degrees"] == [1]
    assert found["rows"][0]["n_images"] == 10
    assert found["mean"]["small"]["revised_auroc"] == found["rows"][0]["revised"]["image_raw"]["auroc"]
    assert (tmp_path / "out" / "options.png").stat().st_size > 5000
    assert "small-1" in done.output
    wrong = CliRunner().invoke(command.main, [*arguments[:6], "nothing"])
    assert wrong.exit_code == 2
    assert "--only: got 'nothing'" in wrong.output


@pytest.mark.parametrize("name", ["line", "board", "paper"])
def test_our_own_configurations_are_rows_too(name):
    path = Path(named.__file__).parents[2] / "configs" / f"{name}.yaml"
    (one,) = named.chosen("", [path])
    assert (one.name, one.config) == (name, config.load(path))
    assert one.config != config.load()


def test_tiles_and_nearest_references_end_in_their_batch(category):
    sections = {
        "warmup": 3,
        "tiles": {"rows": 2, "cols": 2},
        "ring": {"nearest": 5},
        "method": {"degrees": [1]},
    }
    option = Option("tiles", config.load({"backbone": {"image_size": 56, "stages": [5]}, **sections}))
    ((row,), left_out) = measure.Measured([option], None, 0).rows(category, phases())
    assert not left_out
    for level in ("image_raw", "pixel"):
        for name, value in row.levels["batch"][level].items():
            assert row.levels["revised"][level][name] == pytest.approx(value, abs=1e-4)
