"""The drawn production line: same seed same pictures, MVTec layout, masks that mark what was drawn."""

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from bench import demo_data
from bench.demo_data.defects import DEFECTS
from musc_online.errors import DataError

SIZE = 96


@pytest.mark.parametrize("defect", sorted(DEFECTS))
def test_the_mask_marks_what_the_defect_changed_and_nothing_else_changed(defect):
    for index in range(6):
        good, _ = demo_data.draw(3, index, size=SIZE)
        frame, flaw = demo_data.draw(3, index, defect, SIZE)
        assert frame.shape == (SIZE, SIZE, 3)
        assert frame.dtype == np.uint8
        assert 0.0005 < flaw.mask.mean() < 0.1
        change = np.abs(frame.astype(int) - good).max(axis=2)
        assert np.median(change[flaw.mask == 1]) > 8
        # A defect's blur, bevel and soft shadow reach a little further than its mask.
        beyond = cv2.dilate(flaw.mask, np.ones((13, 13))) == 0
        assert np.mean(change[beyond] > 8) < 0.002


def test_a_good_part_has_an_empty_mask():
    assert demo_data.draw(0, 0, size=SIZE)[1].mask.sum() == 0


def test_the_same_seed_draws_the_same_pictures_and_another_seed_others(tmp_path):
    def pictures(root, seed):
        demo_data.generate(root, seed=seed, n_good=3, n_defective=4, size=SIZE)
        return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*.png"))}

    first, again, other = (pictures(tmp_path / name, seed) for name, seed in (("a", 5), ("b", 5), ("c", 6)))
    assert first == again
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first if "/test/" in name)


def test_layout_every_defect_has_its_mask(tmp_path):
    root = demo_data.generate(tmp_path, n_good=2, n_defective=8, size=SIZE)
    tests = sorted((root / "part" / "test").rglob("*.png"))
    assert len(tests) == 10
    assert {path.parent.name for path in tests} == {"good", *DEFECTS}
    for path in tests:
        mask = root / "part" / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
        assert mask.exists() == (path.parent.name != "good")
        if mask.exists():
            assert set(np.unique(cv2.imread(str(mask), cv2.IMREAD_UNCHANGED))) == {0, 255}


def test_a_line_is_never_drawn_over_another(tmp_path):
    demo_data.generate(tmp_path, n_good=1, n_defective=0, size=SIZE)
    with pytest.raises(DataError, match="is there already"):
        demo_data.generate(tmp_path, n_good=1, n_defective=0, size=SIZE)


@pytest.mark.parametrize(("good", "defective", "size"), [(0, 0, 64), (-1, 3, 64), (1, 1, 8)])
def test_counts_that_make_no_line_are_refused(tmp_path, good, defective, size):
    with pytest.raises(DataError, match="expected at least one part"):
        demo_data.generate(tmp_path, n_good=good, n_defective=defective, size=size)


def test_command_line(tmp_path):
    arguments = [str(tmp_path), "--good", "2", "--defective", "1", "--size", "64"]
    result = CliRunner().invoke(demo_data.main, arguments)
    assert result.exit_code == 0
    assert "2 good and 1 defective" in result.output
    again = CliRunner().invoke(demo_data.main, arguments)
    assert again.exit_code == 2
    assert again.output.startswith("error: ")
    assert len(again.output.splitlines()) == 1
