"""Words and frames of ever new names at a running detector: what it says of itself stays small and right."""

from dataclasses import replace

from click.testing import CliRunner
from source_words import largest, word
from streamer_support import (
    PATIENCE_S,
    backbone,
    control,
    header,
    identity_holds,
    scrape,
    serving,
    small_config,
    watched,
)

from streamer import status
from streamer.server.sources import IN_HEARTBEAT
from streamer.wire.published import pack_message, unpack_message

__all__ = ["backbone"]

MOST = 6


def test_frames_and_words_of_ever_new_names_are_bounded_counted_and_told(backbone):
    """A frame that cannot be used opens a stream for a moment; the word behind it must not stay for ever."""
    limits = {"streams": 4, "sleeping": 2}
    with watched(backbone, limits=limits, metrics={"endpoint": "127.0.0.1:0"}) as (service, screen, camera):
        codes = []
        for number in range(3 * MOST):
            name = f"evil-{number}" + "x" * 100
            camera.send(header(1, name, number, encoding="jpeg"), b"\xff\xd8junk")
            camera.send(word(name, source="s" * 250, text="t" * 390), b"")
            codes += [fields.get("code") for fields in screen.until(2, "error", "source")]
        for number in range(3 * MOST):
            camera.send(word(f"ghost-{number}", "ended"), b"")
        codes += [fields.get("code") for fields in screen.until(3 * MOST, "error", "source")]
        assert codes.count("undecodable") == 3 * MOST
        assert codes.count(None) == MOST, "as many as are kept, and no more"
        n_refused = codes.count("rate_limited") + codes.count("too_many_streams")
        assert n_refused == 6 * MOST - MOST
        camera.picture(0, "real")
        screen.until(1, "score")
        camera.send(word("real"), b"")
        assert screen.until(1, "source")[0]["stream"] == "real"
        said = control(service, "status")
        assert len(said["sources"]) <= MOST
        assert said["streams"]["real"]["source"]["state"] == "live"
        refused = said["refused"]
        assert refused["undecodable"] == 3 * MOST
        assert refused.get("rate_limited", 0) + refused.get("too_many_streams", 0) == n_refused
        assert identity_holds(said)
        named = {
            line.partition("stream=")[2] for line in scrape(service) if line.startswith("musc_source_state")
        }
        assert len(named) <= MOST + 1
        service_beats = [one for one in service._heartbeat() if (one.stream, one.kind) == ("-", "status")]
        assert len(service_beats[0].header["sources"]) <= MOST


def test_bad_frames_of_ever_new_names_make_no_number_begin_anew(backbone, monkeypatch):
    """Numbers of what the history does not keep are only here, in so many places."""
    places = 16
    monkeypatch.setattr("streamer.server.outbox._TOPICS", places)
    with watched(backbone, limits={"streams": 2}) as (_, screen, camera):
        camera.send(word(), b"")
        camera.picture(0)
        screen.until(1, "score")
        for number in range(3 * places):
            camera.send(header(1, f"evil-{number}", number, encoding="jpeg"), b"\xff\xd8junk")
            screen.until(1, "error")
        camera.send(word(), b"")
        assert screen.until(1, "source")[0]["pub_seq"] == 1


def test_heartbeats_of_a_crowded_detector_can_be_read(backbone):
    """Of more streams than a heartbeat names `status` has all that was said."""
    most = 3 * IN_HEARTBEAT
    with serving(small_config(limits={"streams": 1024, "sleeping": most - 1024}), backbone) as service:
        said = largest("x")
        for number in range(most):
            service.sources.heard(replace(said, stream=f"{number:04d}" + "ü" * 62), f"peer-{number % 50}")
        for outgoing in service._heartbeat():
            topic = f"{outgoing.stream}/{outgoing.kind}"
            heard = unpack_message(pack_message(topic, {"kind": outgoing.kind, **outgoing.header}))
            if topic == "-/status":
                assert len(heard.packed) < 2**19
                assert (len(heard["sources"]), heard["sources_left_out"]) == (
                    IN_HEARTBEAT,
                    most - IN_HEARTBEAT,
                )
        said = control(service, "status")
        assert len(said["sources"]) == most
        assert all(len(one["counts"]) == 32 for one in said["sources"].values())


def test_no_figure_takes_the_names_out_of_the_status_tables(backbone):
    with watched(backbone) as (service, screen, camera):
        camera.picture(0, "first-stream")
        camera.send(word("first-stream", age_ms=9.2e18), b"")
        camera.send(word("first-stream", fps=9.2e18), b"")
        camera.send(
            word("second-stream", age_ms=1e13, fps=1e6, since_ns=2**63 - 1, source="rtsp://cam-17/1",
                 counts={"packets_lost": 2**63 - 1}),
            b"",
        )  # fmt: skip
        codes = [fields.get("code") for fields in screen.until(4, "error", "source", "score")]
        assert codes.count("bad_value") == 2
        ask = ["--endpoint", service.endpoints["control"], "--timeout", str(PATIENCE_S)]
        shown = CliRunner().invoke(status.main, ask, env={"COLUMNS": "80"})
        assert shown.exit_code == 0
        lines = shown.stdout.splitlines()
        assert all(len(line) <= 80 for line in lines)
        cameras = lines[next(n for n, line in enumerate(lines) if line.startswith("  camera")) - 1 :]
        assert cameras[0] == "first-stream"
        second = dict(line.split(maxsplit=1) for line in cameras[cameras.index("second-stream") + 1 :][:6])
        assert second["source"] == "rtsp://cam-17/1"
        assert (second["age"], second["lost"]) == ("ms  1.0e+13", str(2**63 - 1))
