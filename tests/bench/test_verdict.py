"""bench.verdict: a stream of looked-up pairs is the stream of its tokens; draws and figures as said."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from replay_support import CONFIG
from stream_support import images

from bench import demo_data
from bench.replay.order import arrivals
from bench.verdict import command, pairs, stream, summary
from bench.verdict.draws import draws
from bench.verdict.figures import best_f1, flipped, judge, stable_after
from bench.verdict.protocol import Plan, Series, measure, with_rule
from bench.verdict.stream import Said
from musc_online import config
from musc_online.codes import decode, encode
from musc_online.detector import Detector

SETTINGS = {"output": {"map_size": 16}, "revise": {"every": 5}, "warmup": 3}


def test_a_code_is_decoded_and_encoded_to_itself():
    codes = np.arange(65535, dtype=np.uint16)  # 65535 stands for no distance
    assert np.array_equal(encode(decode(codes)), codes)


def played(tokens, class_tokens, settings, order):
    """Every score of a stream of real tokens, in the order said."""
    detector, said = Detector(settings), []
    for index in order:
        said.append(detector.step_tokens(tokens[:, index], class_tokens[index], int(index)))
        said += detector.take_finals()
        if detector.revise_due:
            said += detector.revise()
    return said + detector.flush() + detector.take_finals()


def looked_up(found, settings, order):
    detector, said = stream.detector(found, settings), []
    for index in order:
        said.append(detector.step_tokens(found.tokens(index), found.class_tokens[index], int(index)))
        said += detector.take_finals()
        if detector.revise_due:
            said += detector.revise()
    return said + detector.flush() + detector.take_finals()


NUMBERS = ("raw_score", "rscin_score", "pred_score", "threshold")
WORDS = ("frame_id", "pred_label", "state", "n_references", "revision", "is_final")
RINGS = [
    {"capacity": 40},
    {"capacity": 9},
    {"capacity": 12, "subsets": 3, "score_against": 2},
    {"capacity": 12, "admit": "below_threshold"},
]


def both_ways(n_stages, n_patches, ring, order):
    """The same stream of tokens and of pairs."""
    tokens, class_tokens = images(3, 30, n_stages, n_patches)
    settings = config.load(SETTINGS | {"ring": ring})
    found = pairs.match_all(tokens, class_tokens, settings)
    one, other = played(tokens, class_tokens, settings, order), looked_up(found, settings, order)
    assert len(one) == len(other) >= 60 - ring["capacity"]
    return zip(one, other, strict=True)


def assert_the_very_same(said):
    for theirs, ours in said:
        for name in (*NUMBERS, *WORDS):
            assert getattr(ours, name) == getattr(theirs, name), name
        if theirs.patch_scores is not None:
            assert np.array_equal(ours.patch_scores, theirs.patch_scores)


@pytest.mark.parametrize("matcher", ["gemm", "faiss"])
@pytest.mark.parametrize("ring", RINGS)
def test_a_stream_of_pairs_says_what_the_stream_of_tokens_says(matcher, ring):
    assert_the_very_same(both_ways(2, 16, ring | {"matcher": matcher}, arrivals(30, seed=2)))


@pytest.mark.parametrize("ring", RINGS)
def test_nor_does_it_differ_where_features_keep_15_bits(ring):
    """On more than a hundred patches; in the order in which the pairs were matched to the last bit."""
    assert_the_very_same(both_ways(4, 121, ring, range(30)))


@pytest.mark.parametrize("ring", RINGS)
def test_with_15_bits_another_order_moves_nothing_that_counts(ring):
    """There `gemm` multiplies the norms of the later image last: which one that is shows in the last bit."""
    for theirs, ours in both_ways(4, 121, ring, arrivals(30, seed=2)):
        assert all(getattr(ours, name) == getattr(theirs, name) for name in WORDS)
        assert ours.raw_score == pytest.approx(theirs.raw_score, abs=1e-5)
        assert ours.threshold == pytest.approx(theirs.threshold, abs=1e-4)


def test_what_was_said_first_and_last_is_kept():
    tokens, class_tokens = images(5, 20)
    settings = config.load(SETTINGS | {"ring": {"capacity": 8}})
    order = arrivals(20, seed=1)
    kept = stream.play(pairs.match_all(tokens, class_tokens, settings), settings, order)
    first, last = {}, {}
    for score in played(tokens, class_tokens, settings, order):
        first.setdefault(score.frame_id, score)
        last[score.frame_id] = score
    assert kept.arrival.labels == [first[int(index)].pred_label for index in order]
    assert kept.final.labels == [last[int(index)].pred_label for index in order]
    assert kept.final.raw.tolist() == [last[int(index)].raw_score for index in order]
    assert np.isnan(kept.arrival.raw[0])
    assert len(kept.thresholds) == 20
    assert kept.threshold == last[int(order[-1])].threshold


def test_a_flushed_stream_has_the_scores_of_the_batch():
    tokens, class_tokens = images(6, 15)
    settings = config.load(SETTINGS)
    found, order = pairs.match_all(tokens, class_tokens, settings), arrivals(15, seed=4)[:12]
    said = stream.play(found, settings, order).final.raw
    assert said.tolist() == found.batch_scores(order, settings).tolist()


def test_an_image_may_come_again_and_a_store_be_restored():
    tokens, class_tokens = images(7, 6)
    settings = config.load(SETTINGS)
    found = pairs.match_all(tokens, class_tokens, settings)
    assert stream.play(found, settings, [0, 1, 2, 2]).final.raw.shape == (4,)
    store, other = pairs.LookUp(found), pairs.LookUp(found)
    store.put(3, 5)  # a slot beyond what anyone said of a capacity
    other.restore(store.state())
    assert other.state()["images"].tolist() == [[3, 5]]
    assert store.nbytes == 0


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


def said(labels, raw):
    return Said(np.array(raw, float), labels)


def test_figures_are_of_the_frames_that_were_labelled():
    labels = [None, False, True, True, False, True]
    truth = np.array([True, False, False, True, True, True])
    figures = judge(said(labels, [9.0, 1.0, 2.0, 3.0, 2.5, 4.0]), truth)
    assert (figures.n_withheld, figures.n_missed, figures.n_false_alarms) == (1, 1, 1)
    assert figures.recall == 2 / 3
    assert figures.false_alarms == 1 / 2
    assert figures.f1 == 2 * 2 / (2 * 2 + 1 + 1)
    assert figures.best_f1 == 1.0
    assert figures.f1_over_best == figures.f1
    clean = judge(said([False, True], [1.0, 2.0]), np.array([False, False]))
    assert (clean.recall, clean.f1, clean.best_f1, clean.f1_over_best) == (None, None, None, None)
    assert clean.false_alarms == 1 / 2
    assert judge(said([None], [np.nan]), np.array([True])).f1 is None


def test_the_best_f1_is_that_of_the_best_threshold():
    rng = np.random.default_rng(0)
    for _ in range(50):
        defective, raw = rng.random(12) < 0.4, rng.integers(0, 6, 12).astype(float)
        if not defective.any():
            continue
        each = []
        for threshold in raw:
            called = raw >= threshold
            each.append(2 * (called & defective).sum() / (called.sum() + defective.sum()))
        assert best_f1(defective, raw) == pytest.approx(max(each), abs=1e-15)


def test_flips_and_stability():
    assert flipped([None, True, False, True], [True, False, False, None]) == (1, 2)
    assert stable_after([None, 1.0, 0.5, 0.52, 0.51], 0.5) == 2
    assert stable_after([0.5, 0.5], 0.5) == 0
    assert stable_after([0.5, 0.5], 1.0) == 2
    assert stable_after([None], None) is None


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
    assert cell.final["recall"] == pytest.approx(np.mean([run.final.recall for run in chosen]))
    assert cell.auroc == pytest.approx(np.mean([run.auroc for run in chosen]))
    assert len({(run.draw, run.auroc) for run in chosen}) == 2  # whatever the order
    json.dumps(summary.as_json(runs), allow_nan=False)


def test_a_headline_counts_clean_draws_for_alarms_and_separable_contaminated_ones_for_f1():
    runs = measured(("mad",))
    (headline,) = summary.headlines(runs)
    clean = [run.final.false_alarms for run in runs if run.contamination == "0"]
    assert headline.false_alarms["final"]["mean"] == pytest.approx(np.mean(clean))
    assert headline.f1_over_best["final"]["cells"] == 5
    over = [
        np.mean([run.final.f1_over_best for run in runs if run.contamination == name])
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
