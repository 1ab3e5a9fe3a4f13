"""Whatever lies in the snapshots' folder, the service starts: it is set aside, or left and told."""

import json
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from journal_support import Line, frames, journals
from safetensors import safe_open
from safetensors.numpy import save_file
from snapshot_support import files, tampered
from streamer_support import small_config
from structlog.testing import capture_logs

from musc_online import snapshot, snapshot_file
from musc_online.errors import ConfigError
from streamer import auth
from streamer.server import snapshot_files
from streamer.server.allow_list import AllowList
from streamer.server.journals import SUFFIX
from streamer.server.service import Service
from streamer.server.snapshot_files import Kept, bound_meta, clear, file_name
from streamer.server.stream import Origin

NESTED = "[" * 200_000 + "]" * 200_000


def link_to_nothing(path):
    path.symlink_to(path.with_name("nothing"))


def link_to_itself(path):
    path.symlink_to(path)


def pipe(path):
    os.mkfifo(path)


def listening(path):
    with socket.socket(socket.AF_UNIX) as made:
        os.chdir(path.parent)  # a socket's whole path may be too long
        made.bind(path.name)


def folder(path):
    path.mkdir()
    (path / "x").touch()


def device(path):
    path.symlink_to("/dev/zero")


def empty(path):
    path.touch()


def nested(path):
    save_file({"state": np.frombuffer(NESTED.encode(), np.uint8)}, path, {"schema": "5", "digest": "x"})


def nested_as_of_old(path):
    save_file({"a": np.zeros(1)}, path, {"state": NESTED, "digest": "x"})


def nested_header(path):
    text = b'{"__metadata__":' + NESTED.encode() + b"}"
    path.write_bytes(len(text).to_bytes(8, "little") + text)


def no_map(path):
    save_file({"state": np.frombuffer(b"[1]", np.uint8)}, path, {"schema": "5", "digest": "x"})


def of_floats(path):
    save_file({"state": np.zeros(3)}, path, {"schema": "5", "digest": "x"})


STRAY = [
    link_to_nothing, link_to_itself, pipe, listening, folder, device, empty, nested, nested_as_of_old,
    nested_header, no_map, of_floats,
]  # fmt: skip


@pytest.mark.parametrize("stray", STRAY)
@pytest.mark.parametrize("name", [file_name("line"), f"line-1.{3:016d}{SUFFIX}", "x.safetensors"])
@pytest.mark.timeout(120)
def test_a_stray_entry_is_set_aside(tmp_path, monkeypatch, stray, name):
    monkeypatch.chdir(tmp_path)
    stray(tmp_path / name)
    line = Line(tmp_path, frames(3, 3))
    if not (name.endswith(SUFFIX) and stray is empty):  # a journal that was killed before it was begun
        (text,) = [header["text"] for header in line.outlet.of("error")]
        assert "set aside as" in text
        assert "\n" not in text
        assert [path.name for path in files(tmp_path) if ".refused-" in path.name]
    assert name not in {path.name for path in tmp_path.iterdir()}
    line.frame(0)
    line.snapshots.save_now()
    assert Line(tmp_path, line.parts).detector.ring.arrivals == 1


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("scored", [[1]]),
        ("scored", [{}]),
        ("scored", [1.5]),
        ("scored", [None]),
        ("unpublished", [[1]]),
        ("origins", [[[1], 0, 0, {}]]),
        ("origins", [["a", 0, 1e400, {}]]),
        ("origins", [1]),
        ("waiting", [{"frame_id": [1]}]),
        ("waiting", [1]),
        ("journal", "x"),
        ("tally", {"scored": 1e400, "dropped": {}, "refused": {}, "warned": {}}),
        ("stream", ["line"]),
        ("stream", None),
    ],
)
@pytest.mark.parametrize("asleep", [False, True])
def test_what_the_service_wrote_is_checked_before_it_is_believed(tmp_path, part, value, asleep):
    line = Line(tmp_path, frames(3, 3))
    line.frame(0)
    line.snapshots.save_now()
    path = tmp_path / file_name("line")
    tampered(path, lambda state: state["extra"].update({"asleep": asleep, part: value}))
    again = Line(tmp_path, line.parts)
    assert not path.exists()
    assert len(again.outlet.of("error")) == 1
    assert again.frame(1) is not None


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state["entries"][0]["score"].update(frame_id=[1]),
        lambda state: state["entries"][0]["score"].update(frame_id=1.5),
        lambda state: state.update(slots=[[0]]),
        lambda state: state.update(pinned=[[0]]),
        lambda state: state.update(arrivals=float("inf")),
        lambda state: state.update(since_revision=None),
        lambda state: state.update(fingerprint=None),
        lambda state: state.update(extra=1),
        lambda state: state.pop("stale"),
        lambda state: state.update(geometry=[]),
        lambda state: state.update(events=7),
    ],
)
def test_what_the_detector_wrote_is_checked_too(tmp_path, change):
    line = Line(tmp_path, frames(3, 3))
    line.frame(0)
    line.snapshots.save_now()
    tampered(tmp_path / file_name("line"), change)
    again = Line(tmp_path, line.parts)
    assert len(again.outlet.of("error")) == 1
    assert again.frame(1) is not None


