"""Pictures with map and outline: of which verdicts, how they look, and what they are called."""

import cv2
import numpy as np
import pytest
from item_support import verdict
from told_support import DAY, jpeg, mapped, names, objects, rows, sink, write

from streamer.overlays import GAP


@pytest.mark.parametrize("encoding", ["grid", "float32", "png16"])
@pytest.mark.parametrize("image_format", ["jpeg", "png"])
def test_an_anomalous_frame_gets_its_picture_with_map_and_outline(tmp_path, encoding, image_format):
    hot = verdict(2, label=True, picture=jpeg(), **mapped(encoding))
    one = sink(tmp_path, overlays={"format": image_format})
    write(one, verdict(1, picture=jpeg(), **mapped(encoding)), hot)
    drawn = [name for name in names(tmp_path) if "overlays" in name]
    assert len(drawn) == 1
    assert objects(tmp_path)[1]["overlay"] == rows(tmp_path)[1]["overlay"] == drawn[0]
    assert rows(tmp_path)[0]["overlay"] == ""
    assert drawn[0].endswith({"jpeg": ".jpg", "png": ".png"}[image_format])
    picture = cv2.imread(str(tmp_path / "told" / drawn[0]))
    assert picture.shape == (240 + 50, 3 * 320 + 2 * GAP, 3)
    whole = picture[:240].astype(int)
    plain, heat, outlined = (whole[:, start : start + 320] for start in (0, 320 + GAP, 2 * (320 + GAP)))
    hot_part, cold_part = np.s_[20:90, 20:120], np.s_[160:220, 200:300]
    assert np.abs(plain[:, :300] - 90).max() < 8
    assert heat[hot_part].mean() > heat[cold_part].mean() + 40
    line = outlined.min(axis=2) > 190
    assert line[:130, :170].sum() > 100
    assert not line[cold_part].any()
    assert (picture[240:] > 128).mean() > 0.5, "the numbers of its scale stand below it"


def test_a_frame_is_drawn_when_it_becomes_anomalous_and_not_at_each_word_of_it(tmp_path):
    words = [
        verdict(1, label=False, picture=jpeg(), **mapped()),
        verdict(2, kind="revision", label=True, before=False, revision=1, picture=jpeg()),
        verdict(3, kind="revision", label=True, before=True, revision=2, picture=jpeg()),
        verdict(4, kind="revision", label=False, before=True, revision=3, picture=jpeg()),
        verdict(5, kind="revision", label=True, before=False, is_final=True, **mapped()),
        verdict(6, kind="revision", label=True, before=False, is_final=True),
    ]
    write(sink(tmp_path), *words)
    assert [bool(row["overlay"]) for row in rows(tmp_path)] == [False, True, False, False, True, False]
    (tmp_path / "all").mkdir()
    write(sink(tmp_path / "all", overlays={"of": "all"}), *words)
    assert [bool(row["overlay"]) for row in rows(tmp_path / "all")] == [True, True, False, False, True, False]


def test_a_picture_that_cannot_be_drawn_costs_no_line(tmp_path):
    entry = mapped()["anomaly_map"]
    one = sink(tmp_path)
    items = [
        verdict(1, label=True, picture=b"no jpeg"),
        verdict(2, label=True, picture=jpeg(), anomaly_map=entry, payload=b"short"),
        verdict(
            3,
            label=True,
            picture=jpeg(),
            anomaly_map={"encoding": "float32", "shape": [1, 1]},
            payload=b"\0\0\xc0\x7f",
        ),
        verdict(4, label=True, picture=b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff" + bytes(20)),
    ]
    assert write(one, *items) == 4
    assert one.counts()["overlays_failed"][1] == 4
    assert [row["overlay"] for row in rows(tmp_path)] == [""] * 4


def test_names_are_safe_whatever_frames_and_streams_are_called(tmp_path):
    hostile = [
        "../../../etc/x",
        "/abs",
        "..",
        "",
        "con.",
        "a/b",
        "a\\b",
        "a:b",
        "a b",
        "\x00",
        "-rf",
        "é" * 300,
        "x" * 300,
        "\udcff",
    ]
    items = [
        verdict(n, label=True, stream=name, frame_id=name, picture=jpeg()) for n, name in enumerate(hostile)
    ]
    write(sink(tmp_path), *items)
    drawn = [row["overlay"] for row in rows(tmp_path)]
    assert len(set(drawn)) == len(hostile)
    inside = set(map(str, tmp_path.rglob("*"))) - set(map(str, (tmp_path / "queue").rglob("*")))
    for name in drawn:
        day, folder, file = name.split("/")
        assert (day, folder) == (DAY, "overlays")
        assert len(file) < 140
        assert file.isascii()
        assert file.removesuffix(".jpg").replace("-", "").replace("_", "").isalnum()
        assert file[0].isalnum()
        assert str(tmp_path / "told" / name) in inside
    assert sorted(names(tmp_path)) == sorted([*drawn, f"{DAY}/told-0001.csv", f"{DAY}/told-0001.jsonl"])
