"""What logs in is taken out of addresses, wherever it stands in them; a file that is there keeps its name."""

import msgpack
import pytest
from camera_addresses import ADDRESSES, PLACES
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamer.credentials import address_without_secrets, host_of, passwords, without_secrets
from streamer.errors import StreamerError, WireError
from streamer.sources import address, open_source
from streamer.wire.frame import Limits, unpack_frame
from streamer.wire.source import unpack_source

WORD = {"v": 1, "kind": "source", "stream": "line", "state": "lost", "since_ns": 1, "at_ns": 2}
# Not `&`: in a query a new key begins there, and nobody can tell. Not of digits alone: that is a port.
secrets = st.text(st.sampled_from("QZX789/#?@:;=_+.,!-~$*'\"äß%"), min_size=6, max_size=20)


@pytest.mark.parametrize(("url", "expected"), ADDRESSES)
def test_an_address_is_shown_without_what_logs_in(url, expected):
    assert address_without_secrets(url) == expected
    assert without_secrets(f"cannot open {url} : 401") == f"cannot open {expected} : 401"
    assert address.shown(url) == expected


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(PLACES), secrets)
@example("rtsp://eye:{}@cam/line", "s3@cret#z")
@example("rtsp:/eye:{}@cam/line", "/s3cret/")
@example("http://cam/video?pass%77ord={}", "s=3_x=1")
def test_a_password_is_never_shown_wherever_it_stands(place, secret):
    url = place.format(secret)
    for shown in (
        address_without_secrets(url),
        without_secrets(f"cannot open {url}: 401"),
        address.without_secrets(f"no {url} there", url),
    ):
        assert secret not in shown
    assert address_without_secrets(address_without_secrets(url)) == address_without_secrets(url)


@pytest.mark.parametrize(
    ("url", "name", "may_be_asked"),
    [
        ("rtsp://eye:s3cret@cam/line", "cam", True),
        ("rtsp://cam:554/live@2", "cam", True),
        ("rtsp://eye:s3cret@[fe80::1]:554/live@2", "fe80::1", True),
        ("rtsp://eye:s3@cret.x/z@cam/line", "cret.x", False),
        ("rtsp://", "", True),
    ],
)
def test_the_host_is_the_one_that_is_connected_to(url, name, may_be_asked):
    assert (host_of(url).name, host_of(url).may_be_asked) == (name, may_be_asked)


@pytest.mark.parametrize("password", ["s3@cret#z", "s3@cret/z", "s3/cret", "s3#cret", "s3?cret"])
def test_a_password_that_ends_the_address_is_refused_before_anybody_is_asked(password):
    pytest.importorskip("av", reason="PyAV is not installed: pip install -e '.[camera]'")
    with pytest.raises(
        StreamerError, match=r"^source: rtsp://cam/line: its host is not clear; .* / as %2F"
    ) as caught:
        open_source(f"rtsp://eye:{password}@cam/line")
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "asked"), [("rtsp://eye:s3@cret.x/z@cam/line", []), ("rtsp://eye:s3cret@cam.x/line", ["cam.x"])]
)
def test_a_name_that_may_be_a_password_is_not_asked_for(monkeypatch, url, asked):
    pytest.importorskip("av", reason="PyAV is not installed: pip install -e '.[camera]'")
    from streamer.sources import stream  # noqa: PLC0415

    names = []
    monkeypatch.setattr(stream.socket, "getaddrinfo", lambda name, _: names.append(name))

    def opened(*_args, **_options):
        raise stream.av.error.OSError(5, "Input/output error")

    monkeypatch.setattr(stream.av, "open", opened)
    with pytest.raises(stream.SourceLost) as caught:
        stream.NetworkStream(url).open()
    assert names == asked
    assert "cret" not in str(caught.value)


def test_a_file_that_is_there_keeps_its_name(tmp_path):
    path = tmp_path / "eye:line@plant.png"
    assert address.shown(str(path)).endswith("***@plant.png")
    path.touch()
    assert address.shown(str(path)) == str(path)


@pytest.mark.parametrize("source", ["rtsp:/eye:s3cret@cam/line", "eye:s3cret@cam", "http:cam/?pass=s3cret"])
@pytest.mark.parametrize(
    ("option", "what"), [({}, "does not exist"), ({"max_age_s": 1.0}, "--max-age: got 1.0")]
)
def test_a_mistyped_address_is_refused_without_its_password(source, option, what):
    with pytest.raises(StreamerError, match=what) as caught:
        open_source(source, **option)
    assert "s3cret" not in str(caught.value)


def test_no_password_is_in_an_error_about_an_option():
    pytest.importorskip("av", reason="PyAV is not installed: pip install -e '.[camera]'")
    with pytest.raises(StreamerError, match="--shuffle") as caught:
        open_source("rtsp://eye:s3cret@cam/line", shuffle=1)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"source": "rtsp://eye:s3cret@cam/" + "x" * 300},
        {"text": "rtsp://eye:s3cret@cam/\n"},
        {"stream": "rtsp://eye:s3cret@cam/1"},
        {"state": "rtsp://eye:s3cret@cam/1"},
        {"rtsp://eye:s3cret@cam/1": 1},
        {"counts": [{"to": "rtsp://eye:s3cret@cam/1"}]},
        {"counts": {"rtsp://eye:s3cret@cam/" + "x" * 64: 1}},
    ],
)
def test_what_is_refused_is_told_without_passwords(fields):
    """The text of an error is published, logged, and kept in the history."""
    with pytest.raises(WireError) as caught:
        unpack_source([msgpack.packb({**WORD, **fields}), b""])
    assert "s3cret" not in caught.value.text


def test_a_frame_that_is_refused_is_told_without_passwords():
    header = {"v": 1, "kind": "frame", "stream": "rtsp://eye:s3cret@cam/1", "frame_id": 1, "encoding": "jpeg"}
    with pytest.raises(WireError) as caught:
        unpack_frame([msgpack.packb(header), b"x"], Limits())
    assert "s3cret" not in caught.value.text


def test_a_password_is_known_as_it_stands_and_as_it_is_meant():
    assert passwords("rtsp://eye:p%40ss@cam/line") == ["p%40ss", "p@ss"]
    assert passwords("rtsp://eye:a/b@cam/line") == ["a/b"]
    assert passwords("rtsp://cam/line") == passwords("rtsp://[fe80::1]:554/live@2") == []
