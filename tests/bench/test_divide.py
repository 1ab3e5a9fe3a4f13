"""Divisions: the published file lists, worked out by a plain restatement, and what always holds."""

import random
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bench.replay.order import label_free, stratified
from musc_online.errors import DataError

# Sizes of folders of MVTec AD bottle, of a very uneven category, and of VisA's two folders.
FOLDERS = [
    {"broken_large": 20, "broken_small": 22, "contamination": 21, "good": 20},
    {"crack": 1, "good": 60, "hole": 2, "scratch": 7},
    {"Normal": 100, "Anomaly": 100},
]


def file_list(folders: dict[str, int]) -> list[Path]:
    return [
        Path("category/test") / name / f"{i:03}.png" for name, size in folders.items() for i in range(size)
    ]


def restated(paths: list[Path], divide_num: int, divide_iter: int, seed: int) -> list[Path]:
    """The authors' rule: seed once, go through the folders as they come, shuffle each one's positions, cut
    them into runs of `divide_num`, and take the `divide_iter`-th of each run that has one."""
    random.seed(seed)
    chosen = []
    for folder in dict.fromkeys(path.parent.name for path in paths):
        positions = [i for i, path in enumerate(paths) if path.parent.name == folder]
        random.shuffle(positions)
        for start in range(0, len(positions), divide_num):
            dealt = positions[start : start + divide_num]
            if divide_iter < len(dealt):
                chosen.append(paths[dealt[divide_iter]])
    return chosen


@pytest.mark.parametrize("folders", FOLDERS)
@pytest.mark.parametrize("divide_num", [2, 3, 5])
@pytest.mark.parametrize("seed", [42, 0])
def test_the_published_file_lists(folders, divide_num, seed):
    paths = file_list(folders)
    got = stratified(paths, divide_num, seed)
    for divide_iter in range(divide_num):
        assert [paths[i] for i in got[divide_iter]] == restated(paths, divide_num, divide_iter, seed)


def test_the_published_seed_is_the_default_and_matters():
    paths = file_list(FOLDERS[0])
    assert stratified(paths, 2) == stratified(paths, 2, seed=42) != stratified(paths, 2, seed=0)


def test_the_state_of_the_global_generator_is_neither_used_nor_changed():
    paths = file_list(FOLDERS[0])
    random.seed(1)
    state = random.getstate()
    first = stratified(paths, 3)
    assert random.getstate() == state
    random.seed(2)
    assert stratified(paths, 3) == first


@pytest.mark.parametrize("divide_num", [0, 1])
def test_one_subset_is_the_set_in_order(divide_num):
    paths = file_list(FOLDERS[0])
    assert stratified(paths, divide_num) == label_free(len(paths), divide_num) == [list(range(len(paths)))]


@given(st.integers(2, 6), st.integers(12, 90), st.integers(0, 10))
def test_label_free_deals_every_image_once_and_evenly(n_subsets, n_images, seed):
    subsets = label_free(n_images, n_subsets, seed)
    assert sorted(index for subset in subsets for index in subset) == list(range(n_images))
    assert max(map(len, subsets)) - min(map(len, subsets)) <= 1
    assert subsets == label_free(n_images, n_subsets, seed)
    assert subsets != label_free(n_images, n_subsets, seed + 1)


@given(st.lists(st.integers(4, 20), min_size=1, max_size=5), st.integers(2, 4))
def test_stratified_keeps_every_folder_in_every_subset(sizes, n_subsets):
    assume(sum(size // n_subsets for size in sizes) >= 2)
    paths = file_list({f"defect{i}": size for i, size in enumerate(sizes)})
    subsets = stratified(paths, n_subsets)
    assert sorted(index for subset in subsets for index in subset) == list(range(len(paths)))
    for folder in {path.parent.name for path in paths}:
        counts = [sum(paths[i].parent.name == folder for i in subset) for subset in subsets]
        assert max(counts) - min(counts) <= 1


def test_too_many_subsets():
    with pytest.raises(DataError, match=r"divide_num: 4 subsets of 7 images leave one with 1"):
        label_free(7, 4)
    with pytest.raises(DataError, match=r"divide_num: got -1, expected 1 or more subsets"):
        stratified(file_list(FOLDERS[0]), -1)
