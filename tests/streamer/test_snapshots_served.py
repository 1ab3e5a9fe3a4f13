"""The service keeps its rings across restarts, and takes an operator's word on single frames."""

import pytest
from click.testing import CliRunner
from snapshot_support import config, cut, files, forget_ids, play, show, tampered
from streamer_support import Camera, Screen, backbone, control, identity_holds, serving, small_config, until

from musc_online.snapshot_file import read_state
from streamer.errors import StreamerError, WireError
from streamer.operate import main as operate_main
from streamer.server import snapshots
from streamer.server.service import Service
from streamer.server.snapshot_files import SUFFIX, file_name

pytestmark = pytest.mark.engines("always")

__all__ = ["backbone"]


def test_a_restart_says_what_an_uninterrupted_run_says(backbone, tmp_path):
    with serving(config(), backbone) as service:
        play(service, range(8))
        expected = show(service, range(8, 16))
    with serving(config(tmp_path), backbone) as service:
        play(service, range(8))
    with serving(config(tmp_path), backbone) as service:
        status = control(service, "status")
        assert (status["streams"]["line"]["images"], status["scored"]) == (8, 8)
        assert identity_holds(status)
        assert show(service, range(8, 16)) == expected
    assert any(fields["revision"] and fields["meta"] == {"part": 7} for fields in expected)


def test_a_snapshot_on_request_and_the_ids_it_knows(backbone, tmp_path):
    with serving(config(tmp_path), backbone) as service:
        play(service, range(4))
        play(service, range(3), stream="..")
        written = control(service, "snapshot")["written"]
        assert [(entry["stream"], entry["arrivals"]) for entry in written] == [("line", 4), ("..", 3)]
        assert sorted(path.name for path in rings(tmp_path)) == sorted(entry["file"] for entry in written)
        saved = {path.name: path.read_bytes() for path in rings(tmp_path)}
        play(service, range(4, 6))
    forget_ids(tmp_path)
    for name, content in saved.items():  # as if the process had been killed just before frame 4
        (tmp_path / name).write_bytes(content)
    with serving(config(tmp_path), backbone) as service, Screen(service) as screen:
        with Camera(service.endpoints["frames"]) as camera:
            camera.picture(2)
            camera.picture(4)
            (error,), (score,) = screen.until(1, "error"), screen.until(1, "score")
        assert (error["code"], error["frame_id"]) == ("duplicate", "line-2")
        assert (score["frame_id"], score["n_references"]) == ("line-4", 4)


def test_the_timer_writes_what_changed_and_only_that(backbone, tmp_path):
    values = {"snapshot": {"path": str(tmp_path), "every_s": 0.05}}
    with serving(small_config(**values), backbone) as service:
        play(service, range(2))
        path = tmp_path / file_name("line")
        until(lambda: path.exists() and read_state(path)["arrivals"] == 2)
        written = control(service, "status")["snapshot"]["written"]
        service.snapshots._stopping.wait(0.5)
        assert control(service, "status")["snapshot"]["written"] <= written + 1
        assert control(service, "status")["snapshot"]["failed"] is None


def rings(folder):
    return list(folder.glob(f"*{SUFFIX}"))


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (cut, "damaged"),
        (lambda path: path.write_bytes(b"no snapshot"), "damaged"),
        (lambda path: tampered(path, lambda state: state.update(schema=0)), "schema 0, expected 5"),
        (
            lambda path: tampered(path, lambda state: state["fingerprint"].update(model_id="x")),
            "model_id: got x",
        ),
        (lambda path: tampered(path, lambda state: state["extra"].pop("origins")), "the service's part"),
        (lambda path: tampered(path, lambda state: state["extra"].update(stream="b")), "whose file is"),
    ],
)
def test_what_cannot_be_restored_is_told_and_set_aside(backbone, tmp_path, damage, text):
    with serving(config(tmp_path), backbone) as service:
        play(service, range(3))
    path = tmp_path / file_name("line")
    damage(path)
    with serving(config(tmp_path), backbone) as service:
        status = control(service, "status")
        assert status["snapshot"]["refused"] == 1
        topics = [f"{name}/error" for name in ("line", "-")]
        kept = [entry for topic in topics for entry in control(service, "history", topic=topic)["messages"]]
        assert len(kept) == 1
        assert text in str(kept[0]["header"])
        assert not path.exists()
        (aside,) = files(tmp_path)
        assert aside.name.startswith(f"{path.name}.refused-")
        assert play(service, range(3, 5))[0]["n_references"] == 0


def test_a_full_disk_is_told_and_scoring_goes_on(backbone, tmp_path):
    with serving(config(tmp_path), backbone) as service, Screen(service) as screen:
        play(service, range(2))
        path = tmp_path / file_name("line")
        path.mkdir()  # where the file should go: what the kernel refuses, for whatever reason
        (path / "x").touch()
        with pytest.raises(WireError, match="could not be written"):
            control(service, "snapshot")
        assert screen.until(1, "error")[0]["code"] == "snapshot_failed"
        status = control(service, "status")
        assert (status["state"], status["snapshot"]["failures"]) == ("degraded", 1)
        assert play(service, range(2, 4))[-1]["n_references"] == 3
        (path / "x").unlink()
        path.rmdir()
        control(service, "snapshot")
        assert control(service, "status")["state"] == "ready"


