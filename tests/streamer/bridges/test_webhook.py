"""What a webhook's receiver gets, and what its answers do: a real server that verifies every signature."""

import asyncio
import base64
import hashlib
import hmac
import logging
import os
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import yaml
from item_support import AT_NS, event, queue_folder, verdict
from pydantic import ValidationError
from standardwebhooks import Webhook as Signer
from web_support import certificate
from webhook_support import OTHER, SECRET, Receiver, answer, items_of, secret_file

from musc_online.config_errors import one_line
from streamer.bridges import config
from streamer.bridges.common import Retry
from streamer.bridges.deliver import Deliverer
from streamer.bridges.queue import Draft, Queue
from streamer.bridges.sink import Item, Refused, Undelivered
from streamer.bridges.webhook import Webhook, WebhookSink
from streamer.bridges.webhook import sink as webhook_sink
from streamer.bridges.webhook.answers import retry_after_s
from streamer.bridges.webhook.body import signed
from streamer.bridges.webhook.secrets import signers
from streamer.errors import StreamerError
from streamer.wire.frame import pack


@pytest.fixture
def receiver(tmp_path):
    queue_folder(tmp_path, "webhook")
    with Receiver() as one:
        yield one


def section(folder: Path, url: str, **more: Any) -> Webhook:
    if "secret_files" not in more:
        more["secret_files"] = (secret_file(folder),)
    return Webhook(**{"url": url, "timeout_s": 60.0, **more})


