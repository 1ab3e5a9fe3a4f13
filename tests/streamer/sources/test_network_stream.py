"""Streams by libav that do what they should not, and those that are merely seldom."""

import threading
from contextlib import suppress
from itertools import pairwise

import cv2
import drawn_time
import numpy as np
import odd_cameras
import pytest
from camera_support import RtspCamera
from odd_cameras import Served, Stream, number_in, paced, rtsp
from streamer_support import PATIENCE_S, until

from streamer import live
from streamer.errors import StreamerError, WireError
from streamer.sources import LiveReader, SourceLost, device_of
from streamer.sources.clock import DeviceClock
from streamer.sources.telling import counts_of

av = pytest.importorskip("av", reason="PyAV is not installed: pip install -e '.[camera]'")

from streamer.sources import decoding, stream  # noqa: E402 - they need it

MS = 1_000_000
JPEG = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()


def pictures(device, count):
    """So many pictures of an open camera."""
    found = []

    def more():
        picture = device.read(0.2)
        found.extend([] if picture is None else [picture])
        return len(found) >= count

    until(more)
    return found


def read_on(device):
    """Until it ends, for a while."""
    device.open()
    try:
        pictures(device, 1000)
    finally:
        device.close()


def opened(url):
    device = device_of(url, PATIENCE_S)
    device.open()
    return device


def test_a_video_that_stops_while_its_sound_goes_on_is_lost():
    with Served(odd_cameras.video_stops_and_sound_goes_on) as served:
        reader = LiveReader(device_of(f"http://{served.place}", PATIENCE_S), lost_after_s=0.5)
        with reader:
            until(lambda: reader.figures().state == "lost")
            assert "is silent for 0.5 s" in reader.figures().error
            until(lambda: served.connections > 2)  # the first two look at what it is
            assert reader.figures().facts["frames_incomplete"] == 0  # sound is no picture
        assert not [
            thread for thread in threading.enumerate() if thread.name == f"source {reader.device.name}"
        ]


def test_a_codec_that_nobody_knows_is_waited_for():
    with (
        Served(rtsp(b"FOOBAR")) as served,
        pytest.raises(SourceLost, match="of a kind that libav cannot decode; set the camera to"),
    ):
        device_of(f"rtsp://{served.place}").open()


def test_a_title_in_other_letters_hinders_nothing():
    with Served(rtsp(b"H264")) as served, suppress(SourceLost):  # that it gives no picture is no matter
        opened(f"rtsp://{served.place}").close()


def test_a_camera_that_reports_its_time_is_taken_at_its_word_and_that_is_told():
    with RtspCamera("--fps", "20") as camera, LiveReader(device_of(camera.url, PATIENCE_S)) as reader:
        found = []
        until(lambda: found.extend(filter(None, [reader.take(0.2)])) or sum(one.exact for one in found) >= 5)
        figures = reader.figures()
    assert figures.facts["frames_incomplete"] == 0  # in two slices, and each slice in several packets
    # Some may have been read and not handed out.
    assert 5 <= counts_of(figures)["times_exact"] <= counts_of(figures)["read"]
    assert counts_of(figures)["times_exact"] >= sum(one.exact for one in found)
    lines = []
    live._say(figures, ("", ""), lines.append)
    assert lines == [f"source: {camera.url} is live, time of capture by camera"]
    off = [abs(drawn_time.read(one.frame) - one.capture_ns) for one in found if one.exact]
    assert np.median(off) < 100 * MS


def test_pictures_in_coding_order_get_their_own_times():
    with Served(odd_cameras.in_coding_order) as served:
        device = opened(f"http://{served.place}")
        found = pictures(device, 40)[10:]
        device.close()
    numbers = [number_in(picture) for picture in found]
    assert [(later - earlier) % 20 for earlier, later in pairwise(numbers)] == [1] * 29
    gaps = np.diff([picture.capture_ns for picture in found])
    # An arrival that is quicker than all before moves what comes after it: half of them are enough.
    assert np.median(gaps) == pytest.approx(20 * MS, abs=MS)
    assert np.mean(abs(gaps - 20 * MS) < MS) > 0.5


def test_what_was_buffered_before_is_passed_over(monkeypatch):
    # On a busy machine what is there already may have to be waited for too, but not for so long.
    monkeypatch.setattr(stream, "_WAITED_S", 0.3)
    monkeypatch.setattr(stream, "_CATCH_UP_S", PATIENCE_S)

    def backlog_first(connection, number):
        connection.recv(4096)
        video = Stream()
        connection.sendall(odd_cameras.OK + b"\r\n" + b"".join(video.picture(n) for n in range(15)))
        if (
            number == 1
        ):  # the second one is read: only then it is known that libav is to put together what comes
            return
        for later in paced(2):
            if later:
                connection.sendall(video.picture(14 + later))

    with Served(backlog_first) as served:
        device = opened(f"http://{served.place}")
        # MPEG-TS says that a picture has ended where the next one begins, and libav needs another.
        assert number_in(pictures(device, 1)[0]) >= 12
        device.close()


def test_a_picture_that_arrives_damaged_is_counted_and_not_sent():
    def with_a_gap(connection, _number):
        connection.recv(4096)
        connection.sendall(odd_cameras.OK + b"\r\n")
        video = Stream()
        for number in paced(50):
            ready = bytearray(video.picture(number))
            if number in {20, 40, 60}:  # packets of 188 bytes whose second one says that they are damaged
                ready[1::188] = bytes(byte | 0x80 for byte in ready[1::188])
            connection.sendall(ready)

    with Served(with_a_gap) as served:
        device = opened(f"http://{served.place}")
        found = pictures(device, 60)
        device.close()
    # Of each damaged piece some is of the picture before.
    assert device.facts()["frames_incomplete"] in range(3, 7)
    numbers = [number_in(picture) for picture in found]
    assert {(later - earlier) % 20 for earlier, later in pairwise(numbers)} <= {1, 2, 3}
    assert numbers[-1] == (numbers[0] + 59 + device.facts()["frames_incomplete"]) % 20


