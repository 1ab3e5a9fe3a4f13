"""Frames of a live camera at a detector that is away, held up, or back: what is kept, and what is not."""

import threading
import time

import numpy as np
import pytest
from frame_receiver import FrameReceiver
from link_support import Link
from streamer_support import PATIENCE_S, until

from streamer.errors import NoRoom, StreamerError, WireError
from streamer.live import live_pictures
from streamer.publish import Publisher
from streamer.push import NOT_ALL_SCORED, send_all
from streamer.push import _live as live_outcomes
from streamer.reliable import ReliablePublisher
from streamer.sources import Captured, Device, LiveReader, Picture

sends = Publisher.send

FRAME = np.zeros((4, 4), np.uint8)


class Running(Device):
    """A camera that gives a picture whenever it is asked for one."""

    name = "camera:running"

    def open(self):
        pass

    def read(self, timeout_s):
        time.sleep(0.005)
        return Picture(FRAME, time.time_ns())

    def close(self):
        pass

    def facts(self):
        return {}


def sent(sender, frame_id):
    """Send it once there is room, as a camera's pictures are."""
    until(lambda: sender.has_room(0.0))
    sender.send(FRAME, frame_id, timeout_s=0.0)


def acknowledged(sender, count):
    until(lambda: sender.has_room(0.0) and sender.acknowledged == count)


@pytest.mark.parametrize(
    ("error", "not_sent"),
    [(None, 0), (NoRoom("no room"), 0), (WireError("too_large", "too large"), 1), (KeyboardInterrupt(), 1)],
)
def test_a_picture_that_cannot_be_sent_is_counted_as_that(monkeypatch, error, not_sent):
    errors = [error] if error else []
    monkeypatch.setattr(
        Publisher,
        "send",
        lambda self, *_, **more: _raised(errors.pop()) if errors else sends(self, *_, **more),
    )
    with FrameReceiver() as receiver:
        sender = Publisher(receiver.endpoint, "line", wait_s=PATIENCE_S, live=True)
        reader = LiveReader(Running())
        sent = 0
        try:
            for went_out in live_outcomes(sender, reader):
                sent += went_out
                if sent == 3:
                    break
        except KeyboardInterrupt:
            assert isinstance(error, KeyboardInterrupt)
        until(lambda: reader.figures().state == "ended")
        figures = reader.figures()
        assert (figures.sent, figures.not_sent) == (sent, not_sent)
        assert figures.read == figures.sent + figures.skipped + figures.too_old + figures.not_sent
        sender.abandon()


def _raised(error):
    raise error


@pytest.mark.parametrize("reliable", [False, True])
def test_a_detector_that_was_away_gets_what_is_new(reliable):
    kind = ReliablePublisher if reliable else Publisher
    with FrameReceiver(reliable=reliable) as receiver:
        sender = kind(receiver.endpoint, "line", wait_s=PATIENCE_S, live=True)
        sent(sender, "before")
        assert receiver.frame().frame_id == "before"
        if reliable:
            acknowledged(sender, 1)
        receiver.goes()
        until(lambda: not sender.has_room(0.0))
        with pytest.raises(NoRoom):
            sender.send(FRAME, "while away", timeout_s=0.0)
        receiver.comes_back()
        sent(sender, "after")
        assert receiver.frame().frame_id == "after"
        sender.abandon()


def test_a_promised_frame_comes_again_as_soon_as_the_detector_is_back():
    with FrameReceiver(reliable=True) as receiver:
        receiver.acknowledges = False
        sender = ReliablePublisher(receiver.endpoint, "line", wait_s=PATIENCE_S, live=True, resend_s=3600.0)
        for frame_id in range(4):
            sent(sender, frame_id)
            assert receiver.frame().frame_id == frame_id
        assert not sender.has_room(0.0), "more than four would be old when a detector is back"
        receiver.goes()
        # Nobody listens: one that hangs up and takes the connection again at once means something else.
        until(lambda: not sender.has_room(0.0) and sender._connection == 1 and not sender._hung_up)
        receiver.comes_back()
        receiver.acknowledges = True
        found = []
        taker = threading.Thread(target=lambda: found.extend(receiver.frame().frame_id for _ in range(4)))
        taker.start()
        acknowledged(sender, 4)
        taker.join(PATIENCE_S)
        assert found == [0, 1, 2, 3]
        assert (sender.resent, sender.given_up) == (4, 0)
        sender.abandon()


