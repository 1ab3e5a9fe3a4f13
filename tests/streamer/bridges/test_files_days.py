"""What is deleted when, by age and by size, and what a clock that is wrong cannot delete."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from item_support import HOUR_NS, queue_folder, using, verdict
from structlog.testing import capture_logs
from told_support import DAY, NOW_NS, names, rows, sink, write

from streamer.bridges.files import Files, FilesSink
from streamer.bridges.files.rows import HEAD
from streamer.bridges.sink import Item


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


DAY_NS = 24 * HOUR_NS


def kept_days(folder):
    return sorted(path.name for path in (folder / "told").iterdir() if path.is_dir())


def days_until(newest, count):
    return [str(date.fromisoformat(newest) - timedelta(days=n)) for n in range(count)][::-1]


def archive(folder, newest, count):
    """Days with a file each, as a bridge has left them."""
    for day in days_until(newest, count):
        (folder / "told" / day).mkdir(parents=True)
        (folder / "told" / day / "told-0001.csv").write_bytes(HEAD)


class Machine:
    """Its clock, and a sink of its own at every start; a look is an hour after the last one."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.now_ns = NOW_NS
        self._folder, self._more = folder, more
        self.start()

    def start(self) -> None:
        section = Files(folder=self._folder / "told", **self._more)
        self.sink = FilesSink(section, queue_folder(self._folder / "queue", "files"), lambda: self.now_ns)

    def runs(self, hours: int, *items: Item) -> None:
        async def work(one: FilesSink) -> None:
            for _ in range(hours):
                self.now_ns += HOUR_NS
                await one.open()
                if items:
                    await one.deliver(items)

        using(self.sink, work)


def test_a_clock_that_leaps_ahead_deletes_nothing_and_is_told(tmp_path):
    archive(tmp_path, DAY, 60)
    machine = Machine(tmp_path, days=90)
    machine.now_ns += 365 * DAY_NS
    with capture_logs() as lines:
        machine.runs(3, verdict(1, scored_ns=machine.now_ns))
        machine.start()  # nor does it at the next start
        machine.runs(3)
        machine.now_ns -= 365 * DAY_NS
        machine.runs(30)
    assert kept_days(tmp_path) == [*days_until(DAY, 60), "2027-11-30"]
    told = [(line["clock"], line["counted_from"]) for line in lines if line["event"] == "files_clock_jumped"]
    assert told == [("2027-11-30", DAY)] * 2  # once a start


def test_what_is_told_while_the_clock_is_behind_is_not_deleted_once_it_is_right(tmp_path):
    machine = Machine(tmp_path, days=90)
    machine.runs(1, verdict(1))
    machine.start()
    machine.now_ns -= 400 * DAY_NS  # started without a battery
    with capture_logs() as lines:
        machine.runs(3, verdict(2, scored_ns=machine.now_ns))
    machine.now_ns += 400 * DAY_NS
    machine.runs(30)
    assert kept_days(tmp_path) == [DAY]
    assert len(rows(tmp_path)) == 2
    told = [(line["clock"], line["counted_from"]) for line in lines if line["event"] == "files_clock_jumped"]
    assert told == [("2025-10-26", DAY)]


def test_a_clock_that_was_set_back_is_believed_after_a_day(tmp_path):
    machine = Machine(tmp_path, days=90)
    machine.runs(1, verdict(1))
    machine.now_ns -= 40 * DAY_NS
    machine.runs(30)
    machine.runs(1, verdict(2, scored_ns=machine.now_ns))
    assert kept_days(tmp_path) == ["2026-10-22", DAY]


def test_a_bridge_that_was_off_for_months_tidies_after_a_day_restarts_or_not(tmp_path):
    archive(tmp_path, DAY, 60)
    machine = Machine(tmp_path, days=90)
    machine.runs(1)
    machine.now_ns += 60 * DAY_NS
    for hours in (9, 9, 3):
        machine.start()
        machine.runs(hours)
        assert kept_days(tmp_path) == days_until(DAY, 60)
    machine.runs(3)
    assert kept_days(tmp_path) == days_until(DAY, 29)


def test_a_second_leap_is_no_day_that_was_run(tmp_path):
    archive(tmp_path, DAY, 60)
    machine = Machine(tmp_path, days=90)
    for _ in range(3):
        machine.now_ns += 365 * DAY_NS
        machine.runs(2)
    assert kept_days(tmp_path) == days_until(DAY, 60)


@pytest.mark.parametrize(
    ("days", "off", "goes"), [(90, 7, True), (90, 8, False), (5, 1, True), (5, 2, False)]
)
def test_what_a_weekend_or_a_night_off_makes_old_goes_at_once(tmp_path, days, off, goes):
    archive(tmp_path, DAY, days)
    machine = Machine(tmp_path, days=days)
    machine.runs(1)
    machine.now_ns += off * DAY_NS
    machine.runs(1)
    assert kept_days(tmp_path) == days_until(DAY, days - off if goes else days)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"day": "x", "clock_ns": 1}', "\x00" * 99])
def test_what_was_seen_of_the_clock_may_be_gone_or_damaged(tmp_path, content):
    archive(tmp_path, DAY, 60)
    (tmp_path / "told" / "2026-99-99").mkdir()
    (tmp_path / "told" / ".clock").write_text(content, encoding="utf-8")
    machine = Machine(tmp_path, days=30)
    machine.now_ns += 365 * DAY_NS
    machine.runs(1)
    assert kept_days(tmp_path) == [*days_until(DAY, 30), "2026-99-99"]
