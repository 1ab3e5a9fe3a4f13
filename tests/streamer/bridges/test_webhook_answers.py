"""What a receiver's answers do, and those that do not come: again, never, or nothing more."""

import asyncio
import threading
from email.utils import formatdate
from typing import Any

import pytest
from item_support import using, verdict
from posting_support import deliver, receiver, section
from webhook_support import answer

from streamer.bridges.common import Retry
from streamer.bridges.deliver import Deliverer
from streamer.bridges.queue import Draft, Queue
from streamer.bridges.sink import Refused, Undelivered
from streamer.bridges.webhook import WebhookSink
from streamer.bridges.webhook import sink as webhook_sink
from streamer.bridges.webhook.answers import retry_after_s
from streamer.wire.frame import pack

__all__ = ["receiver"]


@pytest.mark.parametrize(
    "status", [301, 307, 400, 401, 402, 403, 404, 405, 407, 408, 421, 425, 429, 500, 503]
)
def test_what_may_pass_is_tried_again(receiver, tmp_path, status):
    receiver.next.append(answer(status, location=f"http://{receiver.address}/elsewhere"))
    sink = WebhookSink(section(tmp_path, receiver.url), tmp_path)
    with pytest.raises(Undelivered, match=f"answered {status}"):
        deliver(sink, verdict(1))
    assert deliver(sink, verdict(1)) == 1
    assert set(receiver.paths) == {"/told"}
    assert receiver.followed == 0


@pytest.mark.parametrize("status", [409, 411, 413, 415, 422, 451])
def test_what_will_never_be_taken_is_refused(receiver, tmp_path, status):
    receiver.next.append(answer(status, b"no\x1b[31m such\r\nthing " + b"x" * 5000))
    sink = WebhookSink(section(tmp_path, f"{receiver.url}?token=hidden"), tmp_path)
    with pytest.raises(Refused) as refused:
        deliver(sink, verdict(1))
    text = str(refused.value)
    assert f"http://{receiver.address} answered {status} (no\\x1b[31m such thing xx" in text
    assert len(text) < 250
    assert "hidden" not in text
    assert "/told" not in text


def test_gone_stops_everything_until_the_next_start(receiver, tmp_path):
    receiver.next.append(answer(410))
    sink = WebhookSink(section(tmp_path, receiver.url), tmp_path)
    for number in (1, 1, 2):
        with pytest.raises(Undelivered, match="410 Gone"):
            deliver(sink, verdict(number))
    assert len(receiver.tried) == 1
    assert deliver(WebhookSink(section(tmp_path, receiver.url), tmp_path), verdict(1)) == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_pause_that_is_asked_for_is_kept_in_bounds(receiver, tmp_path, form):
    asked = {"seconds": "86400", "date": formatdate(4e9, usegmt=True)}[form]
    receiver.next.append(answer(429, retry_after=asked))
    now = [1000.0]
    sink = WebhookSink(section(tmp_path, receiver.url, longest_retry_after_s=300.0), tmp_path, lambda: now[0])
    with pytest.raises(Undelivered, match="called again in 300 s"):
        deliver(sink, verdict(1))
    now[0] += 299
    with pytest.raises(Undelivered, match="asked for a pause"):
        deliver(sink, verdict(1))
    assert len(receiver.tried) == 1
    now[0] += 1
    assert deliver(sink, verdict(1)) == 1


def test_retry_after_is_read_in_both_forms_and_else_passed_over():
    assert retry_after_s("120") == 120.0
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT", 1445412480 - 60.0) == 60.0
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 -0000", 1445412480 - 60.0) == 60.0
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT", 1445412480 + 60.0) == 0.0
    for nonsense in (None, "", "soon", "-1", "1.5", "٣", "Wed, 99 Oct 2015 07:28:00 GMT", "9" * 5000 + "x"):
        assert retry_after_s(nonsense) is None
    assert retry_after_s("9" * 64) == float("9" * 64)


