"""Publishers and sources: folders, videos, errors a person can act on, and nothing lost when reliable."""

import socket
import subprocess
import sys

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from dataset_trees import image, strange_folder
from streamer_support import (
    PATIENCE_S,
    Camera,
    Screen,
    backbone,
    control,
    header,
    identity_holds,
    picture,
    png,
    serving,
    small_config,
    until,
    watched,
)

from streamer.errors import StreamerError, WireError
from streamer.publish import Publisher
from streamer.publish import main as publish_main
from streamer.reliable import ReliablePublisher
from streamer.sources import open_source, told

__all__ = ["backbone"]


@pytest.fixture
def folder(tmp_path):
    for index in range(5):
        target = tmp_path / "frames" / ("good" if index else "stain")
        target.mkdir(parents=True, exist_ok=True)
        suffix = (".png", ".jpg", ".bmp")[index % 3]
        cv2.imwrite(str(target / f"{index}{suffix}"), picture(index))
    return tmp_path / "frames"


def test_a_folder_goes_through_the_command_line(backbone, folder):
    with serving(small_config(), backbone) as service, Screen(service) as screen:
        endpoint = service.endpoints["frames"]
        done = CliRunner().invoke(
            publish_main,
            ["--source", str(folder), "--stream", "line", "--endpoint", endpoint, "--fps", "200"],
        )
        assert done.exit_code == 0, done.stderr
        assert [fields["frame_id"] for fields in screen.until(5, "score")] == [
            "good/1.jpg", "good/2.bmp", "good/3.png", "good/4.jpg", "stain/0.png",
        ]  # fmt: skip


def test_files_travel_unchanged_and_others_lossless(folder):
    frames = dict(open_source(str(folder)))
    assert frames["good/1.jpg"] == (folder / "good" / "1.jpg").read_bytes()
    np.testing.assert_array_equal(frames["good/2.bmp"], picture(2))


def test_what_a_folder_holds_besides_images_is_counted_and_named(tmp_path):
    taken, left_out = strange_folder(tmp_path / "frames")
    said = []
    frames = dict(open_source(str(tmp_path / "frames"), tell=said.append))
    assert list(frames) == taken
    assert said[0] == f"source: {tmp_path / 'frames'}: {told(left_out)}"
    assert len(said) == 2  # and that the pictures of its folders are not mixed
    assert told([str(number) for number in range(10)]) == "10 left out: 0, 1, 2, 3, 4, 5, 6, 7 and 2 more"
    for name in ("empty", "clean"):
        (tmp_path / name).mkdir()
    (tmp_path / "empty" / "0.png").touch()
    with pytest.raises(StreamerError, match=r"holds no images; .*; 1 left out: 0\.png \(no bytes\)"):
        open_source(str(tmp_path / "empty"))
    image(tmp_path / "clean" / "0.png")
    said.clear()
    assert len(list(open_source(str(tmp_path / "clean"), tell=said.append))) == 1
    assert said == []


def test_shuffling_is_seeded_and_loops_rename(folder):
    one, same, other = ([key for key, _ in open_source(str(folder), shuffle=seed)] for seed in (1, 1, 2))
    assert one == same != other
    assert sorted(one) == sorted(other)
    looped = open_source(str(folder), loop=True)
    ids = [next(looped)[0] for _ in range(11)]
    assert len(set(ids)) == 11
    assert ids[5] == f"{ids[0]}#1"


def test_a_video_gives_its_frames(tmp_path):
    path = tmp_path / "line.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for seed in range(4):
        writer.write(picture(seed))
    writer.release()
    frames = list(open_source(str(path)))
    assert [key for key, _ in frames] == [f"line:{index:06d}" for index in range(4)]
    assert all(frame.shape == (48, 64, 3) for _, frame in frames)
    assert np.abs(frames[2][1].astype(int) - picture(2)).mean() < 8


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty", "holds no images"),
        ("nowhere", "does not exist"),
        ("text.avi", "cannot be opened"),
        ("text.bmp", "no image"),
    ],
)
def test_what_gives_no_frames_says_so(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    for suffix in (".avi", ".bmp"):
        (tmp_path / f"text{suffix}").write_text("text")
    with pytest.raises(StreamerError, match=message):
        list(open_source(str(tmp_path / name)))


def test_the_command_line_has_no_traceback(tmp_path):
    done = CliRunner().invoke(publish_main, ["--source", str(tmp_path), "--stream", "line"])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: source:")


def test_nobody_listening_is_said_after_a_while():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: nobody else can answer there
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StreamerError, match="no detector answers within"):
            Publisher(endpoint, "line", wait_s=0.3)


def test_what_cannot_be_sent_is_an_error_here(backbone):
    with (
        serving(small_config(), backbone) as service,
        Publisher(service.endpoints["frames"], "line") as camera,
    ):
        for frame, frame_id in (
            (b"no image", 1),
            (picture(0)[..., [0] * 5], 2),
            (picture(0), ""),
            (picture(0), 1.5),
        ):
            with pytest.raises(WireError):
                camera.send(frame, frame_id)
        assert isinstance(camera.send(picture(0)), int)
        with pytest.raises(WireError):
            Publisher(service.endpoints["frames"], "a/b")


def test_a_camera_host_needs_no_torch():
    code = (
        "import sys, streamer.publish, streamer.subscribe, streamer.reliable, streamer.status\n"
        "heavy = {'torch', 'faiss', 'numba', 'pydantic', 'musc_online', 'structlog'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr


def test_reliable_frames_are_acknowledged_and_scored_once(backbone):
    with watched(backbone) as (service, screen, _):
        with ReliablePublisher(service.endpoints["reliable"], "line", resend_s=0.05, window=4) as camera:
            for seed in range(10):
                camera.send(picture(seed), f"f{seed}")
            camera.flush(PATIENCE_S)
            assert camera.acknowledged == 10
            camera.send(picture(9), "f9")
            camera.flush(PATIENCE_S)
            camera.send(b"\x89PNG\r\n\x1a\n but damaged", "bad")
            camera.flush(PATIENCE_S)
            assert camera.refused == {"bad": "undecodable"}
        assert [fields["frame_id"] for fields in screen.until(10, "score")] == [
            f"f{seed}" for seed in range(10)
        ]
        # A frame sent again just before its ack came may still be on its way; it is refused or answered.
        until(lambda: service.ledger.totals()["queued"] == 0)
        status = control(service, "status")
        assert status["scored"] == 10
        assert identity_holds(status)


def test_a_full_queue_loses_no_reliable_frame(backbone):
    config = small_config(transport={"queue": 2, "batch": 1, "when_full": "drop_oldest"})
    with (
        serving(config, backbone) as service,
        ReliablePublisher(service.endpoints["reliable"], "line", window=12) as camera,
        Camera(service.endpoints["frames"]) as rival,
    ):
        for seed in range(12):
            camera.send(picture(seed), f"f{seed}")
            # A plain frame may push a reliable one out of the queue; it comes again.
            rival.send(header(f"plain{seed}", seq=None), png(picture(100 + seed)))
        camera.flush(PATIENCE_S)
        assert camera.acknowledged == 12
        assert identity_holds(control(service, "status"))
