"""Addresses of cameras as they are shown, and those that are none."""

import subprocess
import sys

import pytest
from camera_addresses import ADDRESSES
from streamer_support import PATIENCE_S

from streamer.errors import StreamerError
from streamer.sources import SourceLost, device_of, open_source
from streamer.sources.address import shown, without_secrets


@pytest.mark.parametrize(
    ("url", "expected"),
    [*ADDRESSES, ("rtsp://eye:my pass@cam/line", "rtsp://cam/line"), ("rtsp://cam/a\x1b[2J", "rtsp://cam/a\\x1b[2J")],
)  # fmt: skip
def test_what_logs_in_is_not_shown(url, expected):
    assert shown(url) == expected
    assert without_secrets(f"{url}: no route", url) == f"{expected}: no route"


def test_a_password_is_taken_out_of_a_librarys_words():
    url = "rtsp://eye:s3cr3t@cam/line"
    assert without_secrets("no p@ss", "rtsp://eye:p%40ss@cam/line") == "no ***"
    assert without_secrets("login with s3cr3t failed", url) == "login with *** failed"


@pytest.mark.parametrize(
    "url", ["rtsp://", "ftp://cam/line", "srt://cam:9", "rtsp:///line", "http://[cam/line"]
)
def test_what_is_no_address_of_a_camera_is_said(url):
    pytest.importorskip("av", reason="PyAV is not installed: pip install -e '.[camera]'")
    with pytest.raises(StreamerError, match="is no address of a camera; expected rtsp://HOST/PATH"):
        device_of(url)


def test_a_name_that_nobody_knows_is_said():
    pytest.importorskip("av", reason="PyAV is not installed: pip install -e '.[camera]'")
    # By the rules of names (RFC 6761) there is none of this kind.
    with pytest.raises(
        SourceLost, match=r"^source: rtsp://cam\.invalid/line cannot be opened .*cam\.invalid is not found"
    ):
        device_of("rtsp://eye:s3cr3t@cam.invalid/line").open()


def test_options_that_do_not_go_with_a_source_are_refused(tmp_path):
    with pytest.raises(StreamerError, match=r"--max-age: got 2\.0 with the source"):
        open_source(str(tmp_path), max_age_s=2.0)
    with pytest.raises(StreamerError, match="--camera-ca: got"):
        open_source(str(tmp_path), camera_ca=tmp_path)
    with pytest.raises(StreamerError, match="a camera comes in its own order"):
        open_source("camera:0", shuffle=1)


def test_without_pyav_the_package_is_named():
    code = (
        "import sys; sys.modules['av'] = None\n"
        "from streamer.publish import main\n"
        "main(['--source', 'rtsp://eye:s3cr3t@cam/line', '--stream', 'line'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: source: rtsp://cam/line needs PyAV")
    assert "musc-online[camera]" in done.stderr
    assert done.stderr.count("\n") == 1