@pytest.mark.one_process
def test_no_room_for_the_copy_is_told_and_scoring_goes_on(backbone, tmp_path, monkeypatch):
    def full(*_):
        raise MemoryError

    with serving(config(tmp_path), backbone) as service:
        play(service, range(2))
        with monkeypatch.context() as patch:
            patch.setattr(snapshots.snapshot, "capture", full)
            with pytest.raises(WireError, match="MemoryError"):
                control(service, "snapshot")
        assert play(service, range(2, 4))[-1]["n_references"] == 3
        assert control(service, "snapshot")["written"][0]["arrivals"] == 4


def test_a_frame_captured_but_never_published_is_published_when_sent_again(backbone, tmp_path):
    with serving(config(tmp_path), backbone) as service:
        said = play(service, range(4))
    path = tmp_path / file_name("line")

    def unpublish(state):
        state["extra"]["unpublished"] = [state["extra"]["scored"].pop()]

    tampered(path, unpublish)
    forget_ids(tmp_path)
    with serving(config(tmp_path), backbone) as service:
        again = play(service, [3])
        assert [again[0][name] for name in ("frame_id", "raw_score", "meta")] == [
            said[3][name] for name in ("frame_id", "raw_score", "meta")
        ]
        assert control(service, "status")["streams"]["line"]["images"] == 4
        assert play(service, [4])[0]["n_references"] == 4


def test_reset_stays_reset(backbone, tmp_path):
    with serving(config(tmp_path), backbone) as service:
        play(service, range(3))
        control(service, "snapshot")
        control(service, "reset")
        assert rings(tmp_path) == []
        assert play(service, [5])[0]["n_references"] == 0


def test_a_folder_that_cannot_be_used_is_one_line(backbone, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StreamerError, match=r"snapshot\.path: .*cannot be used"):
        Service(config(tmp_path / "file"))
    with serving(config(), backbone) as service, pytest.raises(WireError, match=r"set snapshot.path"):
        control(service, "snapshot")


def test_file_names_are_safe_and_differ():
    names = [
        "line",
        "Line",
        ".",
        "..",
        "a b",
        "a%20b",
        "\u00e4" * 60,
        "x" * 128,
        "x" * 127,
        "con",
        "~",
        '*?"<>|\\:',
    ]
    files = [file_name(name) for name in names]
    assert len({name.lower() for name in files}) == len(names)
    assert all(len(name) < 200 and name.isascii() and name[0] != "." and "/" not in name for name in files)


def test_operators_over_control(backbone):
    with serving(config(threshold={"rule": "fixed", "value": 0.01}), backbone) as service:
        play(service, range(6))
        with Screen(service, "line/revision") as screen:
            answer = control(service, "pin", stream="line", frame_id="line-1")
            assert (answer["images"], answer["pinned"]) == (6, 1)
            assert control(service, "unpin", stream="line", frame_id="line-1")["pinned"] == 0
            control(service, "false_alarm", stream="line", frame_id="line-2")
            assert control(service, "forget", stream="line", frame_id="line-3")["images"] == 5
            (last,) = screen.until(1, "revision")
            while not last["is_final"]:  # those due with the sixth frame may still be on their way
                (last,) = screen.until(1, "revision")
            assert (last["frame_id"], last["meta"]) == ("line-3", {"part": 3})
            control(service, "flush", stream="line")
            labels = {fields["frame_id"]: fields["pred_label"] for fields in screen.until(5, "revision")}
        assert labels == {f"line-{seed}": seed not in {1, 2} for seed in (0, 1, 2, 4, 5)}
        for request, text in (
            ({"stream": "line", "frame_id": "line-3"}, "'line-3', which is not in the ring"),
            (
                {"stream": "line", "frame_id": 3.5},
                "expected an integer of .* or 1 to 256 characters",
            ),
            ({"stream": "line"}, r"expected \{stream: name, frame_id"),
            ({"frame_id": "line-1"}, r"expected \{stream: name, frame_id"),
            ({"stream": "nobody", "frame_id": 1}, "open streams: line"),
        ):
            with pytest.raises(WireError, match=text):
                control(service, "forget", **request)


def test_operators_at_the_command_line(backbone, tmp_path):
    def said(*options):
        done = CliRunner().invoke(operate_main, [*options, "--endpoint", service.endpoints["control"]])
        return done.exit_code, (done.stdout if done.exit_code == 0 else done.stderr).strip()

    with serving(config(tmp_path), backbone) as service:
        play(service, range(2))
        with Screen(service, "line/score") as screen, Camera(service.endpoints["frames"]) as camera:
            camera.picture(2, frame_id=17)
            screen.until(1, "score")
        pinned = said("pin", "--stream", "line", "--frame-id", "line-1")
        assert pinned == (0, "pin: done, stream line, frame_id line-1, images 3, pinned 1")
        assert said("forget", "--stream", "line", "--frame-id", "17")[1].endswith("images 2, pinned 1")
        assert said("forget", "--stream", "line", "--frame-id", "18") == (
            2,
            "error: frame_id: got 18, which is not in the ring (evicted, or never kept)",
        )
        assert said("pin", "--stream", "line") == (2, "error: pin: needs --stream and --frame-id")
        assert said("flush")[1] == "flush: done, flushed 2"
        assert said("snapshot")[0] == 0
        assert (tmp_path / file_name("line")).exists()
        assert said("reset", "--stream", "line")[1] == "reset: done, reset 1"
        assert said("shutdown") == (0, "shutdown: done")
        assert service.wait(10)
