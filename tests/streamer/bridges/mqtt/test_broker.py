"""The sink against Debian's mosquitto; what it hands on comes from a list, without a detector."""

import dataclasses
import signal
import socket
import threading
from urllib.parse import unquote

import pytest
from certificate_support import certificates
from mqtt_items import revision, score
from mqtt_sinks import BASE, all_delivered, delivered_at_last, run, sink_of, sinking
from mqtt_support import Listener, broker, needs_mosquitto, password_file, retained
from streamer_support import PATIENCE_S

from streamer.bridges.sink import Counting, Item, Refused, Undelivered

pytestmark = needs_mosquitto
UP = Item(0, "availability", "", -1, None, {"detector": "up"})
VERSIONS = ["5", "3.1.1"]


@pytest.mark.parametrize("version", VERSIONS)
def test_verdicts_arrive_in_order_and_the_state_stays(tmp_path, version):
    items = [UP, *(score(number) for number in range(1, 60))]
    items += [revision(60 + n, of=n + 1, revision=1, label=True, before=False) for n in range(5)]
    with broker(tmp_path) as running, Listener(running.port, f"{BASE}/#") as listener:

        async def work():
            async with sinking(tmp_path, running.address, version=version, in_flight=7) as sink:
                await all_delivered(sink, items)
                assert retained(running.port)[f"{BASE}/availability"] == b"online"

        run(work())
        told = [one.said for one in listener.until(f"{BASE}/streams/line/verdict", 64)]
        listener.until_last(f"{BASE}/availability", b"offline")
        kept = retained(running.port)
    assert [one["number"] for one in told] == [one.number for one in items[1:]]
    assert (told[-1]["frame_id"], told[-1]["before"], told[-1]["pred_label"]) == ("part-0005", False, True)
    assert set(kept) == {
        f"{BASE}/availability", f"{BASE}/detector/availability", f"{BASE}/streams/line/state",
        f"{BASE}/bridge",
    }  # fmt: skip
    assert kept[f"{BASE}/availability"] == b"offline"
    assert kept[f"{BASE}/detector/availability"] == b"online"
    assert b'"scores":59' in kept[f"{BASE}/streams/line/state"]


def test_each_kind_has_a_topic_of_its_stream_or_of_none(tmp_path):
    kinds = ("event", "operator", "dropped", "error")
    items = [Item(1, kind, f"line/{kind}", 7, "line", {"text": "t"}) for kind in kinds]
    items += [Item(2, "error", "-/error", 8, None, {}), Item(3, "dropped", "-/error", -1, None, {"lost": 4})]
    with broker(tmp_path) as running, Listener(running.port, f"{BASE}/#") as listener:

        async def work():
            async with sinking(tmp_path, running.address) as sink:
                await all_delivered(sink, items)

        run(work())
        listener.until_last(f"{BASE}/availability", b"offline")
    for kind in kinds:
        told = listener.until(f"{BASE}/streams/line/{kind}")[0]
        assert (told.said["kind"], told.said["pub_seq"], told.retain) == (kind, 7, False)
        assert told.properties.ContentType == "application/json"
    assert listener.of(f"{BASE}/error")[0].said["stream"] is None
    assert listener.of(f"{BASE}/dropped")[0].said["lost"] == 4


NAMES = ["+", "#", "a/b", "$SYS", "a\0b", "Prüfstand\n1", "%2F", "\u202e", "\ufffe", "..", "", "$share/g/#"]


@pytest.mark.parametrize("version", VERSIONS)
def test_streams_of_any_name_have_topics_of_their_own(tmp_path, version):
    items = [score(number, name) for number, name in enumerate(NAMES)]
    with broker(tmp_path) as running, Listener(running.port) as listener:

        async def work():
            async with sinking(tmp_path, running.address, version=version, line="+/#") as sink:
                await all_delivered(sink, items)

        run(work())
        listener.until_last("musc/%2B%2F%23/availability", b"offline")
    told = [one for one in listener.heard if one.topic.endswith("/verdict")]
    assert [one.said["stream"] for one in told] == NAMES
    levels = [one.topic.split("/")[3] for one in told]
    assert [unquote(one) for one in levels if one != "%"] == [name for name in NAMES if name]
    assert len(set(levels)) == len(NAMES)


