"""What publishers say of their cameras, on the way through a real detector: out again, and into no tally."""

import threading
import time

import old_subscriber
import pytest
import zmq
from click.testing import CliRunner
from source_words import word
from streamer_support import (
    PATIENCE_S,
    Camera,
    Screen,
    backbone,
    control,
    identity_holds,
    picture,
    refused,
    scrape,
    serving,
    small_config,
    until,
    watched,
)

from streamer import auth
from streamer.errors import StreamerError, WireError
from streamer.publish import Publisher
from streamer.reliable import ReliablePublisher
from streamer.status import main as status_main
from streamer.wire.frame import Limits, ack, pack, unpack_frame

__all__ = ["backbone"]

SHOWN = {"state", "since_ns", "at_ns", "heard_ns", "source", "age_ms", "fps", "counts", "text"}


def told(publisher, *args, **fields):
    """Say it until it went out."""
    until(lambda: publisher.tell_source(*args, **fields))


@pytest.mark.parametrize("kind", [Publisher, ReliablePublisher])
def test_what_is_told_is_published_shown_and_in_no_tally(backbone, kind, monkeypatch):
    with watched(backbone, metrics={"endpoint": "127.0.0.1:0"}) as (service, screen, _):
        endpoint = service.endpoints["reliable" if kind is ReliablePublisher else "frames"]
        with kind(endpoint, "line", wait_s=PATIENCE_S) as publisher:
            told(
                publisher,
                "waiting",
                since_ns=5,
                source="rtsp://u:secret@cam/1",
                text="refused: rtsp://u:p@cam/1",
            )
            (said,) = screen.until(1, "source")
            assert said.keys() == SHOWN | {"v", "kind", "pub_seq", "stream"}
            assert (said["stream"], said["state"], said["since_ns"], said["pub_seq"]) == (
                "line",
                "waiting",
                5,
                0,
            )
            assert (said["source"], said["text"]) == ("rtsp://cam/1", "refused: rtsp://cam/1")
            assert (said["age_ms"], said["fps"], said["counts"]) == (None, None, {})
            status = control(service, "status")
            assert status["streams"] == {}, "it has had no frame"
            assert status["sources"] == {"line": {name: said[name] for name in SHOWN}}
            assert (status["received"], status["refused"]) == (0, {})
            publisher.send(picture(0))
            screen.until(1, "score")
            told(
                publisher,
                "live",
                age_ms=41.25,
                fps=9.5,
                counts={"read": 7, "not_sent": 3, "odd name": 1, "packets_lost": 2},
            )
            counts = {"read": 7, "not_sent": 3, "odd name": 1, "packets_lost": 2}
            assert screen.until(1, "source")[0]["counts"] == counts
            status = control(service, "status")
            assert status["sources"] == {}
            assert status["streams"]["line"]["source"]["state"] == "live"
            assert (status["received"], status["scored"]) == (1, 1)
            assert identity_holds(status)
            beats = {fields["stream"]: fields for fields in screen.until(4, "status")}
            assert beats["line"]["source"]["age_ms"] == 41.25
            assert beats["-"]["sources"] == {}
            figures = scrape(service)
            states = {name: figures[f'musc_source_state{{state="{name}",stream="line"}}']
                      for name in ("waiting", "live", "lost", "ended", "unknown")}  # fmt: skip
            assert states == {
                "waiting": "0.0",
                "live": "1.0",
                "lost": "0.0",
                "ended": "0.0",
                "unknown": "0.0",
            }
            assert figures['musc_source_age_seconds{stream="line"}'] == "0.04125"
            assert figures['musc_source_counts_total{stream="line",what="packets_lost"}'] == "2.0"
            assert figures['musc_source_counts_total{stream="line",what="not_sent"}'] == "3.0"
            assert not any("odd name" in name for name in figures), "a publisher makes no series of its own"
            told(publisher, "ended")
            screen.until(1, "source")
            ended = 'musc_source_state{state="ended",stream="line"}'
            assert scrape(service)[ended] == "1.0"
            # Others send the stream on, without a word: Prometheus is told so, or it would keep the last one.
            monkeypatch.setattr("streamer.server.sources._SILENT_NS", 0)
            # One that was captured before may come and be scored long after: nobody else sends the stream.
            heard_ns = control(service, "status")["streams"]["line"]["source"]["heard_ns"]
            publisher.send(picture(1), capture_ns=heard_ns)
            until(lambda: control(service, "status")["scored"] == 2)
            assert control(service, "status")["streams"]["line"]["source"]["state"] == "ended"
            publisher.send(picture(2))
            until(lambda: control(service, "status")["streams"]["line"]["source"] is None)
            figures = scrape(service)
            shown = {name: value for name, value in figures.items() if name.startswith("musc_source_")}
            assert shown == {ended: "0.0"}
        kept = control(service, "history", topic="line/source", first=0)
        assert kept["messages"] == []


