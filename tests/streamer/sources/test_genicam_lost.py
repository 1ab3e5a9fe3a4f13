"""GenICam cameras that go and come back, and networks that lose packets, with Aravis's own fake camera."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from genicam_support import fake_camera, needs_fake_camera
from streamer_support import PATIENCE_S, Screen, serving, small_backbone, small_config, until

from streamer.sources import LiveReader, SourceLost
from streamer.sources.genicam import GenicamCamera

pytestmark = needs_fake_camera
OPTIONS = "trigger=off&region=0,0,128,96&frame_rate=20&pixel_format=BayerRG8"
LOSSES = ("packets_lost", "frames_incomplete")


def test_a_camera_is_waited_for_lost_and_found_again() -> None:
    with fake_camera("MUSC11") as fake:
        fake.kill()
        with LiveReader(GenicamCamera(f"genicam:MUSC11?{OPTIONS}")) as reader:
            until(lambda: "no camera answers" in reader.figures().error)
            assert reader.figures().state == "waiting"
            fake.start()
            assert reader.take(PATIENCE_S) is not None
            fake.kill()
            until(lambda: reader.figures().state == "lost")
            assert "does not answer any more" in reader.figures().error
            before = reader.figures().facts
            fake.start()
            back_ns = time.time_ns()
            until(lambda: reader.figures().state == "live")
            assert taken_after(reader, back_ns)
            figures = reader.figures()
        assert figures.reconnects == 1
        assert figures.facts["underruns"] >= before["underruns"]


@pytest.mark.slow
def test_what_a_camera_that_stands_still_gave_last_is_not_handed_out_when_its_turn_comes() -> None:
    with (
        fake_camera("MUSC16") as fake,
        LiveReader(GenicamCamera(f"{fake.source}?{OPTIONS}"), fps=0.1) as reader,
    ):
        assert reader.take(PATIENCE_S) is not None
        read = reader.figures().read
        until(lambda: reader.figures().read >= read + 3)
        fake.hold(True)
        # It is missed after 6 s, the turn comes after 10.
        assert reader.take(15.0) is None
        assert reader.figures().too_old == 1
        fake.hold(False)
        held_ns = time.time_ns()
        assert taken_after(reader, held_ns)


def test_the_only_camera_stays_the_one_that_is_meant() -> None:
    camera = GenicamCamera(f"genicam:?{OPTIONS}")
    with fake_camera("MUSC14"):
        camera.open()
        camera.close()
    with fake_camera("MUSC15"):
        with pytest.raises(
            SourceLost, match=r"Aravis-Fake-MUSC14: no camera of that name.*Aravis-Fake-MUSC15"
        ):
            camera.open()
        camera.close()


def taken_after(reader: LiveReader, moment_ns: int) -> bool:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        picture = reader.take(PATIENCE_S)
        if picture is not None and picture.capture_ns > moment_ns:
            return True
    return False


def test_what_the_network_loses_is_counted_and_a_camera_of_no_whole_picture_is_lost() -> None:
    with fake_camera("MUSC12", "-r", "500") as fake:
        camera = GenicamCamera(f"{fake.source}?{OPTIONS}&packet_size=600", lost_after_s=0.0)
        camera.open()
        with pytest.raises(SourceLost, match=r"gives no whole picture for 2\.\d s"):
            assert camera.read(PATIENCE_S) is None
        counted = camera.facts()
        camera.close()
        # What was counted stays, also when the camera is opened anew.
        before = camera.facts()
        assert all(before[name] >= counted[name] for name in LOSSES)
        camera.open()
        until(lambda: more_is_lost(camera, before))
        camera.close()


def more_is_lost(camera: GenicamCamera, before: Mapping[str, int | float | str]) -> bool:
    """Whether more of each kind was counted by now; a busy machine may see no packet in two seconds."""
    try:
        assert camera.read(0.2) is None
    except SourceLost:
        camera.close()
        camera.open()
    return all(camera.facts()[name] > before[name] for name in LOSSES)


@pytest.mark.slow
def test_a_detector_goes_on_with_a_camera_that_was_killed_and_restarted() -> None:
    """Twice: gone for good until it is missed, and back at once, in hands that are not ours any more."""
    with (
        fake_camera("MUSC13") as fake,
        serving(small_config(), small_backbone()) as service,
        Screen(service, "line") as screen,
        publishing(f"genicam:MUSC13?{OPTIONS}", service.endpoints["frames"]),
    ):
        taken_later(screen, 0, count=3)
        fake.kill()
        states(screen, "lost")
        fake.start()
        taken_later(screen, time.time_ns(), count=3)
        fake.kill()
        fake.start()
        taken_later(screen, time.time_ns(), count=3)


def states(screen: Screen, wanted: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while (told := screen.until(1, "source")[0])["state"] != wanted:
        assert time.monotonic() < end, f"the source stays {told['state']}: {told}"


def taken_later(screen: Screen, moment_ns: int, count: int) -> None:
    """Wait for so many scores of pictures that were taken after a moment; those before it may still come."""
    end = time.monotonic() + PATIENCE_S
    while count:
        count -= screen.until(1, "score")[0]["capture_ns"] > moment_ns
        assert time.monotonic() < end, "no picture of the camera that is back"


@contextmanager
def publishing(source: str, endpoint: str) -> Iterator[None]:
    command = [sys.executable, "-m", "streamer.publish", "--source", source, "--stream", "line", "--fps", "5"]
    process = subprocess.Popen([*command, "--endpoint", endpoint])
    try:
        yield
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