def test_what_the_broker_never_takes_is_refused_and_the_rest_goes_on(tmp_path):
    big, small = score(1, meta={"x": "y" * 9000}), score(2)
    endless = score(3, model_id="m" * 9000)
    with (
        broker(tmp_path, ["allow_anonymous true", "max_packet_size 5000"]) as running,
        Listener(running.port, f"{BASE}/streams/#") as listener,
    ):

        async def work():
            async with sinking(tmp_path, running.address) as sink:
                assert await sink.deliver([big, small, endless]) == 2
                with pytest.raises(Refused, match=r"has \d+ bytes, the broker"):
                    await sink.deliver([endless])
                assert await sink.deliver([score(4)]) == 1
                assert sink.counted["connections"] == 1

        run(work())
        told = [one.said for one in listener.until(f"{BASE}/streams/line/verdict", 3)]
    assert [(one["number"], one["cut"]) for one in told] == [(1, ["meta"]), (2, []), (4, [])]


def test_a_topic_that_the_broker_forbids_is_tried_until_it_is_allowed(tmp_path):
    rules = tmp_path / "rules"
    rules.write_text(f"topic readwrite #\ntopic deny {BASE}/streams/line/verdict\n")
    rules.chmod(0o600)
    with (
        broker(tmp_path, ["allow_anonymous true", f"acl_file {rules}"]) as running,
        Listener(running.port, f"{BASE}/#") as listener,
    ):

        async def work():
            async with sinking(tmp_path, running.address) as sink:
                with pytest.raises(Undelivered, match="streams/line/verdict is refused \\(Not authorized\\)"):
                    await sink.deliver([score(1)])
                rules.write_text("topic readwrite #\n")
                running.signal(signal.SIGHUP)
                await delivered_at_last(sink, [score(1)])

        run(work())
        assert listener.until(f"{BASE}/streams/line/verdict")[0].said["number"] == 1


def test_verdicts_go_on_where_what_is_beside_them_is_forbidden(tmp_path):
    rules = tmp_path / "rules"
    forbidden = (
        "homeassistant/#", f"{BASE}/bridge", f"{BASE}/streams/+/state", f"{BASE}/streams/+/picture",
    )  # fmt: skip
    rules.write_text("topic readwrite #\n" + "".join(f"topic deny {topic}\n" for topic in forbidden))
    rules.chmod(0o600)
    with (
        broker(tmp_path, ["allow_anonymous true", f"acl_file {rules}"]) as running,
        Listener(running.port, f"{BASE}/#") as listener,
    ):

        async def work():
            sink = sink_of(tmp_path, running.address, home_assistant={"enabled": True})
            try:
                items = [dataclasses.replace(score(number), picture=b"jpeg") for number in range(5)]
                await delivered_at_last(sink, items)
                assert sink.counted["topics_left_out"] == 5
            finally:
                await sink.close()

        run(work())
        told = listener.until(f"{BASE}/streams/line/verdict", 5)
    assert list(dict.fromkeys(one.said["number"] for one in told)) == list(range(5))


