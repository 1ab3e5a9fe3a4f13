"""Files by day: what they hold, also after a crash, on a full disk, beside an editor."""

import os
import resource
import time
from pathlib import Path
from typing import Any

import pytest
from item_support import AT_NS, HOUR_NS, availability, event, using, verdict
from pydantic import ValidationError
from told_support import DAY, jpeg, names, objects, rows, sink, write

from streamer.bridges.files import Files, FilesSink
from streamer.bridges.files.appended import Appended
from streamer.bridges.files.rows import COLUMNS, HEAD, json_number
from streamer.bridges.sink import Undelivered
from streamer.errors import StreamerError


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


def test_of_lines_that_a_full_disk_broke_off_nothing_is_left_in_the_file(tmp_path):
    path = tmp_path / "lines"
    file = Appended(path, b"", b"", json_number, sync=False)
    assert file.add(b"whole\n") == 6
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            file.add(b"torn by the disk\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"whole\n"
    assert not file.changed()


def test_the_queues_folder_is_none_for_files(tmp_path):
    (tmp_path / "told").mkdir()
    (tmp_path / "same").symlink_to("told")
    with pytest.raises(StreamerError, match=r"files\.folder: .*told is the folder of the queue .*another"):
        sink(tmp_path, queue="same")


def test_a_folder_that_cannot_be_used_is_undelivered(tmp_path):
    (tmp_path / "told").write_bytes(b"")
    with pytest.raises(Undelivered, match=r"files\.folder: .*told"):
        write(sink(tmp_path), verdict(1))


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