def test_a_frame_that_is_accused_in_the_turn_in_which_it_was_to_go_out_leaves_room_for_others(monkeypatch):
    with FrameReceiver(reliable=True) as receiver:
        receiver.acknowledges = False
        sender = ReliablePublisher(receiver.endpoint, "line", wait_s=PATIENCE_S, live=True, resend_s=3600.0)
        sent(sender, "under way")
        until(lambda: sender.has_room(0.0))
        watch = sender._watch_connection

        def refused():
            watch()
            if "accused" in sender._open:
                sender._refused_without_id("bad_header")

        with monkeypatch.context() as refusal:
            refusal.setattr(sender, "_watch_connection", refused)
            with pytest.raises(NoRoom):
                sender.send(FRAME, "accused", timeout_s=0.0)
        receiver.acknowledges = True
        receiver.frame()
        acknowledged(sender, 1)
        sender.abandon()


def test_after_a_cut_of_the_link_what_was_under_way_comes_again_at_once():
    with FrameReceiver(reliable=True) as receiver, Link(int(receiver.endpoint.rpartition(":")[2])) as link:
        receiver.acknowledges = False
        sender = ReliablePublisher(link.endpoint, "line", wait_s=PATIENCE_S, live=True, resend_s=3600.0)
        for frame_id in range(4):
            sent(sender, frame_id)
            assert receiver.frame().frame_id == frame_id
        receiver.acknowledges = True
        link.cut()
        found = []
        taker = threading.Thread(target=lambda: found.extend(receiver.frame().frame_id for _ in range(4)))
        taker.start()
        acknowledged(sender, 4)
        taker.join(PATIENCE_S)
        assert (found, sender.refused) == ([0, 1, 2, 3], {})
        sender.abandon()


def test_with_an_age_limit_what_is_too_old_is_given_up_and_not_sent_again():
    with FrameReceiver(reliable=True) as receiver:
        receiver.acknowledges = False
        sender = ReliablePublisher(
            receiver.endpoint, "line", wait_s=PATIENCE_S, live=True, resend_s=0.01, max_age_s=0.001
        )
        sent(sender, "old")
        assert receiver.frame().frame_id == "old"
        until(lambda: sender._open["old"].until < time.monotonic() and sender.has_room(0.05) is not None)
        assert (sender.given_up, sender.resent) == (0, 0), "it is under way: another would wait behind it"
        receiver.goes()
        until(lambda: not sender.has_room(0.0) and sender.given_up == 1)
        receiver.comes_back()
        receiver.acknowledges = True
        sent(sender, "new")
        assert receiver.frame().frame_id == "new"
        acknowledged(sender, 1)
        sender.close(PATIENCE_S)
        assert (sender.given_up, sender.refused) == (1, {})


def test_a_frame_that_a_detector_says_nothing_of_is_given_up_in_the_end(monkeypatch):
    monkeypatch.setattr("streamer.reliable._SILENT_S", 0.01)
    with FrameReceiver(reliable=True) as receiver:
        receiver.acknowledges = False
        options = {"wait_s": PATIENCE_S, "live": True, "resend_s": 0.01}
        sender = ReliablePublisher(receiver.endpoint, "line", max_age_s=0.001, **options)
        sent(sender, "lost")
        until(lambda: sender.has_room(0.0) and sender.given_up == 1)
        sender.close(PATIENCE_S)