def posting(sink: WebhookSink, work: Callable[[WebhookSink], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        await sink.open()
        try:
            return await work(sink)
        finally:
            await sink.close()

    return asyncio.run(run())


def deliver(sink: WebhookSink, *items: Item) -> int:
    return posting(sink, lambda one: one.deliver(items))


def test_an_item_comes_as_json_with_type_time_and_data(receiver, tmp_path):
    sink = WebhookSink(section(tmp_path, receiver.url), tmp_path)
    late = verdict(8, kind="revision", label=True, before=False, revision=2, meta={"nan": float("nan")})
    assert deliver(sink, verdict(7), late) == 1
    assert deliver(sink, late) == 1
    assert deliver(sink, event(9)) == 1

    first, second, third = [body for _, _, body in receiver.taken]
    assert (first["type"], second["type"], third["type"]) == (
        "verdict.provisional",
        "verdict.revised",
        "event.repeat",
    )
    assert second["timestamp"] == "2026-11-30T00:53:20.258Z"
    data = second["data"]
    assert (data["number"], data["stream"], data["topic"], data["before"]) == (
        8,
        "line",
        "line/revision",
        False,
    )
    assert data["header"]["pred_label"] is True
    assert data["header"]["meta"] == {"nan": None}
    assert data["header"]["scored_ns"] == AT_NS + 8_000_000
    assert "anomaly_map" not in data["header"]
    assert first["data"]["bridge"] == data["bridge"] == third["data"]["bridge"]


def test_a_picture_and_a_map_come_where_the_item_has_them(receiver, tmp_path):
    sink = WebhookSink(section(tmp_path, receiver.url), tmp_path)
    entry = {"encoding": "float32", "shape": [1, 1], "min": 0.0, "max": 0.0}
    deliver(sink, verdict(1, picture=b"\xff\xd8jpeg", payload=b"\0\0\0\0", anomaly_map=entry))
    data = receiver.taken[0][2]["data"]
    assert data["picture"] == {"encoding": "jpeg", "base64": "/9hqcGVn"}
    assert data["map"] == {**entry, "base64": "AAAAAA=="}


def test_every_secret_signs_so_that_a_receiver_can_change_to_the_next(receiver, tmp_path, monkeypatch):
    monkeypatch.setenv("NEXT_SECRET", OTHER)
    sink = WebhookSink(section(tmp_path, receiver.url, secret_variables=("NEXT_SECRET",)), tmp_path)
    deliver(sink, verdict(1))
    with Receiver(secret=OTHER) as changed:
        deliver(
            WebhookSink(section(tmp_path, changed.url, secret_variables=("NEXT_SECRET",)), tmp_path),
            verdict(1),
        )
        assert len(changed.taken) == 1
    with Receiver(secret="whsec_" + "A" * 32) as stranger:
        with pytest.raises(Undelivered, match="401"):
            deliver(WebhookSink(section(tmp_path, stranger.url), tmp_path), verdict(1))
        assert stranger.unsigned == 1
    assert len(receiver.taken[0][1]["webhook-signature"].split()) == 2


def test_the_id_is_the_same_at_every_try_and_after_a_restart_and_no_other_bridges(receiver, tmp_path):
    receiver.next.extend([answer(500)])
    sink = WebhookSink(section(tmp_path, receiver.url), tmp_path)
    with pytest.raises(Undelivered):
        deliver(sink, verdict(5))
    deliver(sink, verdict(5))
    deliver(WebhookSink(section(tmp_path, receiver.url), tmp_path), verdict(5))
    deliver(
        WebhookSink(section(tmp_path, receiver.url), queue_folder(tmp_path / "other", "webhook")), verdict(5)
    )
    ids = [one for one, _, _ in receiver.tried]
    assert ids[0] == ids[1] == ids[2] != ids[3]
    assert all(one.startswith("msg_") and one.endswith("_5") and "." not in one for one in ids)


@pytest.mark.parametrize("status", [301, 307, 401, 402, 403, 404, 405, 407, 408, 421, 425, 429, 500, 503])
def test_what_may_pass_is_tried_again(receiver, tmp_path, status):
    receiver.next.append(answer(status, location=f"http://{receiver.address}/elsewhere"))
    sink = WebhookSink(section(tmp_path, receiver.url), tmp_path)
    with pytest.raises(Undelivered, match=f"answered {status}"):
        deliver(sink, verdict(1))
    assert deliver(sink, verdict(1)) == 1
    assert set(receiver.paths) == {"/told"}
    assert receiver.followed == 0


@pytest.mark.parametrize("status", [400, 409, 411, 413, 415, 422, 451])
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


def test_what_a_receiver_leaves_with_us_is_not_sent_back(receiver, tmp_path):
    receiver.next.append(answer(200, set_cookie="session=1; Path=/"))

    async def work(one: WebhookSink) -> None:
        await one.deliver([verdict(1)])
        await one.deliver([verdict(2)])

    posting(WebhookSink(section(tmp_path, receiver.url), tmp_path), work)
    assert ["cookie" in headers for _, headers, _ in receiver.tried] == [False, False]


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

    posting(sink, work)
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


class Gate:
    """Something before the receiver that lets in what it likes; the rest is answered with a status."""

    def __init__(self, receiver: Receiver, status: int = 403) -> None:
        self.dislikes: set[int] = set()
        self._receiver, self._status = receiver, status
        receiver.always = self._answer

    def _answer(self, handler: Any) -> None:
        name, headers, body = self._receiver.tried[-1]
        if self.dislikes & {one["data"]["number"] for one in items_of(body)}:
            handler.say(self._status, b"forbidden")
        else:
            self._receiver.taken.append((name, headers, body))
            handler.say(200)


def worked_off(sink: WebhookSink, waiting: list[Item], now: list[float], tries: int) -> dict[int, str]:
    """Hand over what waits, a quarter of a minute between tries; why what was refused was."""
    refused = {}

    async def work(one: WebhookSink) -> None:
        for _ in range(tries):
            try:
                while waiting:
                    del waiting[: await one.deliver(waiting)]
            except Refused as error:
                refused[waiting.pop(0).number] = str(error)
            except Undelivered:
                now[0] += 15.0

    posting(sink, work)
    return refused


@pytest.mark.parametrize("batch", [1, 3])
def test_who_lets_nothing_in_is_away_however_long_and_nothing_is_refused(receiver, tmp_path, batch):
    gate, now = Gate(receiver, 401), [0.0]
    gate.dislikes = set(range(1, 9))
    sink = WebhookSink(section(tmp_path, receiver.url, batch=batch), tmp_path, lambda: now[0])
    waiting = [verdict(number) for number in range(1, 9)]
    assert worked_off(sink, waiting, now, 30) == {}
    assert len(waiting) == 8
    gate.dislikes = set()
    assert worked_off(sink, waiting, now, 1) == {}
    assert [one["number"] for one in receiver.told()] == list(range(1, 9))


@pytest.mark.parametrize("batch", [1, 3])
def test_an_item_that_alone_is_not_let_in_is_refused_once_others_get_through(receiver, tmp_path, batch):
    gate, now = Gate(receiver), [0.0]
    gate.dislikes = {2, 3}
    sink = WebhookSink(section(tmp_path, receiver.url, batch=batch), tmp_path, lambda: now[0])
    # Alone in the line it waits: nobody can say whether it is the item.
    waiting = [verdict(2)]
    assert worked_off(sink, waiting, now, 9) == {}
    waiting = [verdict(number) for number in range(2, 8)]
    refused = worked_off(sink, waiting, now, 30)
    assert waiting == []
    assert list(refused) == [2, 3]
    assert "403 (forbidden) again and again, and took item 4 meanwhile" in refused[2]
    assert [one["number"] for one in receiver.told()] == [4, 5, 6, 7]  # each once


def test_an_item_that_is_not_let_in_for_less_than_a_minute_is_not_judged(receiver, tmp_path):
    gate, now = Gate(receiver), [0.0]
    gate.dislikes = {1}
    sink = WebhookSink(section(tmp_path, receiver.url), tmp_path, lambda: now[0])
    waiting = [verdict(1), verdict(2)]

    async def work(one: WebhookSink) -> None:
        for _ in range(20):
            with pytest.raises(Undelivered, match="403"):
                await one.deliver(waiting)

    posting(sink, work)
    assert receiver.told() == []


def test_a_batch_comes_as_one_and_again_as_the_same_after_a_restart(receiver, tmp_path):
    receiver.next.append(answer(503))
    items = [verdict(number) for number in range(1, 9)]
    with pytest.raises(Undelivered):
        deliver(WebhookSink(section(tmp_path, receiver.url, batch=3), tmp_path), *items[:2])
    # More wait by now, and are not mixed into what may have arrived.
    assert deliver(WebhookSink(section(tmp_path, receiver.url, batch=3), tmp_path), *items) == 2
    assert receiver.tried[0][0] == receiver.tried[1][0]
    assert receiver.tried[0][2] == receiver.tried[1][2]
    assert receiver.tried[0][2]["type"] == "batch"
    assert deliver(WebhookSink(section(tmp_path, receiver.url, batch=3), tmp_path), *items[2:]) == 3
    assert [one["number"] for one in receiver.told()] == [1, 2, 3, 4, 5]


def test_of_a_batch_that_is_refused_only_the_item_it_was_for_is(receiver, tmp_path):
    def refuses_three(handler):
        body = receiver.tried[-1][2]
        numbers = [one["data"]["number"] for one in (body["data"].get("items") or [body])]
        if 3 in numbers:
            handler.say(422)
        else:
            receiver.taken.append(receiver.tried[-1])
            handler.say(200)

    receiver.always = refuses_three
    sink = WebhookSink(section(tmp_path, receiver.url, batch=4), tmp_path)
    waiting, refused = [verdict(number) for number in range(1, 7)], []

    async def work(one: WebhookSink) -> None:
        while waiting:
            try:
                del waiting[: await one.deliver(waiting)]
            except Refused:
                refused.append(waiting.pop(0).number)

    posting(sink, work)
    assert refused == [3]
    assert [one["number"] for one in receiver.told()] == [1, 2, 4, 5, 6]


def test_tls_is_verified_by_our_own_authority_and_by_name(tmp_path):
    mine, others = tmp_path / "mine", tmp_path / "others"
    mine.mkdir()
    others.mkdir()
    queue_folder(tmp_path, "webhook")
    good, bad = certificate(mine, "IP:127.0.0.1"), certificate(others, "DNS:elsewhere.example")
    with Receiver(good) as receiver:
        unknown = WebhookSink(section(tmp_path, receiver.url), tmp_path)
        with pytest.raises(Undelivered, match="certificate verify failed"):
            deliver(unknown, verdict(1))
        assert (
            deliver(WebhookSink(section(tmp_path, receiver.url, ca_file=good[0]), tmp_path), verdict(1)) == 1
        )
    with Receiver(bad) as receiver:
        with pytest.raises(Undelivered, match=r"not valid for '127\.0\.0\.1'"):
            deliver(WebhookSink(section(tmp_path, receiver.url, ca_file=bad[0]), tmp_path), verdict(1))
        assert receiver.tried == []


def test_no_proxy_of_the_environment_is_used_unless_it_is_asked_for(receiver, tmp_path, monkeypatch):
    with Receiver() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://{proxy.address}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        deliver(WebhookSink(section(tmp_path, receiver.url), tmp_path), verdict(1))
        assert (len(receiver.taken), len(proxy.taken)) == (1, 0)
        deliver(WebhookSink(section(tmp_path, receiver.url, proxy="environment"), tmp_path), verdict(2))
        assert (len(receiver.taken), proxy.paths) == (1, [receiver.url])
        named = section(tmp_path, receiver.url, proxy=f"http://{proxy.address}")
        deliver(WebhookSink(named, tmp_path), verdict(3))
        assert (len(receiver.taken), len(proxy.paths)) == (1, 2)


def test_nothing_logs_the_address_or_a_secret(receiver, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpx").setLevel(logging.NOTSET)
    deliver(WebhookSink(section(tmp_path, f"{receiver.url}?token=hidden"), tmp_path), verdict(1))
    assert "hidden" not in "".join(record.getMessage() for record in caplog.records if record.name == "httpx")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://plant.example/x?token=hidden", "http:// to another machine"),
        ("https://name:hidden@plant.example/", "holds a name or password"),
        ("https://plant.example/\x00hidden", "holds a character"),
        ("https://plant.example:99999/hidden", "no port or host"),
        ("https:///hidden", "is no address"),
        ("ftp://plant.example/hidden", "is no address"),
        ("hidden", "is no address"),
        ("https://plant.example/#hidden", "behind '#'"),
        ("https://plant.example/" + "hidden" * 1000, "longer than any address"),
        ("https://plant.example/$NOT_THERE_AT_ALL?token=hidden", "no variable 'NOT_THERE_AT_ALL'"),
    ],
)
def test_an_address_that_is_none_is_refused_without_being_shown(tmp_path, url, reason):
    with pytest.raises(ValidationError) as error:
        section(tmp_path, url)
    line = one_line(error.value, Webhook)
    assert reason in line
    assert "hidden" not in line


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("https://plant.example/hidden", "expected keys, such as url:"),
        (["https://plant.example/hidden"], "expected keys, such as url:"),
        ({"https://plant.example/hidden": None}, "where a key is expected"),
        ({"whsec_hidden": None}, "where a key is expected"),
        ({"url": ["https://plant.example/hidden"]}, "url: is no text"),
        ({"url": {"https": "hidden"}}, "url: is no text"),
        ({"url": "https://plant.example/", "proxy": ["hidden"]}, "proxy: is no text"),
        ({"url": "https://plant.example/", "secret_files": [["whsec_hidden"]]}, "holds a secret itself"),
        ({"url": "https://plant.example/", "secret_files": {"a": "whsec_hidden"}}, "holds a secret itself"),
        ({"uri": "https://plant.example/hidden"}, "unknown key 'webhook.uri'; did you mean 'url'"),
    ],
)
def test_a_section_of_another_form_is_refused_without_being_shown(tmp_path, given, reason):
    path = tmp_path / "bridge.yaml"
    path.write_text(yaml.safe_dump({"queue": {"path": "q"}, "webhook": given}), encoding="utf-8")
    with pytest.raises(StreamerError) as error:
        config.load("webhook", path)
    assert reason in str(error.value)
    assert "hidden" not in str(error.value)


