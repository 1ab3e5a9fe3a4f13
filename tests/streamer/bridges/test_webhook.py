"""What a webhook's receiver gets, and what its answers do: a real server that verifies every signature."""

import base64
import hashlib
import hmac
import logging
from datetime import UTC, datetime

import pytest
from item_support import AT_NS, event, queue_folder, using, verdict
from posting_support import deliver, receiver, section
from standardwebhooks import Webhook as Signer
from web_support import certificate
from webhook_support import OTHER, SECRET, Receiver, answer

from streamer.bridges.sink import Refused, Undelivered
from streamer.bridges.webhook import WebhookSink
from streamer.bridges.webhook.body import signed

__all__ = ["receiver"]


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


def test_what_a_receiver_leaves_with_us_is_not_sent_back(receiver, tmp_path):
    receiver.next.append(answer(200, set_cookie="session=1; Path=/"))

    async def work(one: WebhookSink) -> None:
        await one.deliver([verdict(1)])
        await one.deliver([verdict(2)])

    using(WebhookSink(section(tmp_path, receiver.url), tmp_path), work)
    assert ["cookie" in headers for _, headers, _ in receiver.tried] == [False, False]


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

    using(sink, work)
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