def test_a_picture_comes_before_its_verdict_unless_it_is_too_large(tmp_path):
    jpeg = b"\xff\xd8" + bytes(20_000)
    small = dataclasses.replace(score(1), picture=jpeg)
    large = dataclasses.replace(score(2), picture=bytes(40_000))
    with broker(tmp_path) as running, Listener(running.port, f"{BASE}/streams/#") as listener:

        async def work():
            async with sinking(
                tmp_path, running.address, {"pictures": True}, max_picture_bytes=30_000
            ) as sink:
                await all_delivered(sink, [small, large])
                assert isinstance(sink, Counting)  # so the bridge's status has them
                assert sink.counts()["pictures_left_out"][1] == sink.counts()["connections"][1] == 1

        run(work())
        listener.until(f"{BASE}/streams/line/verdict", 2)
    picture, first, second = listener.heard[:3]
    assert (picture.topic, picture.payload) == (f"{BASE}/streams/line/picture", jpeg)
    assert dict(picture.properties.UserProperty) == {"number": "1", "frame_id": '"part-0001"'}
    assert [one.said["picture"] for one in (first, second)] == [True, False]


def test_a_wrong_password_is_told_without_it_and_the_right_one_is_read_anew(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("a-wrong-secret\n")
    secret.chmod(0o600)
    users = password_file(tmp_path, {"bridge": "the-right-secret", "me": "mine"})
    lines = ["allow_anonymous false", f"password_file {users}"]
    section = {"username": "bridge", "password_file": str(secret)}
    with broker(tmp_path, lines) as running:

        async def work():
            sink = sink_of(tmp_path, running.address, **section)
            try:
                with pytest.raises(Undelivered, match="Not authorized") as raised:
                    await sink.open()
                assert "secret" not in str(raised.value)
                secret.write_text("the-right-secret\n")
                await all_delivered(sink, [score(1)])
            finally:
                await sink.close()

        run(work())
        with Listener(
            running.port, f"{BASE}/#", prepare=lambda client: client.username_pw_set("me", "mine")
        ) as listener:
            assert listener.until(f"{BASE}/streams/line/state")[0].said["number"] == 1
        assert "secret" not in running.log


@pytest.mark.parametrize("wrong", [None, "name", "authority", "no certificate", "plaintext"])
def test_tls_checks_who_the_broker_is_and_says_who_we_are(tmp_path, wrong):
    made, other = certificates(tmp_path / "ours"), certificates(tmp_path / "theirs")
    lines = [
        "allow_anonymous true", f"cafile {made.ca}", f"certfile {made.server_cert}",
        f"keyfile {made.server_key}", "require_certificate true",
    ]  # fmt: skip
    ours = {"ca": str(made.ca), "cert": str(made.cert), "key": str(made.key), "server_name": "broker.test"}
    if wrong == "name":
        del ours["server_name"]  # then it is 127.0.0.1, which the certificate does not name
    if wrong == "authority":
        ours["ca"] = str(other.ca)
    if wrong == "no certificate":
        del ours["cert"], ours["key"]
    section = {} if wrong == "plaintext" else {"tls": ours}
    with broker(tmp_path, lines) as running:

        async def work():
            sink = sink_of(tmp_path, running.address, timeout_s=20, **section)
            try:
                await all_delivered(sink, [score(1)])
            finally:
                await sink.close()

        if wrong is None:
            run(work())
            return
        said = "certificate verify failed" if wrong in {"name", "authority"} else "mqtt 127.0.0.1"
        with pytest.raises(Undelivered, match=said):
            run(work())


def test_a_server_that_is_no_broker_holds_nobody_up(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"

        async def work():
            sink = sink_of(tmp_path, address, timeout_s=1)
            try:
                with pytest.raises(Undelivered, match="timed out"):
                    await sink.open()
            finally:
                await sink.close()

        run(work())
    with socket.create_server(("127.0.0.1", 0)) as closing:
        address = f"127.0.0.1:{closing.getsockname()[1]}"

        def close_one():
            closing.accept()[0].close()

        thread = threading.Thread(target=close_one)
        thread.start()
        sink = sink_of(tmp_path, address, timeout_s=PATIENCE_S)

        async def refused():
            try:
                with pytest.raises(Undelivered):
                    await sink.open()
            finally:
                await sink.close()

        run(refused())
        thread.join()