def test_plain_http_goes_to_this_machine_and_farther_only_if_said(tmp_path):
    for url in ("http://localhost:1/", "http://127.0.0.2/", "http://[::1]:8080/x"):
        section(tmp_path, url)
    section(tmp_path, "http://plant.example/", insecure=True)


def test_an_address_can_come_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("HOOK", "https://plant.example/secret")
    assert section(tmp_path, "$HOOK").url == "https://plant.example/secret"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("hidden", "does not begin with whsec_"),
        ("whsec_hid=den", "no base64"),
        ("whsec_hidden\u00e9", "not ASCII"),
        ("whsec_hiddenhidden", "9 bytes, expected 24 to 64"),
        ("whsec_" + "hidden" * 20, "90 bytes, expected 24 to 64"),
        (f"{SECRET}\nwhsec_hidden", "secret 2"),
    ],
)
def test_a_secret_that_is_none_is_refused_without_being_shown(tmp_path, text, reason):
    path = tmp_path / "webhook.secret"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(StreamerError) as error:
        signers(section(tmp_path, "https://plant.example/", secret_files=(path,)))
    assert reason in str(error.value)
    assert "hidden" not in str(error.value)


def test_a_secret_that_others_may_read_is_refused(tmp_path):
    given = section(tmp_path, "https://plant.example/")
    for mode in (0o644, 0o640, 0o620, 0o604):
        given.secret_files[0].chmod(mode)
        with pytest.raises(StreamerError, match=rf"mode {mode:04o}\); chmod 600"):
            signers(given)
    given.secret_files[0].unlink()
    with pytest.raises(StreamerError, match="cannot be read"):
        signers(given)
    os.mkfifo(given.secret_files[0])
    with pytest.raises(StreamerError, match="no file of secrets"):
        signers(given)