def test_one_that_is_heard_of_no_more_is_unknown_and_that_is_told(backbone, monkeypatch):
    with watched(backbone) as (service, screen, camera):
        camera.send(word(fps=4.0), b"")
        camera.send(word("over", "ended"), b"")
        assert [fields["state"] for fields in screen.until(2, "source")] == ["live", "ended"]
        monkeypatch.setattr("streamer.server.sources.SILENT_S", 0.0)
        (said,) = screen.until(1, "source")
        assert (said["stream"], said["state"], said["fps"], said["pub_seq"]) == ("line", "unknown", None, 1)
        shown = control(service, "status")["sources"]
        assert {name: one["state"] for name, one in shown.items()} == {"line": "unknown", "over": "ended"}


def test_one_that_cannot_be_used_is_refused_and_counted_and_nothing_else(backbone):
    with watched(backbone, limits={"streams": 1, "sleeping": 1}) as (service, screen, camera):
        camera.send(word("a"), b"")
        camera.send(word("b"), b"")
        screen.until(2, "source")
        camera.send(word("c"), b"")
        camera.send(word("a", "asleep"), b"")
        camera.send(word("a", text="x" * 5000), b"")
        camera.send(word("a"), b"pixels")
        errors = screen.until(4, "error")
        assert [(fields["stream"], fields["code"]) for fields in errors] == [
            ("c", "too_many_streams"),
            ("a", "bad_value"),
            ("a", "unknown_kind"),
            ("a", "unknown_kind"),
        ]
        status = control(service, "status")
        assert status["refused"] == {"too_many_streams": 1, "bad_value": 1, "unknown_kind": 2}
        assert (status["received"], status["sources"].keys()) == (4, {"a", "b"})
        assert identity_holds(status)
        camera.picture(0)
        screen.until(1, "score")


def test_words_do_not_count_to_the_rate_of_frames_nor_frames_to_theirs(backbone):
    with watched(backbone, limits={"rate": 0.001}) as (service, screen, camera):
        for _ in range(20):
            camera.send(word(), b"")
        camera.picture(0)
        camera.send(word(), b"")
        camera.picture(1)
        heard = screen.until(23, "source", "score", "error")
        codes = [fields["code"] for fields in heard if fields["kind"] == "error"]
        assert (codes, refused(service)) == (["rate_limited"], 1)
        assert [fields["kind"] for fields in heard].count("source") == 21
        assert heard[-1]["kind"] in {"score", "error"}


def test_a_sender_of_nothing_but_words_is_held_to_a_rate(backbone):
    with watched(backbone) as (service, screen, camera):
        for _ in range(5000):  # far more than a hundred at once and a hundred a second, on any machine
            camera.send(word(), b"")
        screen.until(1, "error")
        camera.picture(0)
        screen.until(1, "score")
        status = control(service, "status")
        assert status["refused"].keys() == {"rate_limited"}
        assert identity_holds(status)


