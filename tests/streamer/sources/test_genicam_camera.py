"""GenICam cameras through Aravis, against its fake camera on the network: set, read, triggered, refused."""

import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest
import zmq
from genicam_support import FakeCamera, Registers, fake_camera, needs_fake_camera
from streamer_support import PATIENCE_S, until

from streamer.errors import StreamerError
from streamer.sources import LiveReader, Picture, SourceLost
from streamer.sources.genicam import GenicamCamera

pytestmark = needs_fake_camera
FREE = "trigger=off&region=0,0,128,96&frame_rate=50"
LOSSES = (
    "packets_lost",
    "packets_resent",
    "frames_missing",
    "frames_incomplete",
    "frames_overtaken",
    "underruns",
)


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeCamera]:
    with fake_camera("MUSC01") as camera:
        yield camera


def picture_of(camera: GenicamCamera) -> Picture:
    end = time.monotonic() + PATIENCE_S
    while (picture := camera.read(1.0)) is None:
        assert time.monotonic() < end, "no picture comes"
    return picture


def one_picture(source: str) -> Picture:
    camera = GenicamCamera(source)
    try:
        camera.open()
        return picture_of(camera)
    finally:
        camera.close()


@pytest.mark.parametrize("name", ["MUSC01", "", "127.0.0.1", "Aravis-Fake-MUSC01"])
def test_a_camera_is_found_by_serial_number_address_or_id_or_as_the_only_one(
    fake: FakeCamera, name: str
) -> None:
    before = time.time_ns()
    picture = one_picture(f"genicam:{name}?{FREE}&pixel_format=Mono8")
    assert picture.frame.shape == (96, 128)
    assert picture.frame.dtype == np.uint8
    assert before < picture.capture_ns <= time.time_ns()
    assert not picture.exact


@pytest.mark.parametrize(
    ("pixel_format", "shape", "dtype", "bit_depth"),
    [
        ("Mono8", (96, 128), np.uint8, "auto"),
        ("Mono16", (96, 128), np.uint16, 16),
        ("RGB8", (96, 128, 3), np.uint8, "auto"),
        ("BayerGR8", (96, 128, 3), np.uint8, "auto"),
        ("BayerRG8", (96, 128, 3), np.uint8, "auto"),
        ("BayerGB8", (96, 128, 3), np.uint8, "auto"),
        ("BayerBG8", (96, 128, 3), np.uint8, "auto"),
    ],
)
def test_each_format_of_the_camera_comes_as_pixels(
    fake: FakeCamera, pixel_format: str, shape: tuple[int, ...], dtype: type, bit_depth: object
) -> None:
    picture = one_picture(f"{fake.source}?{FREE}&pixel_format={pixel_format}")
    assert (picture.frame.shape, picture.frame.dtype, picture.bit_depth) == (shape, dtype, bit_depth)
    assert picture.frame.max() > picture.frame.min()


def test_the_camera_is_set_as_the_address_says(fake: FakeCamera) -> None:
    camera = GenicamCamera(
        f"{fake.source}?{FREE}&exposure_us=2500&gain=3&packet_size=1000&pixel_format=BayerGB8"
    )
    try:
        camera.open()
        registers = Registers(camera)
        assert registers.get("get_exposure_time") == 2500
        assert registers.get("get_gain") == 3
        assert registers.get("get_frame_rate") == 50
        assert registers.get("gv_get_packet_size") == 1000
        facts = camera.facts()
        # It runs free: on a busy machine pictures are lost before this one looks.
        losses = {name: facts.pop(name) for name in LOSSES}
        assert all(isinstance(count, int) and count >= 0 for count in losses.values())
        assert facts == {
            "camera": "127.0.0.1",
            "pixel_format": "BayerGB8",
            "width": 128,
            "height": 96,
            "trigger": "off",
            "clock": "arrival",
        }
    finally:
        camera.close()


def test_any_other_feature_is_set_by_its_own_name(fake: FakeCamera) -> None:
    picture = one_picture(f"{fake.source}?{FREE}&pixel_format=Mono8&Height=48&GainAuto=Off")
    assert picture.frame.shape == (48, 128)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("exposure_us=1", "exposure_us: got 1, expected 10 to 10000000 of this camera"),
        (
            "exposure_us=auto",
            "exposure_us: got auto, expected a number: this camera does not choose it itself",
        ),
        ("gain=-4", "gain: got -4, expected 0 to 10 of this camera"),
        ("pixel_format=Mono12", "pixel_format: got Mono12, expected one of BayerBG8, .*Mono8, RGB8, Mono16"),
        ("trigger=Line7", "trigger: got Line7, expected one of off, Line0, Software"),
        ("trigger=Line0&trigger_edge=Up", "trigger_edge: got Up, expected one of RisingEdge"),
        ("region=0,0,99999,96", r"region: \[Width\] Value '99999' greater than"),
        ("Gamma=1", "Gamma: this camera has no such feature"),
        ("GainRaw=99", r"GainRaw: \[GainRaw\] Value '99' greater than"),
        ("GainAuto=Maybe", r"GainAuto: \[GainAuto\] 'Maybe' not an entry"),
        ("SensorWidth=9", r"SensorWidth: \[SensorWidth\] Write error on read only feature"),
        ("AcquisitionStart=1", "AcquisitionStart: "),
    ],
)
def test_what_the_camera_cannot_do_is_one_line_and_not_tried_again(
    fake: FakeCamera, query: str, text: str
) -> None:
    camera = GenicamCamera(f"{fake.source}?{query}")
    with pytest.raises(StreamerError, match=f"^source: genicam:127.0.0.1: {text}") as failure:
        camera.open()
    camera.close()
    assert not isinstance(failure.value, SourceLost)
    assert str(failure.value).isprintable()


