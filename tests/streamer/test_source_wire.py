"""What a publisher says of its camera: which words are taken, how large, how often, and without passwords."""

import msgpack
import pytest
from camera_addresses import ADDRESSES
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.errors import WireError
from streamer.wire.codes import CODES
from streamer.wire.frame import Limits, unpack_frame
from streamer.wire.source import (
    MAX_AGE_MS,
    MAX_BYTES,
    MAX_FPS,
    SourceMessage,
    is_source,
    pack_source,
    told,
    unpack_source,
)

SAID = SourceMessage(
    "line", "live", 5, 9, "rtsp://cam/1", 41.5, 9.8, {"read": 12, "packets_lost": 3}, "was away"
)
WORD = {"v": 1, "kind": "source", "stream": "line", "state": "lost", "since_ns": 1, "at_ns": 2}


def parts(**fields):
    return [msgpack.packb({**WORD, **fields}), b""]


def test_what_is_said_is_what_is_heard():
    assert is_source(pack_source(SAID), Limits())
    assert unpack_source(pack_source(SAID)) == SAID
    short = unpack_source(parts())
    assert (short.source, short.age_ms, short.fps, short.counts, short.text) == ("", None, None, {}, "")


@pytest.mark.parametrize(
    ("fields", "code", "names"),
    [
        ({"v": 2}, "unsupported_version", "v: got 2"),
        ({"frame_id": 1}, "unknown_key", "'frame_id'"),
        ({"state": "unknown"}, "bad_value", "state: got 'unknown'"),
        ({"state": ["live"]}, "bad_value", "state"),
        ({"stream": "a/b"}, "bad_value", "stream"),
        ({"since_ns": -1}, "bad_value", "since_ns"),
        ({"at_ns": 1.5}, "bad_value", "at_ns"),
        ({"at_ns": True}, "bad_value", "at_ns"),
        ({"source": "x" * 257}, "bad_value", "source"),
        ({"source": "a\nb"}, "bad_value", "source"),
        ({"text": "x" * 401}, "bad_value", "text"),
        ({"text": "\x1b[2J"}, "bad_value", "text"),
        ({"age_ms": float("nan")}, "bad_value", "age_ms"),
        ({"age_ms": -0.5}, "bad_value", "age_ms"),
        ({"fps": float("inf")}, "bad_value", "fps"),
        ({"fps": True}, "bad_value", "fps"),
        ({"fps": 1.1e6}, "bad_value", "fps: got 1100000.0, expected 0 to 1e+06"),
        ({"age_ms": 9.2e18}, "bad_value", "age_ms: got 9.2e+18, expected 0 to 1e+13"),
        ({"counts": [1]}, "bad_value", "counts"),
        ({"counts": {f"c{number}": 1 for number in range(33)}}, "bad_value", "32"),
        ({"counts": {"x" * 65: 1}}, "bad_value", "counts"),
        ({"counts": {"lost": -1}}, "bad_value", "counts.lost"),
        ({"counts": {"lost": 2**63}}, "bad_value", "counts.lost"),
    ],
)
def test_what_cannot_be_is_refused_by_name(fields, code, names):
    assert is_source(parts(**fields), Limits())
    with pytest.raises(WireError) as caught:
        unpack_source(parts(**fields))
    assert caught.value.code == code
    assert names in caught.value.text
    assert caught.value.stream == (None if "stream" in fields else "line")


@pytest.mark.parametrize("key", ["stream", "state", "since_ns", "at_ns"])
def test_what_is_needed_is_named(key):
    word = {name: value for name, value in WORD.items() if name != key}
    with pytest.raises(WireError, match=f"'{key}' is missing"):
        unpack_source([msgpack.packb(word), b""])


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([*WORD, "source", "age_ms", "fps", "counts", "text", "x"]), anything))
def test_whatever_is_said_is_taken_whole_or_refused(fields):
    said = parts(**fields)
    if not is_source(said, Limits()):
        return
    try:
        heard = unpack_source(said)
    except WireError as error:
        is_right = error.code in CODES
    else:
        is_right = unpack_source(pack_source(heard)) == heard
    assert is_right


def test_the_largest_figures_are_taken_a_camera_at_1970_among_them():
    heard = unpack_source(parts(age_ms=MAX_AGE_MS, fps=MAX_FPS))
    assert (heard.age_ms, heard.fps) == (MAX_AGE_MS, MAX_FPS)
    assert unpack_source(parts(age_ms=1.8e12)).age_ms == 1.8e12


def test_nothing_else_is_taken_for_one():
    limits = Limits()
    assert not is_source([*parts(), b""], limits)
    assert not is_source([parts()[0]], limits)
    assert not is_source([parts()[0], b"pixels"], limits)
    assert not is_source(parts(kind="frame"), limits)
    assert not is_source([b"\xc1", b""], limits)
    assert not is_source([msgpack.packb([1]), b""], limits)
    large = parts(text="x" * MAX_BYTES)
    assert not is_source(large, limits)
    assert not is_source(parts(), Limits(header_bytes=20))
    with pytest.raises(WireError, match="or 'source' with a header of at most 4096 bytes") as caught:
        unpack_frame(large, limits)
    assert caught.value.code == "unknown_kind"


def test_a_detector_of_before_refuses_it_as_an_unknown_kind():
    """All that it had was this check, whose code is of then."""
    with pytest.raises(WireError) as caught:
        unpack_frame(pack_source(SAID), Limits())
    assert (caught.value.code, caught.value.stream, caught.value.frame_id) == ("unknown_kind", "line", None)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        *ADDRESSES,
        *((f"cannot open {url} : 401", f"cannot open {shown} : 401") for url, shown in ADDRESSES),
        ("cannot open http://u:p@cam/a: 401", "cannot open http://cam/a: 401"),
        ("camera:0", "camera:0"),
    ],
)
def test_no_password_is_sent_and_none_shown(text, shown):
    said = told(SourceMessage("line", "lost", 1, 2, text, text=text))
    assert (said.source, said.text) == (shown, shown)
    # Nor by a publisher of somebody else's.
    heard = unpack_source(parts(source=text, text=text))
    assert (heard.source, heard.text) == (shown, shown)


def test_whatever_a_camera_says_fits_on_one_line():
    said = told(SourceMessage("line", "lost", 1, 2, "s" * 999, text="one\ntwo\x1b[2J" + "x" * 999))
    assert unpack_source(pack_source(said)) == said
    assert (len(said.source), len(said.text)) == (256, 400)
    assert said.text.startswith("one\\ntwo\\x1b")