def test_words_are_heard_while_frames_wait_for_room(backbone):
    """`tell_source` is called from another thread, while `send` waits in the one of the frames."""
    with (
        watched(backbone) as (service, screen, _),
        ReliablePublisher(service.endpoints["reliable"], "line", wait_s=PATIENCE_S, window=2) as publisher,
    ):
        sending = threading.Thread(target=lambda: [publisher.send(picture(seed), seed) for seed in range(12)])
        sending.start()
        for number in range(12):
            told(publisher, "live", counts={"read": number})
        counts = [fields["counts"]["read"] for fields in screen.until(12, "source")]
        assert counts == list(range(12)), "each once, in order"
        sending.join()
        publisher.flush(PATIENCE_S)
        assert (publisher.acknowledged, publisher.refused) == (12, {})


def test_a_word_that_a_detector_would_refuse_is_not_sent():
    """The text names what is wrong, as that of a frame does."""
    context = zmq.Context()
    nobody = context.socket(zmq.PULL)
    port = nobody.bind_to_random_port("tcp://127.0.0.1")
    try:
        with Publisher(f"tcp://127.0.0.1:{port}", "line", wait_s=PATIENCE_S) as publisher:
            for fields, names in (
                ({"state": "dead"}, "state: got 'dead'"),
                ({"state": "live", "age_ms": -1.0}, "age_ms: got -1.0"),
                ({"state": "live", "counts": {"lost": -1}}, "counts.lost: got -1"),
                ({"state": "live", "counts": {"": 1}}, "counts: got the name ''"),
            ):
                with pytest.raises(WireError, match=names):
                    publisher.tell_source(**fields)
        assert publisher.tell_source("live") is False, "it is closed"
        assert nobody.poll(0) == 0
    finally:
        nobody.close(0)
        context.term()


def test_nothing_is_kept_for_a_detector_that_is_down(backbone):
    with serving(small_config(), backbone) as service:
        endpoint = service.endpoints["reliable"]
        publisher = ReliablePublisher(endpoint, "line", wait_s=PATIENCE_S)
        told(publisher, "live")
    # The connection is gone with the service; the socket learns of it when it tries.
    until(lambda: not publisher.tell_source("lost", timeout_s=0.0))
    with (
        serving(small_config(transport={"reliable": endpoint}), backbone) as service,
        Screen(service) as screen,
    ):
        told(publisher, "waiting")
        assert screen.until(1, "source")[0]["state"] == "waiting"
        publisher.close(PATIENCE_S)


def test_the_last_word_arrives_though_the_publisher_closes_at_once(backbone):
    with watched(backbone) as (service, screen, _):
        for number in range(5):
            with Publisher(service.endpoints["frames"], f"s{number}", wait_s=PATIENCE_S) as publisher:
                told(publisher, "live")
                told(publisher, "ended")
        said = [(fields["stream"], fields["state"]) for fields in screen.until(10, "source")]
        for number in range(5):
            assert [state for stream, state in said if stream == f"s{number}"] == ["live", "ended"]


def test_the_subscriber_of_before_passes_them_over(backbone):
    with (
        serving(small_config(), backbone) as service,
        old_subscriber.Subscriber(service.endpoints["scores"], timeout_s=PATIENCE_S) as old,
        Screen(service) as screen,
        Camera(service.endpoints["frames"]) as camera,
    ):
        assert old.receive().kind == "status", "it is connected"
        camera.send(word("line", "waiting"), b"")
        camera.picture(0)
        camera.send(word(), b"")
        camera.picture(1)
        screen.until(2, "source")
        heard = []
        while len(heard) < 2:
            heard += [message for message in [old.receive()] if message.kind != "status"]
        assert [(message.kind, message["frame_id"]) for message in heard] == [
            ("score", "line-0"),
            ("score", "line-1"),
        ]


