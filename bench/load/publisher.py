"""One camera of a load test, in a process of its own: frames at a rate, and how it went."""

import signal
import time
from multiprocessing.connection import Connection
from typing import Any

import cv2
import numpy as np

from streamer.errors import StreamerError
from streamer.publish import Publisher
from streamer.reliable import ReliablePublisher

_PICTURES = 16
_RESEND_S = 2.0
_LOOK_S = 0.05


def pictures(size: int, seed: int, count: int = _PICTURES) -> list[bytes]:
    """PNG files of `size` x `size` pixels with some structure, another one each."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    frames = [cv2.resize(one, (size, size), interpolation=cv2.INTER_LINEAR) for one in coarse]
    return [cv2.imencode(".png", frame)[1].tobytes() for frame in frames]


def _flush(sender: ReliablePublisher, patience_s: float, acknowledged: Any) -> None:
    """Wait for the acks, and tell of each as it comes."""
    end = time.monotonic() + patience_s
    while True:
        try:
            sender.flush(min(_LOOK_S, patience_s))
        except StreamerError:
            if time.monotonic() > end:
                raise
        else:
            return
        finally:
            acknowledged.value = sender.acknowledged


def run(
    report: Connection,
    endpoint: str,
    stream: str,
    *,
    reliable: bool,
    fps: float,
    seconds: float,
    size: int,
    seed: int,
    patience_s: float,
    acknowledged: Any,
    window: int = 16,
) -> None:
    """Send `fps * seconds` frames with ids 0, 1, 2... and send what became of them through `report`.

    Args:
        report: gets one mapping: `sent`, `late_s` (how far behind the rate it ended), and for reliable ones
            `acknowledged`, `resent`, `refused`; or `error`.
        patience_s: how long one frame may wait to be taken, and all of them to be acknowledged.
        acknowledged: a shared integer, kept up to date by a reliable publisher.
        window: frames that a reliable publisher may have sent and not acknowledged.
    """
    # A terminal's Ctrl-C comes here too: the command ends this process, whose traceback would be in the way.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    facts: dict[str, Any] = {"stream": stream, "sent": 0, "late_s": 0.0}
    try:
        payloads = pictures(size, seed)
        if reliable:
            sender = ReliablePublisher(endpoint, stream, resend_s=_RESEND_S, wait_s=patience_s, window=window)
        else:
            sender = Publisher(endpoint, stream, wait_s=patience_s)  # type: ignore[assignment]
        try:
            began = time.monotonic()
            for number in range(round(fps * seconds)):
                time.sleep(max(0.0, began + number / fps - time.monotonic()))
                sender.send(payloads[number % len(payloads)], number, timeout_s=patience_s)
                facts["sent"] += 1
                if reliable:
                    acknowledged.value = sender.acknowledged
            facts["late_s"] = max(0.0, time.monotonic() - began - seconds)
            if reliable:
                _flush(sender, patience_s, acknowledged)
        finally:
            if isinstance(sender, ReliablePublisher):
                facts |= {
                    "acknowledged": sender.acknowledged,
                    "resent": sender.resent,
                    "refused": len(sender.refused),
                }
                sender.abandon()
            else:
                sender.close()
    except StreamerError as error:
        facts["error"] = str(error)
    report.send(facts)
