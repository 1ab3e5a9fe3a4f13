"""The tutorials do what they say: each is followed in one shell, with a real detector, camera and data."""

import re
import shutil
from contextlib import nullcontext
from pathlib import Path

import cv2
import pytest
import tutorial_support
from camera_support import missing_for_rtsp
from shown_support import matches
from tutorial_support import blocks, follow, replaced

from bench.datasets import read
from bench.demo_data import draw, generate
from bench.demo_data.defects import DEFECTS
from musc_online.errors import DataError

ROOT = Path(__file__).parents[2]
TUTORIALS = ROOT / "docs" / "tutorials"
CAMERA = ROOT / "tests" / "support" / "rtsp_camera.py"


def parts(folder, count, every, name="{:03d}.png"):
    """Parts of the drawn line as photographs in one folder: from the tenth on one in `every` has a defect."""
    folder.mkdir()
    kinds = [*DEFECTS]
    for index in range(count):
        defect = kinds[index // every % len(kinds)] if index >= 10 and index % every == every - 1 else "good"
        cv2.imwrite(str(folder / name.format(index)), draw(3, index, defect, 160)[0])


@pytest.mark.slow  # some 15 s: a replay, its report and a detector
def test_ten_minutes_with_your_own_folder(tmp_path):
    theirs = tmp_path / "lids of line 2"
    parts(theirs, 20, 5, "Bild {:02d}.png")
    yours = {"FOLDER": str(theirs), "FRAME": "Bild 17.png"}
    follow(TUTORIALS / "own-folder.md", tmp_path, yours, names={"IMG_00": "Bild ", "photos": theirs.name})


@pytest.mark.slow  # some 15 s: a camera of ten pictures a second
def test_one_camera_to_a_verdict(tmp_path):
    if missing_for_rtsp():
        pytest.skip(missing_for_rtsp())
    # Primes: whatever step the newest pictures are taken in, each one comes, and seldom the same soon.
    parts(tmp_path / "line", 83, 7)
    camera = [
        f"/usr/bin/python3 {CAMERA} --codec jpeg --pictures {tmp_path}/line > {tmp_path}/camera & disown",
        f"until grep -q ^port {tmp_path}/camera; do sleep 0.1; done",
        f"THEIRS=rtsp://127.0.0.1:$(sed 's/port //' {tmp_path}/camera)/line",
    ]
    follow(TUTORIALS / "camera.md", tmp_path, {"CAMERA": "$THEIRS"}, camera)


@pytest.mark.slow  # some 10 s: a replay and its report
def test_convince_yourself_on_mvtec(tmp_path):
    generate(tmp_path / "sets", n_good=16, n_defective=4, size=160)
    (tmp_path / "sets" / "part").rename(tmp_path / "sets" / "flange_7")
    yours = {"DATA": str(tmp_path / "sets"), "CATEGORY": "flange_7"}
    follow(TUTORIALS / "mvtec.md", tmp_path, yours, names={"bottle": "flange_7"})


def test_the_errors_that_a_tutorial_tells_are_those_that_are_printed(tmp_path):
    page = (TUTORIALS / "mvtec.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `error: (.*?)` \|", page, re.MULTILINE)
    generate(tmp_path / "sets", n_good=1, n_defective=1, size=64)
    asked = [tmp_path / "none", tmp_path / "sets", tmp_path / "sets" / "part"]
    for data, line in zip(asked, told, strict=True):
        with pytest.raises(DataError) as raised:
            read("mvtec", data, "bottle")
        assert matches(line.replace("DIR", str(data)), str(raised.value))


def test_every_tutorial_is_followed():
    followed = {"own-folder.md", "camera.md", "mvtec.md"}
    assert {path.name for path in TUTORIALS.glob("*.md")} == followed
    for name in followed:
        found = blocks(TUTORIALS / name)
        assert sum(block.shown is not None for block in found) >= 3, name


@pytest.fixture
def page(tmp_path):
    """Follows a page of the test's own."""

    def write(text):
        path = tmp_path / "page.md"
        path.write_text(text, encoding="utf-8")
        for folder in ("reader", "blocks", "tools"):
            shutil.rmtree(tmp_path / folder, ignore_errors=True)
        return lambda **yours: follow(path, tmp_path, yours)

    return write


def test_a_page_is_followed_block_by_block_in_one_shell(page, tmp_path):
    text = (
        "```bash\nNAME=nobody  # yours\ntrue && sleep 1000 &\n```\n\nIt goes on.\n\n"
        '```python\n# greet.py\nimport sys\n\nprint("hello", sys.argv[1], 0.25)\n```\n\n'
        '```bash\npython greet.py "$NAME"\n```\n\n```text\nhello you there 0.251\n```\n'
    )
    page(text)(NAME="you there")
    assert (tmp_path / "reader" / "greet.py").is_file()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Words.\n\n```bash\necho one\nfalse\necho two\n```\n", r"status 1: page.md:4\n"),
        ("```bash\necho 12 parts\n```\n\n```text\n13 parts\n```\n", r"page.md:2\n(.*\n)*expected:\n13 parts"),
        ("```bash\nexit 3\n```\n", "the shell is gone"),
        ("```bash\nmusc-online nothing\n```\n", r"status 2: page.md:2\n(.*\n)*.*nothing"),
        ("```python\nprint()\n```\n", "page.md:2: a block of python begins with the name"),
        ("```text\nhello\n```\n", "page.md:2: says what is printed before anything is run"),
    ],
)
def test_what_a_page_promises_and_does_not_keep_is_told_with_its_line(text, told, page):
    with pytest.raises(AssertionError, match=told):
        page(text)()