class Limit:
    """The time limit of requests: as long as it was asked for, or until the test ends it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[float | None] = []
        self._real = asyncio.timeout
        monkeypatch.setattr(asyncio, "timeout", self._timeout)

    def _timeout(self, seconds: float | None) -> asyncio.Timeout:
        self.asked.append(seconds)
        self._loop, self._last = asyncio.get_running_loop(), self._real(seconds)
        return self._last

    def end(self, *_: Any) -> None:
        """From any thread."""
        self._loop.call_soon_threadsafe(self._last.reschedule, 0.0)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 20"])
def test_a_receiver_that_hangs_or_drips_is_left_after_a_while(receiver, tmp_path, monkeypatch, said):
    limit = Limit(monkeypatch)

    def hangs(handler):
        handler.wfile.write(said)
        limit.end()
        receiver.hang(handler)

    receiver.next.append(hangs)
    sink = WebhookSink(section(tmp_path, receiver.url), tmp_path)
    with pytest.raises(Undelivered, match=r"did not answer within 60 s"):
        deliver(sink, verdict(1))
    assert limit.asked == [60.0]  # of the whole request, be it in many small pieces


def test_one_that_is_not_there_is_undelivered_and_one_that_comes_back_is_served(receiver, tmp_path):
    sink = WebhookSink(section(tmp_path, receiver.url), tmp_path)

    async def work(one: WebhookSink) -> None:
        await one.deliver([verdict(1)])
        receiver.die()
        for _ in range(2):  # on the connection that stood, and on a new one
            with pytest.raises(Undelivered, match="cannot be reached"):
                await one.deliver([verdict(2)])
        receiver.come_back()
        await one.open()
        await one.deliver([verdict(2)])

    using(sink, work)
    assert [one["number"] for one in receiver.told()] == [1, 2]


def test_an_answer_without_end_is_read_in_bounds_and_counts_by_its_status(receiver, tmp_path):
    cut = threading.Event()

    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.close_connection = True
        try:
            while True:
                handler.wfile.write(b"x" * 65536)
        except OSError:
            cut.set()

    receiver.next.append(endless)
    sink = WebhookSink(section(tmp_path, receiver.url), tmp_path)
    assert deliver(sink, verdict(1)) == 1
    assert cut.wait(60)


def test_an_answer_whose_text_does_not_come_counts_by_its_status(receiver, tmp_path, monkeypatch):
    limit = Limit(monkeypatch)
    excerpt = webhook_sink._excerpt

    def reads(response):
        limit.end()  # the status has come
        return excerpt(response)

    monkeypatch.setattr(webhook_sink, "_excerpt", reads)

    def stalls(handler):
        handler.send_response(200)
        handler.send_header("content-length", "10")
        handler.end_headers()
        handler.wfile.write(b"x")
        receiver.hang(handler)

    receiver.next.append(stalls)
    assert deliver(WebhookSink(section(tmp_path, receiver.url), tmp_path), verdict(1)) == 1


def test_until_something_is_taken_the_receiver_is_not_said_to_be_up(receiver, tmp_path):
    """A sink that connects only when it delivers opens well whatever the receiver does."""
    queue = Queue(tmp_path, "webhook", max_items=100, max_bytes=2**20)
    with queue.writing() as writing:
        writing.put(Draft("availability", pack({"v": 1, "detector": "up"})))
    sink = WebhookSink(section(tmp_path, receiver.url), tmp_path)
    up: list[bool | None] = []

    async def run() -> None:
        deliverer = Deliverer("webhook", queue, sink, Retry(first_s=0.01, longest_s=0.02))

        def fails(handler):
            up.append(deliverer.up)
            handler.say(500)

        receiver.next.extend([fails] * 4)
        working = asyncio.create_task(deliverer.run())
        while not receiver.taken:
            await asyncio.sleep(0.01)
        deliverer.stop()
        await working
        up.append(deliverer.up)

    asyncio.run(asyncio.wait_for(run(), 180))
    assert up == [True, False, False, False, True]
    assert receiver.taken[0][2]["type"] == "availability.up"
    queue.close()
