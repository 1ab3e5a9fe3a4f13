"""A camera of this machine: not there, and the time that its driver says."""

import time

import pytest
from streamer_support import until

from streamer.sources import LiveReader, device_of
from streamer.sources.usb import UsbCamera


def test_a_camera_of_this_machine_that_is_not_there_is_waited_for():
    with LiveReader(device_of("camera:987")) as reader:
        until(lambda: reader.figures().error != "")
        figures = reader.figures()
        assert (figures.state, figures.name) == ("waiting", "camera:987")
        assert "is not there, or another program has it" in figures.error


@pytest.mark.parametrize(("age_s", "exact"), [(0.0, True), (2.0, True), (6.0, False), (-1.0, False)])
def test_a_driver_s_stamp_is_the_time_of_capture_where_it_can_be_one(age_s, exact):
    camera, age_ns = UsbCamera(0), round(1e9 * age_s)
    before, stamp_ns = time.time_ns(), time.monotonic_ns() - age_ns
    capture_ns, is_exact = camera._taken(stamp_ns / 1e6)
    after, since_ns = time.time_ns(), time.monotonic_ns() - stamp_ns - age_ns
    assert is_exact == exact
    taken_ago_ns = age_ns if exact else 0
    assert before - taken_ago_ns - since_ns - 1000 <= capture_ns <= after - taken_ago_ns + 1000


def test_a_driver_that_gives_no_stamp_leaves_the_arrival():
    before = time.time_ns()
    capture_ns, exact = UsbCamera(0)._taken(0.0)
    assert before <= capture_ns <= time.time_ns()
    assert not exact