def test_a_camera_that_is_not_there_may_come_and_those_that_are_there_are_named(fake: FakeCamera) -> None:
    camera = GenicamCamera("genicam:MUSC02")
    with pytest.raises(
        SourceLost, match=r"no camera of that name answers; there are genicam:Aravis-Fake-MUSC01"
    ):
        camera.open()
    camera.close()


def test_a_camera_that_another_program_controls_is_waited_for(fake: FakeCamera) -> None:
    first, second = GenicamCamera(f"{fake.source}?{FREE}"), GenicamCamera(f"{fake.source}?{FREE}")
    try:
        first.open()
        with pytest.raises(SourceLost, match="another program controls the camera"):
            second.open()
        second.close()
        picture_of(first)
        first.close()
        second.open()
        picture_of(second)
    finally:
        first.close()
        second.close()


def test_a_software_trigger_gives_a_picture_when_asked_and_at_its_rate(fake: FakeCamera) -> None:
    camera = GenicamCamera(
        f"{fake.source}?region=0,0,128,96&pixel_format=Mono8&trigger=software&frame_rate=20"
    )
    try:
        camera.open()
        assert camera.facts()["trigger"] == "Software"
        pictures = [picture_of(camera) for _ in range(8)]
        times = [picture.capture_ns for picture in pictures]
        assert not any(picture.triggered for picture in pictures)
    finally:
        camera.close()
    # One at a time, each no earlier than the rate says; one that came late is made up for once. A slow
    # machine makes it longer.
    assert times[-1] - times[0] > 4.5 * 1e9 / 20


def test_a_rate_without_a_trigger_lets_the_camera_run_freely(fake: FakeCamera) -> None:
    for query, trigger in (("trigger=Line0", "Line0"), ("frame_rate=20", "off")):
        camera = GenicamCamera(f"{fake.source}?{query}")
        camera.open()
        assert camera.facts()["trigger"] == trigger
        camera.close()


def test_a_camera_that_a_line_triggers_is_silent_and_not_lost(fake: FakeCamera) -> None:
    camera = GenicamCamera(
        f"{fake.source}?region=0,0,128,96&trigger=Line0", lost_after_s=-2.0
    )  # silence is a loss at once, but for the line
    try:
        camera.open()
        assert camera.facts()["trigger"] == "Line0"
        assert camera.may_be_silent
        for _ in range(3):
            assert camera.read(0.05) is None
        # The fake camera has no line: a picture comes once it runs freely, unknown to who waits for the line.
        Registers(camera).clear_triggers()
        assert picture_of(camera).triggered
    finally:
        camera.close()


def test_the_newest_picture_is_read_and_those_before_it_are_counted(fake: FakeCamera) -> None:
    # Asks once, and then leaves it to the test for as long as it takes.
    camera = GenicamCamera(f"{fake.source}?region=0,0,128,96&trigger=software&frame_rate=0.0001")
    try:
        camera.open()
        picture_of(camera)
        registers = Registers(camera)
        for number in range(1, 5):
            asked_ns = time.time_ns()
            registers.trigger()
            until(lambda number=number: registers.n_waiting() == number)
        assert picture_of(camera).capture_ns > asked_ns
        assert registers.n_waiting() == 0
        assert camera.facts()["frames_overtaken"] == 3
    finally:
        camera.close()


def test_without_the_library_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['cffi'] = None\n"
        "from streamer.publish import main\n"
        "main(['--source', 'genicam:', '--stream', 'line'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert done.returncode == 2
    assert "apt-get install libaravis-0.8-0" in done.stderr
    assert "pip install 'musc-online[genicam]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("exposure=3", "error: source: exposure: unknown, expected exposure_us"),
        ("exposure_us=1", "error: source: genicam:127.0.0.1: exposure_us: got 1, expected 10 to 10000000"),
    ],
)
def test_a_wrong_setting_ends_publish_with_one_line(fake: FakeCamera, query: str, text: str) -> None:
    with zmq.Context() as context, context.socket(zmq.PULL) as detector:
        port = detector.bind_to_random_port("tcp://127.0.0.1")
        command = [sys.executable, "-m", "streamer.publish", "--source", f"{fake.source}?{query}"]
        command += ["--stream", "line", "--endpoint", f"tcp://127.0.0.1:{port}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 2
    assert any(line.startswith(text) for line in done.stderr.splitlines()), done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_tells_what_its_camera_counts(fake: FakeCamera) -> None:
    with LiveReader(GenicamCamera(f"{fake.source}?{FREE}&pixel_format=Mono8"), fps=20) as reader:
        for _ in range(3):
            assert reader.take(PATIENCE_S) is not None
        figures = reader.figures()
    assert figures.state == "live"
    assert figures.name == "genicam:127.0.0.1"
    assert figures.facts["camera"] == "127.0.0.1"
    assert figures.facts["frames_incomplete"] == 0
