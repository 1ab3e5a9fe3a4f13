"""Which frames a report shows, how they are counted, and what is said of the labels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_support import entry
from sklearn.metrics import f1_score

from bench.report import chosen, sentences, tables, worth
from bench.report.frames import Frame, load, save

LABEL = st.sampled_from([None, True, False])
SCORE = st.one_of(st.none(), st.floats(0, 2))


def frame(name, raw, said, truth=None, threshold=0.5, defect="scratch"):
    return Frame(name, truth, defect, 1, raw, raw, raw, said, said, threshold, None)


def of(groups, frames):
    return {group.name: [frames[place].frame_id for place in group.chosen] for group in groups}


JUDGED = [
    frame("missed far", 0.1, said=False, truth=True),
    frame("missed near", 0.4, said=False, truth=True),
    frame("missed nearest", 0.49, said=False, truth=True),
    frame("alarm far", 0.9, said=True, truth=False),
    frame("alarm near", 0.51, said=True, truth=False),
    frame("found high", 1.0, said=True, truth=True),
    frame("found middle", 0.8, said=True, truth=True),
    frame("found low", 0.7, said=True, truth=True),
    frame("passed", 0.2, said=False, truth=False),
    frame("passed too", 0.15, said=False, truth=False),
    frame("withheld", 3.0, said=None, truth=True, threshold=None),
]


def test_the_errors_come_first_the_furthest_on_the_wrong_side_before_others():
    groups = chosen.groups(JUDGED, 2)
    assert of(groups, JUDGED) == {
        "missed": ["missed far", "missed near"],
        "false_alarm": ["alarm far", "alarm near"],
        "found": ["found high", "found low"],
        "passed": ["passed", "passed too"],
        "borderline": ["missed nearest"],
        "unlabelled": ["withheld"],
    }
    assert [group.total for group in groups] == [3, 2, 3, 2, 2, 1]


def test_found_frames_are_spread_over_their_scores_and_not_the_best_alone():
    frames = [frame(str(raw), 0.6 + raw, said=True, truth=True) for raw in range(11)]
    frames += [frame(f"near {n}", 0.5, said=True, truth=True) for n in range(3)]
    found = of(chosen.groups(frames, 3), frames)
    assert found == {"found": ["10", "4", "near 2"], "borderline": ["near 0", "near 1"]}


def test_without_truth_what_is_called_anomalous_comes_first():
    frames = [frame(str(raw), raw / 10, said=raw >= 5) for raw in range(10)]
    assert of(chosen.groups(frames, 2), frames) == {
        "anomalous": ["9", "8"],
        "normal": ["4", "0"],
        "borderline": ["5"],
    }


def test_a_defect_far_above_its_threshold_is_found_and_not_borderline():
    frames = [frame(str(n), 0.1, said=False, truth=False) for n in range(29)]
    frames.append(frame("defect", 0.99, said=True, truth=True))
    assert of(chosen.groups(frames, 6), frames)["found"] == ["defect"]
    assert "borderline" not in of(chosen.groups(frames, 6), frames)


def test_a_frame_is_borderline_by_its_own_threshold():
    good = {"said": False, "truth": False}
    frames = [frame(str(n), 0.9, **good, threshold=1.0) for n in range(3)]
    frames += [frame("near", 0.98, **good, threshold=1.0), frame("far", 0.5, **good, threshold=0.8)]
    frames += [frame("nearest", 0.49, **good, threshold=0.495), frame("on it", 0.97, **good, threshold=1.0)]
    found = chosen.groups(frames, 1)
    assert of(found, frames) == {"passed": ["near"], "borderline": ["nearest"]}
    assert [group.total for group in found] == [7, 3]


def test_frames_without_a_label_have_a_group_beside_those_with_one():
    frames = [frame(f"early {n}", n / 10, said=None, truth=n < 3, threshold=None) for n in range(9)]
    frames.append(frame("labelled", 0.2, said=False, truth=False))
    found = chosen.groups(frames, 2)
    assert of(found, frames) == {"passed": ["labelled"], "unlabelled": ["early 8", "early 7"]}
    assert (found[1].title, found[1].total) == ("No label", 9)


def test_where_every_label_is_withheld_the_ranking_is_shown_from_both_ends():
    scores = (0.2, None, 0.9, 0.5, 0.1)
    frames = [frame(str(score), score, said=None, threshold=None) for score in scores]
    assert of(chosen.groups(frames, 2), frames) == {"highest": ["0.9", "0.5"], "lowest": ["0.1", "0.2"]}
    assert of(chosen.groups(frames, 4), frames) == {"highest": ["0.9", "0.5", "0.2", "0.1"]}


def test_no_frames_or_no_scores_are_no_groups():
    assert chosen.groups([], 6) == []
    assert chosen.groups([frame("none", None, said=None, truth=True)], 6) == []
    assert chosen.groups(JUDGED, 0) == []


@settings(max_examples=60)
@given(
    st.lists(st.tuples(SCORE, LABEL), max_size=30),
    st.integers(0, 8),
    st.sampled_from([None, [True, False]]),
    st.randoms(use_true_random=False),
)
def test_no_frame_is_shown_twice_and_no_group_is_larger_than_asked_for(rows, most, kinds, random):
    frames = [
        frame(str(n), raw, said, None if kinds is None else random.choice(kinds))
        for n, (raw, said) in enumerate(rows)
    ]
    groups = chosen.groups(frames, most)
    shown = [place for group in groups for place in group.chosen]
    assert len(shown) == len(set(shown))
    for group in groups:
        assert 0 < len(group.chosen) <= min(most, group.total)
        if group.name in ("missed", "false_alarm", "found", "passed"):
            members = [one for one in frames if one.kind == group.name and one.raw is not None]
            assert group.total == len(members)
            assert len(group.chosen) == min(most, len(members))
            assert all(frames[place].kind == group.name for place in group.chosen)


def test_frames_are_read_as_they_were_written_and_what_is_no_such_file_is_none(tmp_path):
    save(tmp_path / "frames.json", JUDGED)
    assert load(tmp_path / "frames.json") == JUDGED
    save(tmp_path / "none.json", [])
    assert load(tmp_path / "none.json") == []
    for content in ("", "[]", "{}", '{"columns": ["a"], "frames": [[1]]}', '{"columns": [], "frames": 3}'):
        (tmp_path / "other.json").write_text(content)
        assert load(tmp_path / "other.json") is None
    assert load(tmp_path / "missing.json") is None


def test_frames_are_counted_by_what_became_of_them_and_by_kind_of_defect():
    frames = [*JUDGED, frame("dent", 0.8, said=True, truth=True, defect="dent")]
    counts = worth.counted(frames)
    assert counts["final"] == {"false_alarm": 2, "found": 4, "missed": 3, "passed": 2, "withheld": 1}
    assert counts["withheld"] == {"anomalous": 1, "normal": 0}
    assert counts["defects"] == [
        {"defect": "dent", "n": 1, "found": 1, "missed": 0, "withheld": 0},
        {"defect": "scratch", "n": 7, "found": 3, "missed": 3, "withheld": 1},
    ]


def test_the_best_threshold_has_the_best_f1_of_all():
    rng, truths = np.random.default_rng(1), [False, True] * 20
    frames = [frame(str(n), rng.random() + true / 3, True, true) for n, true in enumerate(truths)]
    truth, scores = [one.truth for one in frames], np.array([one.raw for one in frames])
    best = worth.best_threshold(frames)
    reached = [f1_score(truth, scores >= threshold) for threshold in scores]
    assert f1_score(truth, scores >= best) == max(reached)
    assert worth.best_threshold([one for one in frames if one.truth]) is None
    assert worth.best_threshold([]) is None


def said(counts, **rates):
    final = {"recall": 0.4, "false_alarms": 0.5, "precision": 0.5, "f1": 0.4, "best_f1": 0.9} | rates
    verdict = entry()["verdict"] | {"final": final}
    return sentences.worth(entry(files={"counts": counts}, verdict=verdict))


def test_what_labels_are_worth_is_said_in_words_and_numbers():
    counts = worth.counted(JUDGED)
    lines = said(counts)
    assert lines[0] == "Of 6 defective frames 3 were found and 3 missed (recall 40.00 %)."
    assert lines[1] == "Of 4 good frames 2 were called anomalous (false alarms 50.00 %)."
    assert lines[2] == "Of 5 frames called anomalous 3 are defective (precision 50.00 %)."
    assert lines[3].startswith("1 frame had no label in the end (1 defective, 0 good) and is in none")
    assert said(counts, f1=0.86)[4].endswith("the threshold, 0.500, is close to the best there is.")


@pytest.mark.parametrize(
    ("scores", "labels", "thresholds", "ending"),
    [
        # Nothing was found, and the last threshold was the lowest of all.
        (
            [0.1, 0.12, 0.3, 0.4],
            [False] * 4,
            [0.5, 0.45, 0.503, 0.154],
            "the thresholds of the frames, 0.154 to 0.503, are too high for this set "
            "(2 missed, 0 false alarms).",
        ),
        (
            [0.2, 0.3, 0.8, 0.9],
            [True] * 4,
            [0.1] * 4,
            "the threshold, 0.100, is too low for this set (0 missed, 2 false alarms).",
        ),
        (
            [0.3, 0.1, 0.2, 0.4],
            [True, False, False, True],
            [0.25] * 4,
            "would have reached 90.00; the threshold, 0.250.",
        ),
    ],
)
def test_too_high_or_too_low_is_said_by_what_went_wrong_and_of_all_thresholds(
    scores, labels, thresholds, ending
):
    rows = zip(scores, labels, thresholds, [False, False, True, True], strict=True)
    frames = [frame(str(raw), raw, label, truth, threshold) for raw, label, threshold, truth in rows]
    assert said(worth.counted(frames))[-1].endswith(ending)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (
            [True, False, None],
            "of 2 labelled frames were called anomalous; 1 frame had no label in the end.",
        ),
        ([None, None], "no frame was given a label: the ranking counts."),
    ],
)
def test_without_truth_only_what_was_said_is_counted(labels, words):
    counts = worth.counted([frame(str(n), 0.5, label) for n, label in enumerate(labels)])
    verdict = entry()["verdict"] | {"final": None, "provisional": None}
    (line,) = sentences.worth(entry(files={"counts": counts}, verdict=verdict))
    assert line.endswith(words)


def test_rates_tell_what_was_withheld_and_are_none_where_all_was():
    counted = worth.counted([frame(str(n), 0.5, None, truth=n < 2, threshold=None) for n in range(8)])
    assert tables.rates(entry(files={"counts": counted})) == (
        ("-", "2 without a label"),
        ("-", "6 without a label"),
    )
    assert tables.rates(entry(files={"counts": worth.counted(JUDGED)})) == (
        ("3 of 6", "1 without a label"),
        ("2 of 4", ""),
    )


def test_found_and_missed_stand_beside_the_metrics_of_each_kind_of_defect():
    frames = [*JUDGED, frame("dent", 0.8, said=True, truth=True, defect="dent")]
    measured = {"image_auroc": 0.9, "image_raw_auroc": None, "pixel_auroc": 0.5, "pro": 0.25}
    findings = {
        "by_defect": [{"defect": name, "n_images": 1, "revised": measured} for name in ("dent", "scratch")]
    }
    files = {"counts": worth.counted(frames)}
    rows = sentences.defect_rows(entry(files=files, findings=findings))
    assert rows[0] == ["dent", "1", "1", "0", "0", "90.00", "-", "50.00", "25.00"]
    # Of one kind alone they are those of the category.
    (row,) = sentences.defect_rows(entry(files={"counts": worth.counted(JUDGED)}))
    assert row == ["scratch", "7", "3", "3", "1", "90.00", "90.00", "90.00", "60.00"]