class OldDetector(threading.Thread):
    """The reliable port of a detector of before: it knows frames, and answers all else as it did.

    Attributes:
        codes: of its answers, in order.
    """

    def __init__(self):
        super().__init__(daemon=True)
        self.codes = []
        self._context = zmq.Context()
        self._port = self._context.socket(zmq.ROUTER)
        self.endpoint = f"tcp://127.0.0.1:{self._port.bind_to_random_port('tcp://127.0.0.1')}"
        self._stopping = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        self.join()
        self._port.close(0)
        self._context.term()

    def run(self):
        while not self._stopping.is_set():
            if self._port.poll(20):
                self._answer(self._port.recv_multipart())

    def _answer(self, parts):
        try:
            frame = unpack_frame(parts[1:], Limits())
            answer = ack(parts[0], frame.stream, frame.frame_id, frame.seq, "scored")
        except WireError as error:
            answer = ack(parts[0], error.stream, error.frame_id, error.seq, "refused", error.code)
        self.codes.append(answer[1]["code"])
        self._port.send_multipart([answer[0], pack(answer[1])])


def test_a_detector_of_before_costs_no_frame_and_is_asked_seldom():
    """It refuses the word without naming a frame: which must not be taken for the one frame that is open."""
    with (
        OldDetector() as old,
        ReliablePublisher(old.endpoint, "line", wait_s=PATIENCE_S, window=1) as publisher,
    ):
        told(publisher, "live")
        until(lambda: old.codes.count("unknown_kind") == 1)
        for seed in range(6):
            publisher.send(picture(seed), seed)
            publisher.tell_source("live")
        publisher.flush(PATIENCE_S)
        assert (publisher.acknowledged, publisher.refused, publisher.resent) == (6, {}, 0)
        until(lambda: not publisher.tell_source("live"))
        asked = len(old.codes)
        for _ in range(20):
            assert publisher.tell_source("live") is False
        assert len(old.codes) == asked


@pytest.fixture
def folder(tmp_path):
    clients = {"camera": "publishers", "screen": "subscribers", "operator": "controllers", "page": "pages"}
    auth.create_keys(tmp_path / "keys", clients)
    return tmp_path / "keys"


def keys_of(folder, name):
    return auth.load_client(folder / "clients" / f"{name}.key_secret", folder / "server.key")


def test_with_keys_only_a_publisher_may_tell(folder, backbone):
    with serving(small_config(security={"keys": str(folder)}), backbone) as service:
        endpoint = service.endpoints["frames"]
        for name in ("screen", "operator", "page"):
            with pytest.raises(StreamerError, match="refuses the connection"):
                Publisher(endpoint, "line", keys=keys_of(folder, name), wait_s=PATIENCE_S)
        with Publisher(endpoint, "line", keys=keys_of(folder, "camera"), wait_s=PATIENCE_S) as publisher:
            told(publisher, "live")
            until(lambda: service.status()["sources"])
        assert service.status()["sources"]["line"]["state"] == "live"
        assert service.status()["received"] == 0


def test_the_status_command_shows_cameras_in_eighty_columns(backbone):
    with watched(backbone) as (service, screen, camera):
        now = time.time_ns()
        long = "rtsp://camera-17.line-3.plant-north.example/axis-media/media.amp?resolution=1280x960&fps=25"
        camera.picture(0)
        camera.send(word(state="lost", since_ns=now, source=long, age_ms=12345.6, fps=0.0), b"")
        camera.send(word("line-with-a-long-name-17", "waiting", since_ns=2**63 - 1), b"")
        screen.until(2, "source")
        screen.until(1, "status")
        ask = ["--endpoint", service.endpoints["control"], "--timeout", str(PATIENCE_S)]
        shown = CliRunner().invoke(status_main, ask, env={"COLUMNS": "80"})
        assert shown.exit_code == 0
        lines = shown.stdout.splitlines()
        assert all(len(line) <= 80 for line in lines)
        told_of = [line.split() for line in lines]
        assert ["camera", "lost"] in told_of
        assert ["age", "ms", "12346"] in told_of
        assert ["camera", "waiting"] in told_of
        folded = "".join(line.split()[-1] for line in lines if line.split())
        assert "rtsp://camera-17" in folded