def test_a_value_of_the_readers_that_the_page_does_not_have_is_told(page):
    with pytest.raises(AssertionError, match="has no line of"):
        page("```bash\ntrue\n```\n")(FOLDER="somewhere")


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("20 images", "20 images", True),
        ("20 images", "21 images", False),
        ("score 0.345", "score 0.35", True),
        ("score 0.345", "score 0.36", False),
        ("AUROC 0.900", "AUROC 0.9959", False),
        ("97.92 50.43", "97.92 48.0", False),
        ("0.00", "0.0001", True),
        ("0.00", "0.01", False),
        ("...\nscore 0.345\n...", "score 0.9\nscore 0.345\nscore 0.1", True),
        ("score 0.345", "score none", False),
        ("within 5.1e-07,", "within 1.25e-05,", True),
        ("within 5.1e-07,", "within 1.25e-03,", False),
        ("at 1796006710994937460 ok", "at 1896006710994937999 ok", True),
        ("at 1796006710994937460 ok", "at 0.5 ok", False),
        ("one\n...\nfour", "one\ntwo\nthree\nfour", True),
        ("one\n...\nfour", "one\nfour", True),
        ("one\nfour", "one\ntwo\nfour", False),
        ("one", "one\ntwo", False),
        ("a ... c", "a b b c", True),
        ("a ... c", "a c", True),
        ("a ... c", "a b\nc", False),
        ("peak 7...", "peak 74,53", True),
        ("frame   score", " frame  score ", True),
        ("───", "──────", True),
        ("(x)", "(x)", True),
        ("(x)", "x", False),
    ],
)
def test_an_output_is_what_the_page_shows_but_for_decimals_within_the_tolerance_and_what_is_left_out(
    shown, printed, same
):
    assert matches(shown, printed) is same


def test_numbers_below_the_words_that_they_are_others_each_time_may_be_any(page):
    text = "```bash\necho raw 0.9 pred 0.7\n```\n\n{}```text\nraw 0.4 pred 0.00\n```\n"
    page(text.format("<!-- other numbers each time -->\n"))()
    with pytest.raises(AssertionError, match=r"expected:\nraw 0.4"):
        page(text.format("\n"))()


def test_a_step_with_a_name_of_the_pages_own_fails_for_a_reader_with_other_data(tmp_path):
    text = '```bash\nNAME=photos  # yours\nmkdir "$NAME"\nls -d {}\n```\n\n```text\nphotos\n```\n'
    for literal, works in (('"$NAME"', True), ("photos", False)):
        folder = tmp_path / str(works)
        folder.mkdir()
        (folder / "page.md").write_text(text.format(literal), encoding="utf-8")
        done = pytest.raises(AssertionError, match=r"status 2: page\.md:2\n") if not works else nullcontext()
        with done:
            follow(folder / "page.md", folder, {"NAME": "their parts"}, names={"photos": "their parts"})


def test_only_the_lines_of_the_readers_own_are_replaced():
    used = set()
    text = "DIR=~/a b  # yours\nKEPT=1\n"
    assert replaced(text, {"DIR": "/x y"}, used) == "DIR='/x y'\nKEPT=1\n"
    assert used == {"DIR"}


def test_a_shell_has_a_network_of_its_own_or_free_ports_or_is_skipped(monkeypatch, tmp_path):
    monkeypatch.setattr(tutorial_support, "network", lambda: ())
    monkeypatch.setattr(tutorial_support, "_ports_are_free", lambda: False)
    with (
        pytest.raises(pytest.skip.Exception, match="no network namespace"),
        tutorial_support.shell(tmp_path, tmp_path / "tools"),
    ):
        pass