def test_what_was_given_up_is_in_the_last_line_at_ctrl_c_too(monkeypatch):
    monkeypatch.setattr("streamer.reliable._SILENT_S", 0.01)
    lines = []
    with FrameReceiver(reliable=True) as receiver:
        receiver.acknowledges = False
        options = {"wait_s": PATIENCE_S, "live": True, "resend_s": 0.01}
        sender = ReliablePublisher(receiver.endpoint, "line", max_age_s=0.001, **options)
        reader = LiveReader(Running())
        pictures = live_pictures(reader, sender, lines.append)
        end = time.monotonic() + PATIENCE_S
        while not reader.figures().given_up:
            assert time.monotonic() < end
            sender.send(next(pictures).frame, timeout_s=0.0)
            reader.settle("sent")
        with pytest.raises(KeyboardInterrupt):
            pictures.throw(KeyboardInterrupt())
        assert f", {reader.figures().given_up} given up, 0 reconnects" in lines[-1]
        sender.abandon()


class Once(Running):
    """One picture, and no more."""

    def __init__(self):
        self._pictures = [FRAME]

    def read(self, timeout_s):
        time.sleep(0.005)
        return Picture(self._pictures.pop(), time.time_ns()) if self._pictures else None


def test_what_is_given_up_while_a_publisher_closes_is_counted(monkeypatch, capsys):
    monkeypatch.setattr("streamer.reliable._SILENT_S", 0.01)
    with FrameReceiver(reliable=True) as receiver:
        receiver.acknowledges = False
        sender = ReliablePublisher(
            receiver.endpoint, "line", wait_s=PATIENCE_S, live=True, resend_s=0.5, max_age_s=0.001
        )
        reader = LiveReader(Once())

        def stop():
            until(lambda: reader.figures().sent)
            reader.stop()

        stopper = threading.Thread(target=stop)
        stopper.start()
        status = send_all(sender, Captured(iter(()), live=reader), None, None, None)
        stopper.join(PATIENCE_S)
        assert (status, reader.figures().given_up) == (NOT_ALL_SCORED, 1)
        assert "1 frame sent to line: 0 scored, 1 dropped (too_old)" in capsys.readouterr().err


class OfParts(Running):
    """A line triggers it: the next part comes when the one before was taken."""

    def __init__(self):
        self._given, self._end = 0, time.monotonic() + PATIENCE_S

    def read(self, timeout_s):
        if time.monotonic() > self._end:
            raise StreamerError("no part was taken")
        if self.reader.figures().sent < self._given:
            time.sleep(0.005)
            return None
        self._given += 1
        return Picture(FRAME, time.time_ns(), triggered=True)

    def facts(self):
        return {"trigger": "Line0"}


def test_parts_are_kept_from_the_first_one_on():
    with FrameReceiver(reliable=True) as receiver:
        sender = ReliablePublisher(receiver.endpoint, "line", wait_s=PATIENCE_S, live=True)
        receiver.goes()
        until(lambda: not sender.has_room(0.0))
        device = OfParts()
        device.reader = LiveReader(device)
        sent = 0
        outcomes = live_outcomes(sender, device.reader)
        for went_out in outcomes:
            sent += went_out
            if sent == 6:
                break
        outcomes.close()
        assert sent == 6
        sender.abandon()


def test_frames_of_parts_are_kept_for_a_detector_that_is_away():
    with FrameReceiver(reliable=True) as receiver:
        sender = ReliablePublisher(
            receiver.endpoint, "line", wait_s=PATIENCE_S, live=True, window=6, resend_s=0.1
        )
        sender.keep_all()
        receiver.goes()
        for frame_id in range(6):
            sender.send(FRAME, frame_id, timeout_s=0.0)
        assert not sender.has_room(0.0)
        receiver.comes_back()
        found = []
        taker = threading.Thread(target=lambda: found.extend(receiver.frame().frame_id for _ in range(6)))
        taker.start()
        until(lambda: sender.has_room(0.0) and sender.acknowledged == 6)
        taker.join(PATIENCE_S)
        assert sorted(set(found)) == list(range(6))
        sender.abandon()