@pytest.mark.parametrize("status", [b"401 Unauthorized", b"403 Forbidden"])
def test_a_camera_that_refuses_the_password_is_left_alone_for_a_minute(status):
    login = b'WWW-Authenticate: Basic realm="camera"\r\n'
    with Served(odd_cameras.http(status, login)) as served, pytest.raises(SourceLost) as lost:
        device_of(f"http://eye:wr0ng@{served.place}").open()
    assert "it refuses our user or password" in str(lost.value)
    assert lost.value.wait_s == 60.0


def test_an_address_of_one_picture_says_what_to_take():
    with Served(odd_cameras.http(b"200 OK", b"Content-Type: image/jpeg\r\n", JPEG)) as served:
        device = device_of(f"http://{served.place}")
        with pytest.raises(
            SourceLost, match=r"is one picture, not a video; take the camera's rtsp://"
        ) as lost:
            read_on(device)
    assert lost.value.wait_s == 60.0
    assert "\n" not in str(lost.value)


def test_pictures_one_behind_the_other_have_no_time_but_that_of_their_arrival():
    def jpegs(connection, _number):
        connection.recv(4096)
        connection.sendall(odd_cameras.OK + b"Content-Type: video/x-mjpeg\r\n\r\n")
        noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3)).astype(np.uint8)
        for _ in paced(20):  # libav says 25 a second of all such
            connection.sendall(cv2.imencode(".jpg", noise)[1].tobytes())

    with Served(jpegs) as served:
        device = opened(f"http://{served.place}")
        assert device._now.kind[0] in {"mjpeg", "jpeg_pipe"}
        found = pictures(device, 2)
        device.close()
    assert [picture.exact for picture in found] == [False, False]
    assert device.facts()["clock"] == "arrival"


def test_a_name_is_asked_for_once(monkeypatch):
    monkeypatch.setattr(av, "open", lambda *_, **__: pytest.fail("libav asks for the name again"))
    with pytest.raises(SourceLost, match=r"cam\.invalid is not found"):
        device_of("rtsp://eye:s3@cret@cam.invalid/line").open()


def test_a_protocol_that_this_libav_does_not_have_can_never_be_opened(monkeypatch):
    monkeypatch.setattr(stream, "SCHEMES", (*stream.SCHEMES, "srt"))
    device = device_of("srt://eye:s3cr3t@127.0.0.1/line")
    with pytest.raises(StreamerError, match=r"^source: srt://127\.0\.0\.1/line cannot be read") as failed:
        device.open()
    assert not isinstance(failed.value, SourceLost)


def test_a_camera_that_is_set_to_another_codec_is_read_as_that_is_to_be(monkeypatch):
    parsed, av_open = [], av.open

    def opening(where, *what, **how):
        if isinstance(where, str):  # the camera of this test writes by it
            parsed.append("fflags" not in how["options"])
        return av_open(where, *what, **how)

    monkeypatch.setattr(av, "open", opening)
    part = b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(JPEG), JPEG)

    def answer(connection, number):
        if number in {1, 2}:
            odd_cameras.in_coding_order(connection, number)
            return
        connection.recv(4096)
        connection.sendall(odd_cameras.OK + b"Content-Type: multipart/x-mixed-replace; boundary=b\r\n\r\n")
        for _ in paced(20):
            connection.sendall(part)

    with Served(answer) as served:
        device = device_of(f"http://{served.place}", PATIENCE_S)
        for _ in range(3):
            device.open()
            pictures(device, 1)
            device.close()
    # MPEG-TS, of which that is known at the second look; then JPEG, as well; then nothing new.
    assert parsed == [False, True, True, False, False]


def test_what_is_known_of_a_camera_s_clock_outlives_a_connection(monkeypatch):
    clocks = []
    look = DeviceClock.capture
    monkeypatch.setattr(
        DeviceClock, "capture", lambda clock, *what: clocks.append(clock) or look(clock, *what)
    )
    with Served(odd_cameras.in_coding_order) as served:
        device = device_of(f"http://{served.place}", PATIENCE_S)
        for _ in range(2):
            device.open()
            pictures(device, 1)
            device.close()
            clocks.append(None)
    ends = [number for number, clock in enumerate(clocks) if clock is None]
    assert clocks[0] is clocks[ends[0] + 1] is not None


def test_pixels_are_made_when_they_are_looked_at():
    with Served(odd_cameras.in_coding_order) as served:
        device = opened(f"http://{served.place}")
        picture = pictures(device, 1)[0]
        device.close()
    assert callable(picture.made)
    assert picture.frame.shape == (*reversed(odd_cameras.SIZE), 3)
    assert picture.frame is picture.frame
    assert device.facts()["width"] == odd_cameras.SIZE[0]


@pytest.mark.parametrize("kind", ["y210be", "yaf32le"])
def test_a_kind_of_pixels_that_nothing_can_be_made_of_is_a_message_that_cannot_be_sent(kind):
    with pytest.raises(WireError, match=rf"16 x 16 pixels \({kind}\) cannot be turned into BGR") as failed:
        decoding.pixels(av.VideoFrame(16, 16, kind))
    assert failed.value.code == "undecodable"
