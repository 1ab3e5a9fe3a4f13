"""The demo as a newcomer runs it: three real processes, a table, pictures."""

import io
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console
from rich.progress import Progress
from streamer_support import PATIENCE_S, backbone, until

from bench.demo_data import generate
from streamer import demo, demo_overlays, demo_page, overlays, screenshot
from streamer.demo import main as demo_main
from streamer.demo import truth_of
from streamer.demo_publishing import Publishing
from streamer.outlines import LINE
from streamer.overlays import Scale
from streamer.process import PageProcess
from streamer.wire.published import Message, encode_map

__all__ = ["backbone"]


@pytest.mark.usefixtures("backbone")
def test_the_demo_shows_every_frame_and_draws_overlays(tmp_path):
    generate(tmp_path / "data", n_good=9, n_defective=3, size=96)
    damaged = next((tmp_path / "data").rglob("good/008.png"))
    damaged.write_bytes(damaged.read_bytes()[:60])  # refused, and not waited for again at the end
    done = CliRunner().invoke(
        demo_main, ["--data", str(tmp_path / "data"), "--output", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    for name in (
        "good/000.png",
        "good/003.png",
        "truth",
        "verdict",
        "re-scored",
        "state",
        "of 11 verdicts agree",
        "good/008.png: payload: the png is truncated",
        "page up until the table is printed: http://127.0.0.1:",
        "make demo-page",
        "12 frames sent to demo: 11 scored, 1 refused (undecodable)",  # of the publisher, in its turn
    ):
        assert name in done.output
    assert done.stderr == ""
    pictures = sorted((tmp_path / "out").glob("0*.png"))
    assert len(pictures) == 8
    assert all(cv2.imread(str(path)).shape == (320, 968, 3) for path in pictures)
    page = tmp_path / "out" / "page.png"
    if screenshot.browser() is None:
        assert f"{page} was not drawn: no chromium" in done.output
    else:
        assert cv2.imread(str(page)).shape == (900, 1280, 3)


def told_above_a_bar(said, status=0):
    """What a terminal of 80 columns has in the end where a publisher says so much below a bar."""
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    publishing = Publishing(Path(), {"frames": "", "control": ""}, 0, console)
    publishing._command = [sys.executable, "-c", f"import sys; {said}; sys.exit({status})"]
    with Progress(console=console) as bar, publishing:
        bar.add_task("scored on arrival", total=3)
        until(lambda: publishing._process.poll() is not None)
        failed = publishing.has_failed()
    # What the bar drew is erased before a line is printed above it.
    return failed, [line.rpartition("\x1b[2K")[2] for line in console.file.getvalue().splitlines()]


def test_what_the_publisher_says_stands_above_the_bar_line_by_line():
    failed, lines = told_above_a_bar(
        "print(*range(1000, 1050), '', '\\x1b[31mred', sep='\\n', file=sys.stderr)"
    )
    assert not failed
    first = lines.index("1000")
    assert lines[-1] == "\x1b[?25h"  # the cursor is shown again
    said = [line for line in lines[first:-1] if not line.startswith("scored on arrival ")]
    assert said == [*map(str, range(1000, 1050)), "\\x1b[31mred"]
    assert lines[-2].startswith("scored on arrival ")


def test_a_publisher_that_fails_has_said_why_by_then():
    failed, lines = told_above_a_bar("print('error: source: a.bmp cannot be read')", status=2)
    assert failed
    assert "error: source: a.bmp cannot be read" in lines


def test_without_the_page_extra_the_demo_says_so_and_goes_on(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(demo_page, "_NEEDED", ("fastapi", "no_such_module"))
    told = "no page: no_such_module is not installed; pip install 'musc-online[page]' brings it"
    with demo._page({}, Console()) as page:
        assert page is None
        demo._draw(page, tmp_path, Console())
    assert capsys.readouterr().out == f"{told}\n"
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    done = CliRunner().invoke(demo_page.main, ["--data", str(tmp_path)])
    assert (done.exit_code, done.stderr) == (2, f"error: {told}\n")


def test_without_a_browser_the_demo_says_what_it_did_not_draw(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    demo._draw(PageProcess(tmp_path, {}), tmp_path, Console())
    assert "page.png was not drawn: no chromium on this machine" in " ".join(capsys.readouterr().out.split())
    assert not (tmp_path / "page.png").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("backbone")
def test_the_endless_demo_streams_new_parts_until_ctrl_c(tmp_path):
    generate(tmp_path / "data", n_good=3, n_defective=1, size=96)
    command = [sys.executable, "-m", "streamer.demo_page", "--data", str(tmp_path / "data"), "--fps", "20"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            while not (line := process.stdout.readline()).startswith("the page, with all rights: "):
                assert line, "it ended"
            login = line.split()[-1]
            with httpx.Client(follow_redirects=True, trust_env=False, timeout=PATIENCE_S) as browser:
                browser.get(login)
                scores = httpx.URL(login).copy_with(path="/api/scores", query=b"stream=demo")
                until(lambda: browser.get(scores).json()["total"] > 8)
                frames = browser.get(scores).json()["frames"]
        finally:
            process.send_signal(signal.SIGINT)
        assert "ended" in process.communicate(timeout=PATIENCE_S)[0]
    assert process.returncode == 0
    assert all(frame["frame_id"] == f"part-{frame['part_id']}" and frame["picture"] for frame in frames[1:])


@pytest.mark.slow
@pytest.mark.usefixtures("backbone")
def test_a_publisher_that_ends_early_is_not_waited_for(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "a.bmp").write_bytes(b"BM no picture")
    done = CliRunner().invoke(
        demo_main, ["--data", str(tmp_path / "parts"), "--output", str(tmp_path / "out")]
    )
    assert done.exit_code == 2
    assert "only 0 of 1 scored on arrival came: the images cannot all be sent" in done.stderr


def test_a_folder_without_images_is_one_line(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        done = CliRunner().invoke(demo_main, ["--data", str(folder)])
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
        assert done.stderr.startswith("error: ")


def test_truth_is_the_folder():
    assert [truth_of(one) for one in ("good/1.png", "a/scratch/2.png", "3.png")] == ["good", "scratch", None]


def test_a_picture_keeps_the_frames_aspect_and_outlines_only_what_is_anomalous(tmp_path):
    frame = np.full((40, 100, 3), 90, np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), frame)
    values = np.zeros((20, 30), np.float32)
    values[5:9, 5:9] = 0.5
    entry, payload = encode_map(values, "float32")
    for raw, outlined in (
        (0.4, True),
        (0.2, False),
    ):  # a mean of worst patches may lie below the map's maximum
        header = {"frame_id": "a.png", "raw_score": raw, "threshold": 0.3, "anomaly_map": entry}
        (written,) = demo_overlays.write(
            [Message(header, "line/score", payload)], {"a.png": tmp_path / "a.png"}, tmp_path
        )
        picture = cv2.imread(str(written))
        assert picture.shape == (128, 968, 3)
        legend = cv2.imread(str(tmp_path / "legend.png"))
        assert (legend == overlays.legend(Scale.of([values], 0.3), 0.3)).all()
        assert (picture[:, 648:] == LINE).all(axis=2).any() == outlined
