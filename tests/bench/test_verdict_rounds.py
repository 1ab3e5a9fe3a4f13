"""bench.verdict --changeover, --clean and --confirmed: who watches, what is counted; and all as commands."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from replay_support import CONFIG

from bench import demo_data
from bench.datasets import read, read_frame
from bench.metrics.labels import judge
from bench.verdict import changeover, clean, command, confirmed, pairs, rounds, stream
from bench.verdict.draws import ALL, Draw, draws
from bench.verdict.protocol import Plan, Series
from musc_online import config
from musc_online.errors import ConfigError

SETTINGS = {"output": {"map_size": 16}, "revise": {"every": 5}, "warmup": 3}


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    folder = tmp_path_factory.mktemp("line")
    (folder / "small.yaml").write_text(CONFIG)
    data = demo_data.generate(folder / "line", n_good=6, n_defective=3, size=64)
    (category,) = read("mvtec", data)
    shutil.copytree(data / category.name, data / "other")
    return data, category, folder / "small.yaml"


def test_every_round_shows_every_image_once():
    shown = rounds.shown(5, 13, seed=0)
    assert [sorted(shown[start : start + 5]) for start in (0, 5)] == [[0, 1, 2, 3, 4]] * 2
    assert len(set(shown[10:])) == 3
    order = rounds.order(5, 13, seed=1)
    assert [sorted(order[start : start + 5]) for start in (0, 5, 10)] == [
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8, 9],
        [10, 11, 12],
    ]
    assert order.tolist() != rounds.order(5, 13, seed=2).tolist()


def test_pictures_are_jittered_only_where_one_comes_again(line):
    _, category, _ = line
    good = rounds.good(category)
    assert [sample.label for sample in good] == [0] * 6
    with rounds.pictures(good, rounds.shown(6, 5, 0), 0) as once:
        assert set(once) <= set(good)
    with rounds.pictures(good, rounds.shown(6, 12, 0), 0) as twice:
        frames = [read_frame(sample.path) for sample in twice]
        first = twice[0].path
    assert not first.exists()
    assert len({frame.tobytes() for frame in frames}) == 12


def of_labels(arrival, final=None, events=()):
    """A stream of which such labels were said; raw scores do not count."""
    said = [
        stream.Said(np.arange(len(arrival), dtype=float), labels) for labels in (arrival, final or arrival)
    ]
    return stream.Stream(*said, [], None, list(events))


def event(kind, group=1):
    return SimpleNamespace(kind=kind, group=group)


def test_a_clean_line_is_all_false_alarms():
    told = [(1, event("repeat")), (2, event("drift")), (4, event("repeat"))]
    found = clean.summed(
        "c", "auto", 0, 3, of_labels([None, True, False, False, True], [False] * 4 + [True], told)
    )
    assert found.events == {"repeat": 2, "changeover": 0, "drift": 1, "frozen": 0}
    assert (found.n_frames, found.n_withheld, found.arrival, found.final) == (5, 1, 0.5, 0.2)
    json.dumps([found.as_json(), clean.summed("c", "a", 0, 1, of_labels([None])).as_json()], allow_nan=False)


class Line:
    """A detector as an operator knows it: `accept` takes the group away and calls its frames good."""

    def __init__(self, *groups):
        self.events = SimpleNamespace(groups=dict.fromkeys(groups))
        self.operators = self
        self.window = SimpleNamespace(entries={0: SimpleNamespace(truth=None)})

    def accept(self, group):
        del self.events.groups[group]
        self.window.entries[0].truth = False


def test_the_first_changeover_after_the_change_is_accepted():
    watching, line = changeover.Accepting(2, by_itself=False), Line(1, 4, 5)
    watching.after(1, [event("changeover", 1)], line)
    watching.after(2, [event("repeat", 5)], line)
    watching.after(3, [event("changeover", 4)], line)
    watching.after(4, [event("changeover", 5)], line)
    assert (watching.n_early, watching.event_at, watching.accepted_at) == (1, 3, 3)
    assert list(line.events.groups) == [1, 5]


def test_a_line_that_accepts_by_itself_is_watched():
    watching, line = changeover.Accepting(2, by_itself=True), Line(4)
    watching.after(3, [event("changeover", 4)], line)
    assert (watching.event_at, watching.accepted_at) == (3, None)
    line.accept(4)
    watching.after(5, [], line)
    watching.after(6, [], line)
    assert watching.accepted_at == 5


def test_a_group_whose_frames_have_left_was_not_accepted():
    watching, line = changeover.Accepting(2, by_itself=True), Line(4, 6)
    watching.after(3, [event("changeover", 4)], line)
    del line.events.groups[4]
    watching.after(5, [], line)
    assert watching.accepted_at is None
    watching.after(7, [event("changeover", 6)], line)
    line.accept(6)
    watching.after(8, [], line)
    assert (watching.event_at, watching.accepted_at) == (3, 8)


def test_what_is_measured_begins_when_the_ring_has_settled():
    change, accepted = 4, 9
    first = accepted + changeover.SETTLING
    arrival = [False, True, None, False] + [True] * (first - change) + [True, False, False, False]
    final = [False] * first + [None, True, True, False]
    watching = changeover.Accepting(change, by_itself=False)
    watching.event_at, watching.accepted_at = 8, accepted
    found = changeover.summed(("a", "b", "auto"), 0, watching, of_labels(arrival, final))
    assert (found.n_first, found.n_second, found.n_measured) == (4, first, 4)
    assert (found.event_after, found.accepted_after) == (5, 6)
    assert found.second == pytest.approx((first - change + 1) / (first - change + 4))
    assert (found.before, found.arrival, found.final) == (1 / 3, 1 / 4, 2 / 3)
    never = changeover.summed(
        ("a", "b", "auto"), 0, changeover.Accepting(change, by_itself=False), of_labels(arrival)
    )
    assert (never.event_after, never.accepted_after, never.n_measured, never.arrival) == (None, None, 0, None)
    json.dumps([found.as_json(), never.as_json()], allow_nan=False)


def two_products(rng, n_first, n_second):
    """Tokens of parts of one product, then of another, each with a scatter of its own."""
    products = rng.normal(size=(2, 2, 1, 16, 24))
    tokens = np.concatenate([np.repeat(products[0], n_first, 1), np.repeat(products[1], n_second, 1)], axis=1)
    return (tokens + 0.2 * rng.normal(size=tokens.shape)).astype(np.float32)


@pytest.mark.parametrize("enough", [None, 12])
def test_a_real_detector_is_told_and_settles(enough):
    tokens = two_products(np.random.default_rng(0), 60, 80)
    settings = config.load(SETTINGS | {"ring": {"admit": "quarantine"}})
    if enough is not None:
        settings = changeover.accepting_after(settings, enough)
    found = pairs.match_all(tokens, np.zeros((140, 4), np.float32), settings)
    watching = changeover.Accepting(60, by_itself=enough is not None)
    played = stream.play(found, settings, changeover.sequence(60, 80, 80, 0), {}, watching)
    told = changeover.summed(("a", "b", "auto"), 0, watching, played)
    assert told.n_early == 0
    assert 8 <= told.event_after <= 12
    assert told.event_after <= told.accepted_after <= 14
    assert told.n_measured == 80 - told.accepted_after + 1 - changeover.SETTLING
    assert told.arrival < 0.2
    with pytest.raises(ConfigError, match="accept_after"):
        changeover.accepting_after(settings, 3)


def part(n_good=24, n_defective=12):
    rng, n = np.random.default_rng(1), n_good + n_defective
    truth = np.arange(n) >= n_good
    tokens = rng.normal(size=(2, 1, 16, 24)) + 0.4 * rng.normal(size=(2, n, 16, 24))
    tokens[:, truth, :4] += 0.5 * rng.normal(size=(2, n_defective, 4, 24))
    return tokens.astype(np.float32), rng.normal(size=(n, 6)).astype(np.float32), truth


def test_only_draws_with_enough_of_both_are_confirmed():
    labels = np.arange(60) >= 40
    names = [draw.contamination for draw in confirmed.eligible(draws(labels, 1, 0), 10)]
    assert names == ["20", "30", ALL]  # ten in forty-four; ten per cent are four


def test_frames_are_chosen_of_those_that_the_ring_holds():
    truth = np.array([False, True] * 10)
    chosen = confirmed.choose(np.arange(8, 20), truth, 4, seed=0)
    assert min(chosen) >= 8
    assert [bool(truth[frame]) for frame in chosen] == [False] * 4 + [True] * 4
    assert len(set(chosen)) == 8
    assert chosen != confirmed.choose(np.arange(8, 20), truth, 4, seed=1)
    assert len(confirmed.choose(np.arange(16, 20), truth, 4, seed=0)) == 4


def test_of_confirmed_frames_the_others_are_judged_by_themselves():
    truth = np.array([False, True, True, False, True, False])
    draw = Draw(ALL, 0, np.arange(6), 3)
    raw = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 0.5])
    before = stream.Said(raw, [False, False, False, True, True, False])
    after = stream.Said(raw, [False, True, True, False, True, False])
    found = confirmed.summed("c", "auto", draw, 0, {"without": before, "with_words": after}, truth, [1, 3])
    assert (found.n_good, found.n_defects) == (1, 1)
    rest = [0, 2, 4, 5]
    expected = judge(truth[rest], [False, False, True, False], raw[rest])
    assert found.others["without"].rates == pytest.approx(expected.rates)
    assert found.others["with_words"].rate("f1") == 1.0
    assert found.everything["without"].rate("recall") == pytest.approx(1 / 3)
    assert found.everything["with_words"].n_labelled == 6
    json.dumps(found.as_json(), allow_nan=False)


def test_confirmed_frames_end_with_the_label_they_were_told():
    tokens, class_tokens, truth = part()
    settings = config.load(SETTINGS)
    found = pairs.match_all(tokens, class_tokens, settings)
    order = np.random.default_rng(3).permutation(len(truth))
    operator = confirmed.Confirming(truth[order], 5, seed=0)
    said = stream.play(found, settings, order, None, operator).final
    assert len(operator.frames) == 10
    assert [said.labels[frame] for frame in operator.frames] == [False] * 5 + [True] * 5
    runs = list(confirmed.measure("c", found, truth, 5, [Series("auto", settings)], Plan(1, 2)))
    assert {run.contamination for run in runs} == {"20", "30", "all"}
    assert all((run.n_good, run.n_defects) == (5, 5) for run in runs)
    assert all(run.everything["with_words"].n_labelled == 36 for run in runs if run.contamination == ALL)


def called(line, tmp_path, *options):
    data, category, settings = line
    arguments = ["mvtec", "--data", str(data), "--config", str(settings), "--category", category.name]
    arguments += [
        "--rules",
        "mad,quantile",
        "--draws",
        "1",
        "--orders",
        "1",
        "--json",
        str(tmp_path / "f.json"),
    ]
    done = CliRunner().invoke(command.main, [*arguments, *options])
    return done, json.loads((tmp_path / "f.json").read_text()) if done.exit_code == 0 else None


def test_the_command_changes_the_product(line, tmp_path):
    done, found = called(line, tmp_path, "--changeover", "other", "--accept-after", "11")
    assert done.exit_code == 0, done.output
    assert {one["series"] for one in found["changeovers"]} == {"mad", "quantile"}
    assert {(one["n_first"], one["n_second"]) for one in found["changeovers"]} == {
        (6, changeover.SECOND + 22)
    }
    assert found["options"]["configs"]["mad"]["ring"]["accept_after"] == 11


def test_the_command_plays_a_clean_line(line, tmp_path):
    done, found = called(line, tmp_path, "--clean", "15")
    assert done.exit_code == 0, done.output
    assert [one["n_frames"] for one in found["clean"]] == [15, 15]
    assert set(found["clean"][0]["events"]) == {"repeat", "changeover", "drift", "frozen"}


def test_the_command_confirms(line, tmp_path):
    done, found = called(line, tmp_path, "--confirmed", "4")
    assert done.exit_code == 0, done.output
    assert {(one["n_good"], one["n_defects"]) for one in found["confirmed"]} == {(2, 2)}
    done, found = called(line, tmp_path, "--confirmed", "40")
    assert (done.exit_code, found["confirmed"]) == (0, [])
    assert "fewer than 20 good or defective" in done.output


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--clean", "9", "--repeat", "3"], "got 2 protocols, expected one"),
        (["--clean", "9", "--accept-after", "12"], "got no --changeover"),
        (["--confirmed", "5"], "expected an even number"),
        (["--changeover", "all"], "expected the name of one category"),
        (["--changeover", "nowhere"], "nowhere"),
    ],
)
def test_options_that_do_not_go_together_are_refused(line, tmp_path, options, expected):
    done, _ = called(line, tmp_path, *options)
    assert done.exit_code == 2
    assert expected in " ".join(done.output.split())


def test_a_product_does_not_change_to_itself(line, tmp_path):
    done, _ = called(line, tmp_path, "--changeover", line[1].name)
    assert done.exit_code == 2
    assert "another category" in " ".join(done.output.split())
