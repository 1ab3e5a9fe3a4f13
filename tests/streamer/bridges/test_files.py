"""Files by day: what they hold, also after a crash, on a full disk, beside an editor, of hostile names."""

import asyncio
import csv
import json
import os
import resource
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from item_support import AT_NS, HOUR_NS, availability, event, queue_folder, verdict
from pydantic import ValidationError

from streamer.bridges.files import Files, FilesSink
from streamer.bridges.files.rows import COLUMNS, HEAD
from streamer.bridges.sink import Item, Undelivered
from streamer.maps import PatchGrid, encode_map, interpolate

DAY = "2026-11-30"
NOW_NS = AT_NS + HOUR_NS


def sink(folder: Path, now_ns: int = NOW_NS, queue: str = "queue", **more: Any) -> FilesSink:
    return FilesSink(
        Files(folder=folder / "told", **more), queue_folder(folder / queue, "files"), lambda: now_ns
    )


def using(one: FilesSink, work: Callable[[FilesSink], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        await one.open()
        try:
            return await work(one)
        finally:
            await one.close()

    return asyncio.run(run())


def write(one: FilesSink, *items: Item) -> int:
    return using(one, lambda opened: opened.deliver(items))


def rows(folder: Path, name: str = f"{DAY}/told-0001.csv") -> list[dict[str, str]]:
    with (folder / "told" / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def objects(folder: Path, name: str = f"{DAY}/told-0001.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "told" / name).read_text("ascii").splitlines()]


def names(folder: Path) -> list[str]:
    told = folder / "told"
    return sorted(
        str(path.relative_to(told))
        for path in told.rglob("*")
        if path.is_file() and path not in {told / "lock", told / ".clock"}
    )


def jpeg(height: int = 96, width: int = 128) -> bytes:
    return cv2.imencode(".jpg", np.full((height, width, 3), 90, np.uint8))[1].tobytes()


def mapped(encoding: str = "grid") -> dict[str, Any]:
    """A map that is hot in its upper left quarter, as it travels."""
    scores = np.full((8, 8), 0.1, np.float32)
    scores[:4, :4] = 0.9
    entry, payload = encode_map(interpolate(scores, (56, 56)), encoding, PatchGrid(scores))
    return {"anomaly_map": entry, "payload": payload}


def test_a_verdict_its_revision_and_its_final_are_a_line_each(tmp_path):
    items = [
        verdict(1),
        verdict(2, kind="revision", frame_id="part-1", label=True, before=False, revision=1, late=True),
        verdict(3, kind="revision", frame_id="part-1", label=True, before=True, revision=1, is_final=True),
        event(4),
        availability(5, "down"),
    ]
    assert write(sink(tmp_path), *items) == 5
    table = rows(tmp_path)
    assert [row["what"] for row in table] == ["provisional", "revised", "final", "repeat", "down"]
    assert [(row["verdict"], row["before"], row["final"]) for row in table[:3]] == [
        ("normal", "", "no"),
        ("anomalous", "normal", "no"),
        ("anomalous", "anomalous", "yes"),
    ]
    first = table[0]
    assert (first["number"], first["stream"], first["frame_id"], first["part_id"]) == (
        "1",
        "line",
        "part-1",
        "P1",
    )
    assert (first["at"], first["captured"]) == ("2026-11-30T00:53:20.251Z", "2026-11-30T00:53:20.150Z")
    assert (first["raw"], first["threshold"], first["late"], table[1]["late"]) == ("0.5", "0.4", "", "yes")
    assert (table[3]["kind"], table[3]["group"], table[3]["name"]) == ("event", "3", "scratch")
    lines = objects(tmp_path)
    assert [line["number"] for line in lines] == [1, 2, 3, 4, 5]
    assert lines[1]["header"]["raw_score"] == 0.5
    assert len({line["bridge"] for line in lines} | {row["bridge"] for row in table}) == 1


def test_the_table_is_rfc_4180_and_no_formula(tmp_path):
    hostile = [
        '=HYPERLINK("http://x","y")', "+1", "-1+2", "@SUM(A1)", "\t=1", '" =1', 'a"b,c\r\nd', "a;=1",
        "\u2028=\x1b[2J", "ä€",
    ]  # fmt: skip
    write(sink(tmp_path), *[verdict(n, frame_id=text) for n, text in enumerate(hostile)])
    raw = (tmp_path / "told" / DAY / "told-0001.csv").read_bytes()
    assert raw.startswith(HEAD)
    assert raw.count(b"\r\n") == raw.count(b"\n") == raw.count(b"\r") == len(hostile) + 1
    cells = [row["frame_id"] for row in rows(tmp_path)]
    assert cells == [
        '\'=HYPERLINK("http://x","y")', "'+1", "'-1+2", "'@SUM(A1)", "\\t=1", '\'" =1', 'a"b,c\\r\\nd',
        "a;'=1", "\\u2028=\\x1b[2J", "ä€",
    ]  # fmt: skip
    assert [line["header"]["frame_id"] for line in objects(tmp_path)] == hostile


def test_whatever_a_newer_detector_says_costs_no_line(tmp_path):
    odd = verdict(
        1, label="maybe", frame_id={"a": [1]}, raw_score=float("inf"), threshold="low", regions=7, meta=[1],
        seq=b"x", scored_ns=-1, capture_ns=2**70, late=None, known_defect="\udcff", anomaly_map="none",
        is_final="yes",
    )  # fmt: skip
    deep: Any = []
    for _ in range(100):
        deep = [deep]
    assert write(sink(tmp_path, overlays={"of": "all"}), odd, verdict(2, meta={"deep": deep})) == 2
    assert [row["number"] for row in rows(tmp_path)] == ["1", "2"]
    assert objects(tmp_path)[0]["header"]["raw_score"] is None


@pytest.mark.parametrize(("zone", "day"), [("utc", DAY), ("local", "2026-11-29")])
def test_a_day_is_that_of_utc_or_of_this_machine(tmp_path, monkeypatch, zone, day):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        write(sink(tmp_path, time=zone), verdict(1))
        at = rows(tmp_path, f"{day}/told-0001.csv")[0]["at"]
        assert at == {"utc": "2026-11-30T00:53:20.251Z", "local": "2026-11-29T19:53:20.251-05:00"}[zone]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_what_is_late_stands_under_its_own_day_and_nothing_under_one_to_come(tmp_path):
    day_ns = 24 * HOUR_NS
    items = [
        verdict(1, scored_ns=AT_NS),
        verdict(2, scored_ns=AT_NS - day_ns),
        verdict(3, scored_ns=AT_NS + 99 * day_ns),
    ]
    assert write(sink(tmp_path), *items) == 3
    assert [row["number"] for row in rows(tmp_path)] == ["1", "3"]
    assert [row["number"] for row in rows(tmp_path, "2026-11-29/told-0001.csv")] == ["2"]
    # The newest line of all days is the last that was written.
    assert write(sink(tmp_path), *items, verdict(4)) == 4
    assert [row["number"] for row in rows(tmp_path)] == ["1", "3", "4"]


def test_what_is_there_is_not_written_again_after_a_restart_each_file_for_itself(tmp_path):
    write(sink(tmp_path), verdict(1), verdict(2))
    told = tmp_path / "told" / DAY / "told-0001.csv"
    told.write_bytes(
        b"".join(told.read_bytes().splitlines(keepends=True)[:-1])
    )  # killed between the two files
    write(sink(tmp_path), verdict(1), verdict(2), verdict(3))
    assert [row["number"] for row in rows(tmp_path)] == ["1", "2", "3"]
    assert [line["number"] for line in objects(tmp_path)] == [1, 2, 3]


def test_numbers_of_another_queue_are_others(tmp_path):
    write(sink(tmp_path), verdict(5))
    write(sink(tmp_path, queue="new"), verdict(1))
    write(sink(tmp_path, queue="new"), verdict(1), verdict(2))
    assert [row["number"] for row in rows(tmp_path)] == ["5", "1", "2"]


@pytest.mark.parametrize("cut", [1, 20, 100])
@pytest.mark.parametrize("tail", [b"", b"\0" * 5000])
def test_a_torn_last_line_is_mended(tmp_path, cut, tail):
    write(sink(tmp_path), verdict(1), verdict(2))
    for name in ("told-0001.csv", "told-0001.jsonl"):
        path = tmp_path / "told" / DAY / name
        path.write_bytes(path.read_bytes()[:-cut] + tail)
    mending = sink(tmp_path)
    write(mending, verdict(2), verdict(3))
    assert mending.counts()["mended"][1] == 2
    assert [row["number"] for row in rows(tmp_path)] == ["1", "2", "3"]
    assert [line["number"] for line in objects(tmp_path)] == [1, 2, 3]


def test_a_torn_first_line_is_mended(tmp_path):
    write(sink(tmp_path), verdict(1))
    for name, left in (("told-0001.csv", 10), ("told-0001.jsonl", 30)):
        path = tmp_path / "told" / DAY / name
        path.write_bytes(path.read_bytes()[:left])
    write(sink(tmp_path), verdict(1))
    assert [row["number"] for row in rows(tmp_path)] == ["1"]
    assert [line["number"] for line in objects(tmp_path)] == [1]


@pytest.mark.parametrize(
    "content", [b"a;b\r\n1;2\r\n", b"notes", HEAD + b"1;x\r\n", b'{"bridge": "x"}\n', b"\xef\xbb\xbf"]
)
def test_what_somebody_else_has_written_is_left_alone_and_another_file_begun(tmp_path, content):
    day = tmp_path / "told" / DAY
    day.mkdir(parents=True)
    for name in ("told-0001.csv", "told-0001.jsonl"):
        (day / name).write_bytes(content)
    write(sink(tmp_path), verdict(1))
    write(sink(tmp_path), verdict(1), verdict(2))
    for name in ("told-0001.csv", "told-0001.jsonl"):
        assert (day / name).read_bytes() == content
    assert [row["number"] for row in rows(tmp_path, f"{DAY}/told-0002.csv")] == ["1", "2"]
    assert [line["number"] for line in objects(tmp_path, f"{DAY}/told-0002.jsonl")] == [1, 2]


def test_files_that_are_taken_away_while_it_runs_are_begun_anew(tmp_path):
    async def work(one: FilesSink) -> None:
        await one.deliver([verdict(1)])
        for name in names(tmp_path):
            (tmp_path / "told" / name).unlink()
        await one.deliver([verdict(2)])
        (tmp_path / "told" / DAY / "told-0001.csv").write_bytes(b"saved by a spreadsheet\n")
        await one.deliver([verdict(3)])

    using(sink(tmp_path), work)
    assert [line["number"] for line in objects(tmp_path)] == [2, 3]
    assert [row["number"] for row in rows(tmp_path, f"{DAY}/told-0002.csv")] == ["3"]


def test_a_link_is_not_followed(tmp_path):
    day, elsewhere = tmp_path / "told" / DAY, tmp_path / "elsewhere"
    day.mkdir(parents=True)
    elsewhere.write_bytes(b"")
    (day / "told-0001.csv").symlink_to(elsewhere)
    with pytest.raises(Undelivered, match=r"told-0001\.csv"):
        write(sink(tmp_path), verdict(1))
    assert elsewhere.read_bytes() == b""


@pytest.mark.parametrize("sync", [True, False])
def test_a_full_disk_is_undelivered_and_mends_itself(tmp_path, sync):
    one = sink(tmp_path, sync=sync, overlays={"of": "none"})

    async def work(opened: FilesSink) -> int:
        await opened.deliver([verdict(n) for n in range(10)])
        size = (tmp_path / "told" / DAY / "told-0001.csv").stat().st_size
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, hard))  # as a disk that fills within a line
        try:
            for _ in range(2):
                with pytest.raises(Undelivered, match="cannot be written"):
                    await opened.deliver([verdict(n) for n in range(10, 20)])
                await opened.open()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        return await opened.deliver([verdict(n) for n in range(10, 20)])

    assert using(one, work) == 10
    assert [row["number"] for row in rows(tmp_path)] == [str(n) for n in range(20)]
    assert [line["number"] for line in objects(tmp_path)] == list(range(20))


def test_a_folder_that_cannot_be_used_is_undelivered(tmp_path):
    (tmp_path / "told").write_bytes(b"")
    with pytest.raises(Undelivered, match=r"files\.folder: .*told"):
        write(sink(tmp_path), verdict(1))


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
    assert picture.shape == (240, 960, 3)
    plain, heat, outlined = np.hsplit(picture.astype(int), 3)
    hot_part, cold_part = np.s_[20:90, 20:120], np.s_[160:220, 200:300]
    assert np.abs(plain[:, :300] - 90).max() < 8
    assert heat[hot_part].mean() > heat[cold_part].mean() + 40
    red = (outlined[..., 2] > 200) & (outlined[..., 0] < 90)
    assert red[:130, :170].sum() > 100
    assert not red[cold_part].any()


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


def test_a_day_that_is_too_old_goes_and_what_is_somebodys_stays(tmp_path):
    told = tmp_path / "told"
    for day in ("2026-11-20", "2026-11-27", "2026-11-28", "2026-11-29"):
        (told / day / "overlays").mkdir(parents=True)
        (told / day / "told-0001.csv").write_bytes(HEAD)
        (told / day / "overlays" / "a_b_0000000001-0123abcd.jpg").write_bytes(b"x")
    (told / "2026-11-20" / "notes.txt").write_bytes(b"mine")
    (told / "2026-1-1").mkdir()
    (told / "2026-11-01").symlink_to(told / "2026-11-28")
    one = sink(tmp_path, days=3)
    write(one, verdict(1))
    assert names(tmp_path) == [
        "2026-11-20/notes.txt",
        "2026-11-28/overlays/a_b_0000000001-0123abcd.jpg",
        "2026-11-28/told-0001.csv",
        "2026-11-29/overlays/a_b_0000000001-0123abcd.jpg",
        "2026-11-29/told-0001.csv",
        f"{DAY}/told-0001.csv",
        f"{DAY}/told-0001.jsonl",
    ]
    assert (told / "2026-11-01").is_symlink()
    counts = one.counts()
    assert (counts["deleted"][1], counts["deleted_days"][1]) == (4, 1)


def test_beyond_its_bytes_the_oldest_days_go_and_never_what_is_being_written(tmp_path):
    told = tmp_path / "told"
    for day in ("2026-11-27", "2026-11-28"):
        (told / day).mkdir(parents=True)
        (told / day / "told-0001.csv").write_bytes(HEAD + b"x" * 600_000 + b"\n")
    one = sink(tmp_path, max_bytes=2**20, file_bytes=4096, sync=False)
    write(one, *[verdict(n) for n in range(50)])
    assert not (told / "2026-11-27").exists()
    assert (told / "2026-11-28").exists()
    assert one.counts()["deleted_days"][1] == 1

    async def work(opened: FilesSink) -> None:
        for start in range(50, 3000, 50):
            await opened.deliver([verdict(n) for n in range(start, start + 50)])
            kept = sum((told / name).stat().st_size for name in names(tmp_path))
            assert kept == opened.bytes <= 2**20 + 100_000

    using(one, work)
    assert not (told / "2026-11-28").exists()
    assert one.counts()["deleted"][1] > 20
    parts = sorted(
        int(name.split("-")[-1].split(".")[0]) for name in names(tmp_path) if name.endswith(".csv")
    )
    assert parts == list(range(parts[0], parts[-1] + 1))
    assert rows(tmp_path, f"{DAY}/told-{parts[-1]:04d}.csv")[-1]["number"] == "2999"


def test_a_line_that_is_longer_than_a_file_may_be_is_written_whole(tmp_path):
    one = sink(tmp_path, max_bytes=2**20, file_bytes=4096)
    write(one, verdict(1, meta={"part_id": "y" * 200_000}), verdict(2))
    assert rows(tmp_path)[0]["part_id"] == "y" * 1000 + "…"
    assert objects(tmp_path)[0]["header"]["meta"]["part_id"] == "y" * 200_000
    write(sink(tmp_path, max_bytes=2**20, file_bytes=4096), verdict(1), verdict(2), verdict(3))
    assert [row["number"] for row in rows(tmp_path)] == ["1", "2", "3"]
    assert [line["number"] for line in objects(tmp_path)] == [1, 2]
    assert [line["number"] for line in objects(tmp_path, f"{DAY}/told-0002.jsonl")] == [3]


def test_a_configuration_that_writes_nothing_or_cannot_keep_its_bounds_is_refused(tmp_path):
    for wrong, reason in (
        ({"csv": False, "jsonl": False}, "one of the two"),
        ({"max_bytes": "1MiB", "file_bytes": "300KiB"}, "a quarter of max_bytes"),
    ):
        with pytest.raises(ValidationError, match=reason):
            Files(folder=tmp_path, **wrong)


def test_the_columns_stay_what_they_are():
    """Whoever reads the table counts on them: new ones come behind these."""
    assert COLUMNS[:12] == (
        "number", "bridge", "kind", "what", "at", "stream", "frame_id", "part_id", "product_id", "seq",
        "captured", "verdict",
    )  # fmt: skip
    assert COLUMNS[12:] == (
        "before", "raw", "rscin", "pred", "threshold", "state", "revision", "final", "references",
        "known_defect", "regions", "late", "overlay", "who", "group", "name", "lost", "text",
    )  # fmt: skip


def test_what_deliver_returned_for_is_on_the_disk_where_sync_says_so(tmp_path, monkeypatch):
    synced: list[str] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        real(handle)

    write(sink(tmp_path, sync=False), verdict(0))
    monkeypatch.setattr(os, "fsync", fsync)
    write(sink(tmp_path), verdict(1, label=True, picture=jpeg()))
    day = str(tmp_path / "told" / DAY)
    expected = ("told-0001.csv", "told-0001.jsonl", "overlays/.new", "overlays")
    assert {f"{day}/{name}" for name in expected} <= set(synced)
    synced.clear()
    write(sink(tmp_path, sync=False), verdict(2, label=True, picture=jpeg()))
    assert synced == []
