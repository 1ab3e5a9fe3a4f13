"""bench.verdict --repeat and --sequences: jitter, one defect on many parts, wear; and both as commands."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from replay_support import CONFIG

from bench import demo_data
from bench.datasets import Category, Sample, read, read_frame
from bench.verdict import command, jitter, repeats, sequences, stream
from musc_online.errors import DataError


def test_a_jittered_frame_is_the_frame_a_little_moved_and_lit():
    rng = np.random.default_rng(0)
    frame = cv2.resize(rng.integers(60, 200, (8, 8, 3), np.uint8), (64, 48), interpolation=cv2.INTER_CUBIC)
    again = jitter.jittered(frame, np.random.default_rng(1))
    assert again.shape == frame.shape
    assert again.dtype == np.uint8
    assert np.array_equal(again, jitter.jittered(frame, np.random.default_rng(1)))
    assert not np.array_equal(again, jitter.jittered(frame, np.random.default_rng(2)))
    wide = np.pad(frame, ((6, 6), (6, 6), (0, 0)), mode="reflect").astype(float)
    left = min(
        (again - wide[down : down + 48, across : across + 64] * gain).std()
        for down in range(13)
        for across in range(13)
        for gain in np.linspace(0.94, 1.06, 13)
    )
    assert 2.5 < left < 3.6  # at one shift and gain nothing is left but the noise


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    folder = tmp_path_factory.mktemp("line")
    (folder / "small.yaml").write_text(CONFIG)
    return demo_data.generate(folder / "line", n_good=9, n_defective=4, size=64), folder / "small.yaml"


def test_copies_are_pictures_of_their_own(line, tmp_path):
    (category,) = read("mvtec", line[0])
    parts = repeats.choose(category, 3, 2, seed=0)
    assert (parts.n_good, len(parts.samples), len(parts.defects)) == (9, 9 + 2 * 3, 2)
    assert parts.copies(1).tolist() == [12, 13, 14]
    assert {parts.samples[index].frame_id for index in parts.copies(1)} == {parts.defects[1]}
    written = jitter.write_jittered(parts.samples, tmp_path, seed=0)
    one, other = (read_frame(written[index].path) for index in (12, 13))
    assert not np.array_equal(one, other)
    assert written[12].label == 1


def test_a_third_of_the_good_parts_comes_first(line):
    (category,) = read("mvtec", line[0])
    parts = repeats.choose(category, 5, 2, seed=0)
    order = repeats.sequence(parts, 1, seed=4)
    assert sorted(order) == [*range(9), *parts.copies(1)]
    assert (order[:3] < 9).all()
    assert not np.array_equal(order, repeats.sequence(parts, 1, seed=5))


def event(kind, *frame_ids):
    return SimpleNamespace(kind=kind, frame_ids=frame_ids)


def test_an_event_counts_where_it_names_a_copy():
    is_copy = np.array([False, True, False, True, True])
    nothing = stream.Said.nothing(5)
    told = [(2, event("repeat", 0, 2)), (3, event("drift", 3)), (4, event("repeat", 3, 4))]
    assert repeats.event_at(stream.Stream(nothing, nothing, [], None, told), is_copy) == 3
    assert repeats.event_at(stream.Stream(nothing, nothing, [], None, told[:2]), is_copy) is None


def test_the_command_repeats_a_defect(line, tmp_path):
    arguments = ["mvtec", "--data", str(line[0]), "--config", str(line[1]), "--repeat", "4"]
    arguments += [
        "--draws",
        "2",
        "--orders",
        "2",
        "--rules",
        "mad,quantile",
        "--json",
        str(tmp_path / "f.json"),
    ]
    done = CliRunner().invoke(command.main, arguments)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "f.json").read_text())["repeats"]
    assert len(found) == 2 * 2 * 2
    assert {one["n_copies"] for one in found} == {4}
    assert all(0 <= one["n_labelled"] <= 4 and one["n_good"] == 9 for one in found)
    both = CliRunner().invoke(command.main, [*arguments, "--sequences", "order.csv"])
    assert both.exit_code == 2
    assert "expected one" in both.output


def test_what_is_said_of_a_sequence():
    truth = np.array([False, False, False, True, True, True, True])
    wear = sequences.judge("c", "mad", "s", [None, True, False, None, False, True, True], truth)
    assert (wear.appears_at, wear.labelled, wear.first_within, wear.false_alarms) == (3, 0.5, 2, 1 / 3)
    never = sequences.judge("c", "mad", "s", [False] * 7, truth)
    assert (never.labelled, never.first_within) == (0.0, None)
    good = sequences.judge("c", "mad", "s", [False] * 7, np.zeros(7, bool))
    assert (good.appears_at, good.labelled, good.first_within, good.false_alarms) == (None, None, None, 0.0)


def category_of(*names):
    return Category("c", tuple(Sample(name, 0, "good", (), name) for name in names))


def test_sequences_come_in_the_order_of_time(tmp_path):
    path = tmp_path / "order.csv"
    path.write_text("file,sequence,time_index,defective\nd,two,1,1\na,one,10,1\nb,one,9,0\nc,two,0,0\n")
    one, two = sequences.read(path, category_of("a", "b", "c", "d"))
    assert (one.name, two.name) == ("one", "two")
    assert [sample.frame_id for sample in one.samples] == ["b", "a"]
    assert one.defective == (False, True)
    assert [sample.frame_id for sample in two.samples] == ["c", "d"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("file,sequence\na,b\n", "expected the columns"),
        ("file,sequence,time_index,defective\nz,one,1,0\n", "not among the images"),
        ("file,sequence,time_index,defective\na,one,x,0\n", "time_index: got 'x'"),
        ("file,sequence,time_index,defective\na,one,1,0\n", "has one frame"),
        ("file,sequence,time_index,defective\na,one\n", "too short"),
    ],
)
def test_what_is_wrong_with_a_file_of_sequences_is_said(tmp_path, text, expected):
    path = tmp_path / "order.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=expected):
        sequences.read(path, category_of("a", "b"))
    with pytest.raises(DataError, match="cannot be read"):
        sequences.read(tmp_path / "none.csv", category_of("a"))


def test_the_command_plays_each_sequence_by_itself(line, tmp_path):
    data, settings = line
    (category,) = read("mvtec", data)
    rows = ["file,sequence,time_index,defective"]
    good_first = sorted(category.samples, key=lambda sample: sample.label or 0)
    for place in ("left", "right"):
        rows += [f"{one.frame_id},{place},{time},{one.label}" for time, one in enumerate(good_first)]
    (data / category.name / "order.csv").write_text("\n".join(rows) + "\n")
    arguments = ["mvtec", "--data", str(data), "--config", str(settings), "--sequences", "order.csv"]
    arguments += ["--rules", "mad", "--output", str(tmp_path)]
    done = CliRunner().invoke(command.main, arguments)
    assert done.exit_code == 0, done.output
    left, right = json.loads((tmp_path / "verdict.json").read_text())["sequences"]
    assert (left["sequence"], left["n_frames"], left["n_defective"], left["appears_at"]) == ("left", 13, 4, 9)
    assert left | {"sequence": "right"} == right
