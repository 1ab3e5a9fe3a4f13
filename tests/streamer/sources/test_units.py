"""Pictures in several slices, and slices in several packets, as libav's RTSP hands them on."""

from fractions import Fraction

import numpy as np
import pytest

from streamer.sources.clock import Arrival, DeviceClock
from streamer.sources.units import Units

av = pytest.importorskip("av", reason="PyAV is not installed: pip install -e '.[camera]'")

from streamer.sources.decoding import Decoding  # noqa: E402 - it needs PyAV

START = b"\0\0\0\1"
FULL = 300
"""Bytes of a fragment."""
WIDTH, HEIGHT = 96, 96


def encoded(count, slices):
    """The NAL units of so many pictures of noise, each in so many slices."""
    noise = np.random.default_rng(0)
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.framerate, encoder.time_base = 30, Fraction(1, 30)
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "g": "1000", "slices": str(slices)}
    for number in range(count):
        pixels = noise.integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(pixels, format="bgr24")
        frame.pts = number
        data = b"".join(bytes(packet) for packet in encoder.encode(frame))
        yield [unit.rstrip(b"\0") for unit in data.split(b"\0\0\1") if unit.rstrip(b"\0")]


def filled(unit, full=FULL):
    """The packets that libav makes of one NAL unit's fragments, each but the last one full."""
    parts = [unit[1:][at : at + full] for at in range(0, len(unit) - 1, full)]
    return [START + unit[:1] + parts[0], *parts[1:]]


def shared_out(unit):
    """The same from a camera that makes the fragments of a unit alike."""
    count = -(-(len(unit) - 1) // FULL)
    return filled(unit, -(-(len(unit) - 1) // count))


class Camera:
    """What becomes of a stream: by picture whether it came, as soon as its last packet was there."""

    def __init__(self, pictures, packets=filled):
        clock = DeviceClock()
        clock.connected()
        self.incomplete, self.came, self.at_once = 0, 0, []
        decoding = Decoding(av.CodecContext.create("h264", "r"), "rtsp", clock, True, self._count)
        for number, units in enumerate(pictures):
            before = self.came
            for data in (data for unit in units for data in packets(unit)):
                packet = av.Packet(data)
                packet.pts, packet.time_base = 3000 * number, Fraction(1, 90_000)
                is_out = decoding.picture(packet, Arrival.now()) is not None
                self.came += is_out
            self.at_once.append(is_out and self.came > before)

    def _count(self):
        self.incomplete += 1


def without(pictures, losses):
    """Pictures, of some of which one slice is not there."""
    for number, units in enumerate(pictures):
        slices = [unit for unit in units if unit[0] & 0x1F in {1, 5}]
        lost = slices[losses[number]] if number in losses else None
        yield [unit for unit in units if unit is not lost]


@pytest.mark.parametrize("slices", [2, 3])
def test_a_picture_in_slices_of_many_packets_comes_with_its_last_packet(slices):
    camera = Camera(encoded(20, slices))
    assert (camera.at_once, camera.incomplete) == ([True] * 20, 0)


def test_a_picture_in_one_slice_comes_with_its_last_packet_once_a_whole_slice_was_seen():
    camera = Camera(encoded(20, 1))
    assert (camera.at_once[2:], camera.came, camera.incomplete) == ([True] * 18, 20, 0)


def test_of_a_camera_that_does_not_fill_its_packets_pictures_come_with_the_next_one():
    camera = Camera(encoded(20, 2), shared_out)
    assert (camera.came, camera.incomplete) == (19, 0)


def test_a_picture_whose_units_come_in_one_packet_is_not_waited_for():
    camera = Camera([[units[0] + b"".join(START + unit for unit in units[1:])] for units in encoded(9, 2)],
                    lambda unit: [START + unit])  # fmt: skip
    assert (camera.at_once, camera.incomplete) == ([True] * 9, 0)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_picture_that_lacks_a_slice_is_counted_and_not_sent_and_the_next_one_is(lost):
    # One in the middle is missed where the others have always been the same.
    losses = [12, 20] if lost == 1 else [3, 12, 20]
    camera = Camera(without(encoded(24, 3), dict.fromkeys(losses, lost)))
    assert [number for number, came in enumerate(camera.at_once) if not came] == losses
    assert (camera.came, camera.incomplete) == (24 - len(losses), len(losses))


def test_pictures_in_fewer_slices_than_before_are_another_setting_after_two():
    camera = Camera([*encoded(20, 3), *encoded(20, 2)])
    assert camera.came + camera.incomplete == 40
    assert camera.incomplete <= 2


def test_a_fragment_whose_beginning_is_lost_damages_its_picture_alone():
    pictures = [[data for unit in units for data in filled(unit)] for units in encoded(20, 2)]
    first = next(at for at, data in enumerate(pictures[12]) if data[:4] == START and data[4] & 0x1F == 1)
    del pictures[12][first]
    camera = Camera(pictures, lambda data: [data])
    # It is as if it had been taken for whole too soon: from then on each unit waits for the next one.
    assert (camera.came, camera.incomplete) == (18, 1)


def test_a_unit_that_never_ends_is_let_go(monkeypatch):
    monkeypatch.setattr("streamer.sources.units._MOST_BYTES", 1000)
    units = Units()
    found = [
        unit for data in [START + b"\x65" + bytes(300), *[b"\1" * 300] * 9] for unit in units.of(data, 7)
    ]
    assert found
    assert {(unit.data, unit.pts, unit.is_sound) for unit in found} == {(b"", 7, False)}
