"""Every reader on a tiny tree of its layout, and what is said when the tree is wrong."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from dataset_trees import facts, image, mask, mvtec_tree, one, strange_folder

from bench import datasets
from bench.datasets import read, read_mask
from musc_online.errors import DataError
from streamer.sources import images_in, list_images


def test_mvtec(tmp_path):
    mvtec_tree(tmp_path)
    mvtec_tree(tmp_path, "cable")
    assert [category.name for category in read("mvtec", tmp_path)] == ["bottle", "cable"]
    assert [category.name for category in read("mvtec", tmp_path, "cable, bottle")] == ["cable", "bottle"]
    (bottle,) = read("mvtec", tmp_path, "bottle")
    assert bottle.n_anomalous == 2
    assert facts(bottle.samples) == [
        ("test/crack/000.png", 1, "crack", 1),
        ("test/crack/001.png", 1, "crack", 1),
        ("test/good/10.png", 0, "good", 0),
        ("test/good/2.png", 0, "good", 0),
    ]
    assert bottle.samples[0].mask_paths[0] == tmp_path / "bottle/ground_truth/crack/000_mask.png"


def test_mvtec_ignores_what_is_no_image_and_reads_upper_case(tmp_path):
    mvtec_tree(tmp_path)
    test = tmp_path / "bottle" / "test"
    image(test / "crack" / "002.PNG")
    mask(tmp_path / "bottle" / "ground_truth" / "crack" / "002_mask.PNG")
    for stray in ("Thumbs.db", ".hidden.png", "readme.txt"):
        (test / "good" / stray).write_text("not an image")
    (tmp_path / "license.txt").write_text("text")
    (tmp_path / ".cache" / "test").mkdir(parents=True)
    assert [s.frame_id for s in one("mvtec", tmp_path)][2:] == [
        "test/crack/002.PNG",
        "test/good/10.png",
        "test/good/2.png",
    ]


def test_every_layout_and_the_publisher_list_the_same_files(tmp_path):
    taken, left_out = strange_folder(tmp_path / "part" / "test" / "good")
    (plain,) = read("folder", tmp_path / "part" / "test" / "good")
    (labelled,) = read("mvtec", tmp_path)
    listing = list_images(tmp_path / "part" / "test" / "good")
    root = tmp_path / "part" / "test" / "good"
    assert [path.relative_to(root).as_posix() for path in listing.paths] == taken
    assert list(listing.left_out) == left_out
    assert [sample.frame_id for sample in plain.samples] == taken
    assert list(plain.left_out) == left_out
    assert [sample.frame_id for sample in labelled.samples] == [f"test/good/{name}" for name in taken]
    beside = "test/elsewhere.png (in no folder of a class)"
    assert list(labelled.left_out) == [*(f"test/good/{name}" for name in left_out), beside]


def test_an_image_in_a_subfolder_has_its_mask_in_the_same_one(tmp_path):
    for place, box in (("one", (0, 0, 2, 2)), ("two", (3, 3, 9, 7))):
        image(tmp_path / "part" / "test" / "crack" / place / "0.png")
        mask(tmp_path / "part" / "ground_truth" / "crack" / place / "0_mask.png", box)
    samples = one("mvtec", tmp_path)
    assert [sample.mask_paths[0].parent.name for sample in samples] == ["one", "two"]
    assert read_mask(samples[0], 12).sum() < read_mask(samples[1], 12).sum()


def test_a_mask_that_was_left_out_is_named(tmp_path):
    mvtec_tree(tmp_path)
    missing = tmp_path / "bottle" / "ground_truth" / "crack" / "001_mask.png"
    missing.write_bytes(b"")
    with pytest.raises(DataError, match=r"needs its mask; .*1 left out: 001_mask\.png \(no bytes\)"):
        read("mvtec", tmp_path)


def test_a_category_of_nothing_but_strays_names_them(tmp_path):
    (tmp_path / "bottle" / "test" / "good").mkdir(parents=True)
    (tmp_path / "bottle" / "test" / "good" / "0.png").touch()
    with pytest.raises(DataError, match=r"found no image; 1 left out: test/good/0\.png \(no bytes\)"):
        read("mvtec", tmp_path)


def test_mpdd(tmp_path):
    mvtec_tree(tmp_path, "bracket_black")
    samples = one("mpdd", tmp_path, "bracket_black")
    assert facts(samples) == facts(one("mvtec", tmp_path, "bracket_black"))
    assert {sample.mask_rule for sample in samples} == {"half"}


def test_btad(tmp_path):
    image(tmp_path / "01" / "test" / "ok" / "0.bmp")
    image(tmp_path / "01" / "test" / "ko" / "0001.bmp")
    mask(tmp_path / "01" / "ground_truth" / "ko" / "0001.png")
    assert facts(one("btad", tmp_path)) == [("test/ko/0001.bmp", 1, "ko", 1), ("test/ok/0.bmp", 0, "good", 0)]
    assert read_mask(one("btad", tmp_path)[0], 8).any()


def test_mvtec_ad2(tmp_path):
    public = tmp_path / "can" / "test_public"
    image(public / "good" / "000_regular.png")
    image(public / "bad" / "001_shift_1.png")
    mask(public / "ground_truth" / "bad" / "001_shift_1_mask.png")
    image(tmp_path / "can" / "test_private" / "000.png")
    assert facts(one("mvtec_ad2", tmp_path)) == [
        ("test_public/bad/001_shift_1.png", 1, "bad", 1),
        ("test_public/good/000_regular.png", 0, "good", 0),
    ]


def test_mvtec_loco_unites_the_masks(tmp_path):
    box = tmp_path / "breakfast_box"
    image(box / "test" / "good" / "000.png", (8, 8))
    image(box / "test" / "logical_anomalies" / "000.png", (8, 8))
    truth = box / "ground_truth" / "logical_anomalies" / "000"
    mask(truth / "000.png", (0, 0, 2, 2), size=(8, 8))
    mask(truth / "001.png", (4, 4, 8, 8), value=250, size=(8, 8))  # LOCO writes the defect's type as a grey
    good, defective = one("mvtec_loco", tmp_path)
    assert (defective.defect, len(defective.mask_paths), good.label) == ("logical_anomalies", 2, 0)
    expected = np.zeros((8, 8), np.uint8)
    expected[:2, :2] = expected[4:, 4:] = 1
    np.testing.assert_array_equal(read_mask(defective, 8), expected)
    for path in truth.iterdir():
        path.unlink()
    with pytest.raises(
        DataError, match=r"000\.png: .*needs masks; expected .*logical_anomalies.000.000\.png"
    ):
        read("mvtec_loco", tmp_path)


def visa_raw(root: Path) -> Path:
    rows = []
    for name, label in (("0003", "normal"), ("0001", "normal"), ("000", "anomaly")):
        kind = "Anomaly" if label == "anomaly" else "Normal"
        path = image(root / "candle" / "Data" / "Images" / kind / f"{name}.JPG")
        truth = ""
        if kind == "Anomaly":
            truth = mask(root / "candle" / "Data" / "Masks" / kind / f"{name}.png", value=1)
            truth = truth.relative_to(root).as_posix()
        rows.append(("candle", "test", label, path.relative_to(root).as_posix(), truth))
    rows.append(("candle", "train", "normal", "candle/Data/Images/Normal/0999.JPG", ""))
    (root / "split_csv").mkdir()
    with (root / "split_csv" / "1cls.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("object", "split", "label", "image", "mask"), *rows])
    return root


def test_visa_as_downloaded_keeps_the_order_of_the_split_file(tmp_path):
    samples = one("visa", visa_raw(tmp_path))
    assert facts(samples) == [
        ("Data/Images/Normal/0003.JPG", 0, "good", 0),
        ("Data/Images/Normal/0001.JPG", 0, "good", 0),
        ("Data/Images/Anomaly/000.JPG", 1, "Anomaly", 1),
    ]
    assert read_mask(samples[2], 12).any()  # VisA's masks hold small numbers, not 255


def test_visa_split_file_is_checked(tmp_path):
    visa_raw(tmp_path)
    split = tmp_path / "split_csv" / "1cls.csv"
    good = split.read_text()
    with pytest.raises(DataError, match="no category 'cashew'; found candle"):
        read("visa", tmp_path, "cashew")
    (tmp_path / "candle/Data/Masks/Anomaly/000.png").unlink()
    with pytest.raises(DataError, match=r"000\.png: named in split_csv/1cls\.csv, but there is no such file"):
        read("visa", tmp_path)
    split.write_text(good.replace("candle/Data/Masks/Anomaly/000.png", ""))
    with pytest.raises(DataError, match="is an anomaly and names no mask"):
        read("visa", tmp_path)
    split.write_text(good + "candle,test,normal\n")
    with pytest.raises(DataError, match=r"1cls\.csv: the row candle,test,normal,None,None is too short"):
        read("visa", tmp_path)
    split.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"1cls\.csv: is not a CSV file"):
        read("visa", tmp_path)
    split.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"1cls\.csv: expected the columns object, split.*found \['a', 'b'\]"):
        read("visa", tmp_path)


def test_split_files_written_on_windows(tmp_path):
    expected = facts(one("visa", visa_raw(tmp_path)))
    split = tmp_path / "split_csv" / "1cls.csv"
    rows = split.read_text().replace("/", "\\").replace("\n", "\r\n")
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        split.write_bytes(rows.encode(encoding))
        assert facts(one("visa", tmp_path)) == expected
    split.write_bytes(rows.replace("Anomaly", "D\xe9faut").encode("cp1252"))
    with pytest.raises(DataError, match=r"is not UTF-8: line 4 has the byte 0xe9, which is 'é' in Windows"):
        read("visa", tmp_path)


def test_real_iad_splits_written_on_windows(tmp_path):
    split = real_iad(tmp_path, "realiad_jsons")
    expected = facts(one("real_iad", tmp_path))
    text = split.read_text().replace("/S", "\\\\S").replace("/audio", "\\\\audio")
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        split.write_bytes(text.encode(encoding))
        assert facts(one("real_iad", tmp_path)) == expected


@pytest.mark.parametrize("below", [".", "1cls"])
def test_visa_pre_split(tmp_path, below):
    category = tmp_path / below / "candle"
    image(category / "test" / "good" / "0.JPG")
    image(category / "test" / "bad" / "1.JPG")
    mask(category / "ground_truth" / "bad" / "1.png")
    samples = one("visa", tmp_path)
    assert facts(samples) == [("test/bad/1.JPG", 1, "bad", 1), ("test/good/0.JPG", 0, "good", 0)]
    assert samples[0].mask_rule == "touched"


def real_iad(root: Path, splits: str) -> Path:
    folder = root / "realiad_512" / "audiojack"
    image(folder / "OK" / "S0001" / "audiojack_OK_C1.jpg")
    image(folder / "NG" / "BX" / "S0002" / "audiojack_BX_C2.jpg")
    mask(folder / "NG" / "BX" / "S0002" / "audiojack_BX_C2.png")
    ok = {"category": "audiojack", "anomaly_class": "OK", "image_path": "OK/S0001/audiojack_OK_C1.jpg"}
    bad = {"category": "audiojack", "anomaly_class": "BX", "image_path": "NG/BX/S0002/audiojack_BX_C2.jpg"}
    bad["mask_path"] = "NG/BX/S0002/audiojack_BX_C2.png"
    content = {
        "meta": {"normal_class": "OK", "prefix": "audiojack/"},
        "train": [],
        "test": [ok | {"mask_path": None}, bad],
    }
    (root / splits).mkdir(parents=True)
    (root / splits / "audiojack.json").write_text(json.dumps(content))
    return root / splits / "audiojack.json"


@pytest.mark.parametrize("splits", ["realiad_jsons/realiad_jsons", "realiad_jsons"])
def test_real_iad(tmp_path, splits):
    split = real_iad(tmp_path, splits)
    samples = one("real_iad", tmp_path)
    assert facts(samples) == [
        ("NG/BX/S0002/audiojack_BX_C2.jpg", 1, "BX", 1),
        ("OK/S0001/audiojack_OK_C1.jpg", 0, "good", 0),
    ]
    samples[0].mask_paths[0].unlink()
    with pytest.raises(DataError, match=r"C2\.png: named in audiojack\.json, but there is no such file"):
        read("real_iad", tmp_path)
    split.write_text('{"meta": {}, "test": []}')
    with pytest.raises(
        DataError, match=r"audiojack\.json: expected meta\.normal_class.*missing 'normal_class'"
    ):
        read("real_iad", tmp_path)
    split.write_text("{")
    with pytest.raises(DataError, match=r"audiojack\.json: is not JSON"):
        read("real_iad", tmp_path)


def test_folder(tmp_path):
    for name in ("b/2.jpg", "b/10.JPG", "a.png"):
        image(tmp_path / "line" / name)
    (tmp_path / "line" / "notes.txt").write_text("text")
    (category,) = read("folder", tmp_path / "line")
    assert category.name == "line"
    assert facts(category.samples) == [
        ("a.png", None, "", 0),
        ("b/10.JPG", None, "", 0),
        ("b/2.jpg", None, "", 0),
    ]
    assert [s.frame_id for s in one("folder", tmp_path / "line", "b")] == ["10.JPG", "2.jpg"]
    with pytest.raises(DataError, match=r"no folder 'c' there; found a\.png, b/, notes\.txt"):
        read("folder", tmp_path / "line", "c")


@pytest.mark.parametrize("dataset", datasets.DATASETS)
def test_a_wrong_root_says_what_was_expected_and_found(tmp_path, dataset):
    with pytest.raises(DataError, match=r"missing: expected the folder of the dataset .*found nothing there"):
        read(dataset, tmp_path / "missing")
    with pytest.raises(DataError, match=r"expected .*; found an empty folder") as empty:
        read(dataset, tmp_path)
    (tmp_path / "stray.txt").write_text("text")
    with pytest.raises(DataError, match=r"expected .*; found stray\.txt") as stray:
        read(dataset, tmp_path)
    for caught in (empty, stray):
        assert str(caught.value).startswith(f"{tmp_path}: ")
        assert "\n" not in str(caught.value)


def test_unknown_dataset_and_category(tmp_path):
    with pytest.raises(DataError, match="dataset: got 'mnist', expected one of mvtec, visa"):
        read("mnist", tmp_path)
    with pytest.raises(DataError, match="no category 'screw'; found bottle"):
        read("mvtec", mvtec_tree(tmp_path), "screw")
    with pytest.raises(DataError, match=r"looks like one category: give .* and category 'bottle'"):
        read("mvtec", tmp_path / "bottle")


def test_a_category_without_images(tmp_path):
    (tmp_path / "bottle" / "test" / "good").mkdir(parents=True)
    with pytest.raises(DataError, match=r"bottle: expected images in test/good/ .*found no image"):
        read("mvtec", tmp_path)


def test_a_missing_mask_is_named(tmp_path):
    mvtec_tree(tmp_path)
    missing = tmp_path / "bottle" / "ground_truth" / "crack" / "001_mask.png"
    missing.unlink()
    with pytest.raises(DataError, match=r"001\.png: a defective image needs its mask; expected") as caught:
        read("mvtec", tmp_path)
    assert str(missing) in str(caught.value)


@pytest.mark.parametrize("name", ["good", "Good", "NORMAL", "ok", "Ok"])
@pytest.mark.parametrize("dataset", ["mvtec", "mpdd"])
def test_a_folder_of_normal_parts_is_one_in_any_case(tmp_path, dataset, name):
    mvtec_tree(tmp_path)
    test = tmp_path / "bottle" / "test"
    (test / "good").rename(test / "a name between")
    (test / "a name between").rename(test / name)
    samples = one(dataset, tmp_path)
    assert sorted((s.label, s.defect, len(s.mask_paths)) for s in samples) == [
        (0, "good", 0), (0, "good", 0), (1, "crack", 1), (1, "crack", 1),
    ]  # fmt: skip


def test_btad_in_capitals(tmp_path):
    for name in ("OK", "KO"):
        image(tmp_path / "01" / "test" / name / "0.bmp")
    mask(tmp_path / "01" / "ground_truth" / "KO" / "0.png")
    assert facts(one("btad", tmp_path)) == [("test/KO/0.bmp", 1, "KO", 1), ("test/OK/0.bmp", 0, "good", 0)]


def test_nothing_of_a_category_is_left_out_without_a_word(tmp_path):
    mvtec_tree(tmp_path)
    category = tmp_path / "bottle"
    image(category / "test" / "loose.png")
    image(category / "test" / "crack" / "deep" / "002.png")
    mask(category / "ground_truth" / "crack" / "deep" / "002.jfif")
    mask(category / "test" / "good" / "Masks" / "0.png")
    (category / "test" / "good" / "old.gif").write_bytes(b"GIF89a")
    (read_,) = read("mvtec", tmp_path)
    assert "test/crack/deep/002.png" in [sample.frame_id for sample in read_.samples]
    assert list(read_.left_out) == [
        "test/good/Masks/0.png (in a folder of masks)",
        "test/good/old.gif (not named as an image)",
        "test/loose.png (in no folder of a class)",
    ]
    assert read_.counted == "5 images, 2 normal, 3 anomalous"
    (plain,) = read("folder", category)
    sent = images_in(category)
    assert [sample.path for sample in plain.samples] == list(sent.paths)
    assert len(plain.left_out) == len(sent.left_out) + len(sent.masks)
    assert plain.counted == "7 images without labels"


def test_a_set_without_any_masks_still_has_labels(tmp_path):
    mvtec_tree(tmp_path)
    shutil.rmtree(tmp_path / "bottle" / "ground_truth")
    samples = one("mvtec", tmp_path)
    assert [(s.label, s.mask_paths) for s in samples] == [(1, ()), (1, ()), (0, ()), (0, ())]
    with pytest.raises(DataError, match=r"000\.png: the image is defective and has no mask"):
        read_mask(samples[0], 8)
    (tmp_path / "bottle" / "ground_truth").mkdir()
    with pytest.raises(DataError, match=r"needs its mask; expected .*, found no mask there"):
        read("mvtec", tmp_path)


@pytest.mark.parametrize("name", ["cookie", "magnetic_tile"])
def test_the_real_sets_come_in_the_published_order(photographs, golden, name):
    samples = one("mvtec", photographs, name)
    recorded = golden(f"e2e_{name}")
    assert [s.frame_id for s in samples] == recorded["files"].tolist()
    assert [s.label for s in samples] == recorded["labels"].tolist()
    assert read_mask(samples[0], 224).any()