def test_a_variable_that_is_not_there_is_named(tmp_path):
    given = Webhook(url="https://plant.example/", secret_variables=("NOT_THERE_AT_ALL",))
    with pytest.raises(StreamerError, match="NOT_THERE_AT_ALL"):
        signers(given)


def test_the_signature_is_what_the_scheme_says():
    """Computed anew: what receivers of other libraries verify by."""
    headers = signed([Signer(SECRET)], "msg_x_1", '{"a": 1}', datetime.fromtimestamp(1_614_265_330, UTC))
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    expected = hmac.new(key, b'msg_x_1.1614265330.{"a": 1}', hashlib.sha256).digest()
    assert headers == {
        "webhook-id": "msg_x_1",
        "webhook-timestamp": "1614265330",
        "webhook-signature": f"v1,{base64.b64encode(expected).decode()}",
    }


def test_a_certificate_that_is_none_is_told_at_once(tmp_path):
    broken = tmp_path / "ca.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n", encoding="ascii")
    for path, reason in (
        (broken, "no certificate that can be read"),
        (tmp_path / "none.pem", "cannot be read"),
    ):
        with pytest.raises(StreamerError, match=reason):
            WebhookSink(section(tmp_path, "https://plant.example/", ca_file=path), tmp_path)


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


@pytest.mark.parametrize("key", ["secret_files", "secret_variables"])
@pytest.mark.parametrize("value", ["whsec_hidden", ["x", " whsec_hidden"]])
def test_a_secret_that_stands_in_the_configuration_is_refused_without_being_shown(key, value):
    with pytest.raises(ValidationError) as error:
        Webhook(**{"url": "https://plant.example/", key: value})
    line = one_line(error.value, Webhook)
    assert "holds a secret itself" in line
    assert "hidden" not in line
