"""The journal's file: what was appended is read, wherever it is cut, and damage anywhere is told."""

import resource

import numpy as np
import pytest

from musc_online import journal
from musc_online.journal import DamagedError, Writer, records

HALVES = np.array([[[1]], [[2]]], np.float16)
BYTES = np.arange(6, dtype=np.uint8).reshape(2, 3)[:, ::2]
FLOATS = np.array([[1.5, -0.0]], np.float32)
RECORDS = [
    ({"kind": "frame", "frame_id": "a", "meta": {"part": [1, None, "\u00e4"]}}, {"tokens": FLOATS}),
    ({"kind": "word", "number": 2**63}, {}),
    ({"kind": "frame", "frame_id": 7}, {"tokens": HALVES, "token": np.empty(0, np.float32)}),
    ({"kind": "published"}, {"counts": BYTES}),
]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "line.journal"
    writer = Writer(path)
    for fields, arrays in RECORDS:
        writer.append(fields, arrays)
    assert writer.size == path.stat().st_size
    writer.close()
    return path


def same(found, expected):
    fields, arrays = expected
    kept = {name: value for name, value in found.fields.items() if name != "arrays"}
    return kept == fields and found.arrays.keys() == arrays.keys() and all(
        found.arrays[name].dtype == array.dtype and np.array_equal(found.arrays[name], array)
        for name, array in arrays.items()
    )  # fmt: skip


def test_what_was_appended_is_read_to_the_last_bit(path):
    found = list(records(path))
    assert len(found) == len(RECORDS)
    assert all(same(one, expected) for one, expected in zip(found, RECORDS, strict=True))
    assert [one.fields["kind"] for one in records(path, arrays=False)] == [one["kind"] for one, _ in RECORDS]
    assert found[-1].ends == path.stat().st_size


def test_cut_anywhere_the_whole_records_are_read(path):
    whole = path.read_bytes()
    ends = [one.ends for one in records(path)]
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert [one.ends for one in records(path)] == [end for end in ends if end <= size]


def test_damage_anywhere_is_told_and_what_is_before_it_is_read(path):
    whole = path.read_bytes()
    ends = [0, *(one.ends for one in records(path))]
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        found = []
        with pytest.raises(DamagedError) as caught:
            found.extend(records(path))
        before = max(end for end in ends if end <= position)
        assert caught.value.at == before
        assert "\n" not in str(caught.value)


def test_a_disk_that_fills_leaves_the_records_before(tmp_path):
    writer = Writer(tmp_path / "line.journal", durable=True)
    writer.append({"kind": "one"})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            writer.append({"kind": "two"}, {"tokens": np.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.append({"kind": "three"})
    writer.close()
    assert [one.fields["kind"] for one in records(tmp_path / "line.journal")] == ["one", "three"]


def test_objects_are_not_arrays(tmp_path):
    path = tmp_path / "line.journal"
    parts = journal.packed({"kind": "x"}, {"a": np.zeros(1, np.int64)})
    hostile = bytes(parts[1]).replace(b"<i8", b"|O8")
    check = journal.zlib.crc32(parts[2], journal.zlib.crc32(hostile))
    prefix = journal._PREFIX.pack(b"mjr1", len(hostile), 8, check)
    path.write_bytes(prefix + journal._CHECK.pack(journal.zlib.crc32(prefix)) + hostile + bytes(parts[2]))
    with pytest.raises(DamagedError, match="expected numbers"):
        list(records(path))


def test_what_could_not_be_read_again_is_not_written(tmp_path):
    writer = journal.Writer(tmp_path / "a.journal")
    writer.append({"kind": "frame", "meta": "x"})
    with pytest.raises(ValueError, match="16777216 are read"):
        writer.append({"kind": "frame", "meta": "x" * 2**24})
    writer.append({"kind": "frame", "meta": "y"})
    writer.close()
    assert [record.fields["meta"] for record in journal.records(writer.path)] == ["x", "y"]
