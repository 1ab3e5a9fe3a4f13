"""A data set's folder as a source: masks are no parts, classes in order are warned of, seeds mix them."""

import random

import pytest
from click.testing import CliRunner
from dataset_trees import image, mask, mvtec_tree
from streamer_support import Screen, backbone, serving, small_config

from streamer.errors import StreamerError
from streamer.publish import main as publish_main
from streamer.sources import images_in, open_source

__all__ = ["backbone"]

TAKEN = [
    "test/crack/000.png",
    "test/crack/001.png",
    "test/good/10.png",
    "test/good/2.png",
    "train/good/0.png",
]


@pytest.fixture
def bottle(tmp_path):
    return mvtec_tree(tmp_path) / "bottle"


def ids(folder, **options):
    """The ids of a source's frames, and what is told of it."""
    said = []
    return [key for key, _ in open_source(str(folder), tell=said.append, **options)], said


def test_masks_stay_at_home_and_a_seed_mixes_the_classes(backbone, bottle):
    with serving(small_config(), backbone) as service, Screen(service) as screen:
        arguments = ["--source", str(bottle), "--stream", "line", "--endpoint", service.endpoints["frames"]]
        arguments += ["--control", service.endpoints["control"]]
        done = CliRunner().invoke(publish_main, [*arguments, "--shuffle", "7"])
        assert done.exit_code == 0, done.stderr
        assert done.stderr.splitlines() == [
            f"warning: source: {bottle}: 2 files left out as ground-truth masks, no parts (ground_truth); to "
            "send them, make that folder the --source",
            "5 frames sent to line: 5 scored",
        ]
        expected = list(TAKEN)
        random.Random(7).shuffle(expected)
        assert [fields["frame_id"] for fields in screen.until(5, "score")] == expected != TAKEN


def test_an_order_of_classes_is_warned_of_and_a_mixed_one_is_not(bottle):
    taken, said = ids(bottle)
    assert taken == TAKEN
    (_, classes) = said
    assert "3 sub folders (test/crack, test/good, train/good)" in classes
    assert classes.endswith("add --shuffle SEED")
    assert [len(ids(folder)[1]) for folder in (bottle / "test", bottle / "test" / "good")] == [1, 0]
    assert len(ids(bottle, shuffle=0)[1]) == 1


def test_the_order_of_a_seed_is_the_same_everywhere(tmp_path):
    """By names and the seed alone: these are what any machine sends."""
    for name in ("B/1.png", "a/10.png", "a/2.png", "a-b/0.png", "c.png", "d.png"):
        image(tmp_path / name)
    expected = ["c.png", "B/1.png", "d.png", "a-b/0.png", "a/10.png", "a/2.png"]
    for _ in range(2):
        assert ids(tmp_path, shuffle=7)[0] == expected
    mask(tmp_path / "Masks" / "c.png")
    assert ids(tmp_path, shuffle=7)[0] == expected


@pytest.mark.parametrize("name", ["ground_truth", "Ground_Truth", "mask", "MASKS", "x/masks/deep"])
def test_a_mask_folder_is_one_in_any_case_and_at_any_depth(tmp_path, name):
    image(tmp_path / "0.png")
    image(tmp_path / "ground_truth.png")
    image(tmp_path / "masks of welders" / "1.png")
    mask(tmp_path / name / "0_mask.png")
    taken, said = ids(tmp_path)
    assert taken == ["0.png", "ground_truth.png", "masks of welders/1.png"]
    assert len(said) == 1
    assert f": 1 file left out as ground-truth masks, no parts ({name.removesuffix('/deep')})" in said[0]


@pytest.mark.parametrize("below", ["", "crack"])
def test_who_asks_for_masks_gets_them_and_is_told(bottle, below):
    taken, said = ids(bottle / "ground_truth" / below)
    assert [name.rpartition("/")[2] for name in taken] == ["000_mask.png", "001_mask.png"]
    assert len(said) == 1
    assert said[0].endswith("sent as parts, though 'ground_truth' is a name of ground-truth masks")


def test_a_folder_of_masks_alone_says_what_to_do(tmp_path):
    mask(tmp_path / "mask" / "0.png")
    with pytest.raises(StreamerError, match=r"holds no images; .*1 file left out .*\(mask\); to send them"):
        images_in(tmp_path)


@pytest.mark.parametrize("source", ["camera:0", "rtsp://127.0.0.1:1/x", "folder/0.png", "folder/line.avi"])
def test_only_a_folder_can_be_shuffled(tmp_path, monkeypatch, source):
    image(tmp_path / "folder" / "0.png")
    (tmp_path / "folder" / "line.avi").touch()
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(publish_main, ["--source", source, "--stream", "line", "--shuffle", "3"])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"error: --shuffle: got 3 with the source {source}, expected a folder")