def test_a_file_far_larger_than_its_ring_is_not_read(tmp_path, monkeypatch):
    line = Line(tmp_path, frames(3, 3))
    line.frame(0)
    line.snapshots.save_now()
    monkeypatch.setattr("streamer.server.restoring._BESIDE_RING", -(2**40))
    again = Line(tmp_path, line.parts)
    (error,) = again.outlet.of("error")
    assert "expected at most" in error["text"]


WRITES = """
import sys, numpy as np
from pathlib import Path
from musc_online import snapshot
arrays = {f"store.{number}": np.zeros(2**21) for number in range(20)}
print("begin", flush=True)
while True:
    snapshot.write(snapshot.Snapshot(arrays, {"schema": 5}), Path(sys.argv[1]))
"""


def test_what_a_kill_leaves_half_written_is_cleared(tmp_path):
    """For real: the library writes beside its target, under a name of its own."""
    target = tmp_path / file_name("line")
    with subprocess.Popen([sys.executable, "-c", WRITES, str(target)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"begin\n"
        end = time.monotonic() + 120
        while not any(path.is_dir() and any(path.iterdir()) for path in tmp_path.iterdir()):
            assert time.monotonic() < end
        writer.kill()
    target.unlink(missing_ok=True)
    clear(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_of_an_earlier_version_too_and_nothing_else(tmp_path):
    save_file({"store.a": np.zeros(4)}, tmp_path / "whole", {"state": "{}", "digest": "x"})
    whole = (tmp_path / "whole").read_bytes()
    (tmp_path / ".tmpAb12Cd").write_bytes(whole[:100])
    (tmp_path / ".tmpzzzzzz").touch()
    (tmp_path / ".line.safetensors.77.part").write_bytes(b"x")
    others = {
        ".tmpabcdef": b"somebody's notes",
        ".tmp-x": b"",
        "a.part": b"",
        ".tmpabcdefg": whole,
        "x.tmp": b"",
    }
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / ".tmpfolder").mkdir()
    clear(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*others, ".tmpfolder", "whole"}


def test_over_100_mb_of_meta_are_written_and_read(tmp_path):
    """The header of a safetensors file is bounded: the state is not in it."""
    line = Line(tmp_path, frames(3, 3))
    line.frame(0)
    meta = {"text": "x" * 1_000_000}
    line.stream.origins.update((f"old-{number}", Origin(None, 0, meta)) for number in range(120))
    line.snapshots.save_now()
    path = tmp_path / file_name("line")
    assert path.stat().st_size > 100_000_000
    with safe_open(path, "numpy") as opened:
        assert sum(map(len, opened.metadata().values())) < 10_000
        assert json.loads(opened.metadata()["about"])["arrivals"] == 1
    again = Line(tmp_path, line.parts)
    assert again.outlet.of("error") == []
    assert again.stream.origins["old-7"].meta == meta


def test_meta_beyond_the_bound_is_left_out_of_the_oldest(monkeypatch):
    extra = {"origins": [[f"f{number}", number, 0, {"text": "x" * 90}] for number in range(5)]}
    assert bound_meta(extra, 250) == 3
    assert [origin[3] == {} for origin in extra["origins"]] == [True] * 3 + [False] * 2


def test_a_write_that_fails_for_want_of_room_says_so_and_another_does_not(tmp_path):
    copy = snapshot.Snapshot({}, {"schema": 5})
    (tmp_path / "file").touch()
    with pytest.raises(snapshot_file.SnapshotError, match="see that the folder can be written"):
        snapshot.write(copy, tmp_path / "file" / "x.safetensors")
    assert "free space" in snapshot_file._advice(OSError(28, "No space left on device"))
    assert "free space" in snapshot_file._advice(snapshot_file.SafetensorError("I/O error: (os error 28)"))


def test_float32_is_not_continued_in_bfloat16(tmp_path, monkeypatch):
    """Whatever a backbone's own fingerprint says of it."""
    line = Line(tmp_path, frames(3, 4))
    line.frame(0)
    line.snapshots.save_now()
    line.frame(1)
    monkeypatch.setattr("journal_support.BACKBONE.precision", "bfloat16")
    again = Line(tmp_path, line.parts)
    assert any(
        "precision: got float32, expected bfloat16" in head["text"] for head in again.outlet.of("error")
    )
    assert again.detector is None
    assert journals(tmp_path) == []


def test_a_file_of_before_the_precision_was_noted_is_read_and_told(tmp_path):
    line = Line(tmp_path, frames(3, 4), journal=False)
    line.frame(0)
    line.snapshots.save_now()
    path = tmp_path / file_name("line")
    saved = snapshot.read(path)
    state = {**saved.state, "schema": 4}
    state["fingerprint"] = {key: value for key, value in state["fingerprint"].items() if key != "precision"}
    for name in ("waiting", "journal"):
        del state["extra"][name]
    text = json.dumps(state, sort_keys=True)
    header = {"state": text, "digest": snapshot_file.digest(saved.arrays, text.encode(), {"state": text})}
    save_file(saved.arrays, path, header)
    with capture_logs() as logged:
        again = Line(tmp_path, line.parts)
    assert again.detector.ring.arrivals == 1
    assert ["before the precision was noted" in entry.get("text", "") for entry in logged].count(True) == 1
    assert Kept(state["extra"], "line").number == 0
    assert snapshot_files.header_of(path)["schema"] == 4


@pytest.mark.timeout(120)
def test_a_pipe_for_a_mask_or_a_key_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.key")
    with pytest.raises(ConfigError, match=r"ignore: .*is no file"):
        Service(small_config(ignore=str(tmp_path / "pipe.key")))
    keys = AllowList(tmp_path)
    assert not keys.callback("", b"x" * 40)
    (public, _) = auth.create_keys(tmp_path / "keys", {"camera": "publishers"})[-2:]
    (tmp_path / "camera.key").write_bytes(public.read_bytes())
    assert keys.callback("", auth.read_keys(public)[0])


def test_a_ring_there_is_no_memory_for_does_not_stop_the_start(tmp_path, monkeypatch):
    def full(*_):
        raise MemoryError

    line = Line(tmp_path, frames(3, 3))
    line.frame(0)
    line.snapshots.save_now()
    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "restore", full)
        again = Line(tmp_path, line.parts)
    assert again.detector is None
    assert again.frame(1) is not None
    assert again.detector.ring.arrivals == 2
