"""The HTML report: one file, nothing fetched, names are text, bounded in size, and says what is missing"""

import base64
import json
import re
import shutil
from functools import partial

import cv2
import numpy as np
import pytest
from page_check import Page
from report_support import AT, MADE, document, stream

from bench import report
from bench.replay import outcome as outcomes
from bench.replay.settings import Options
from bench.report import embedded, html, tables, text
from bench.report.frames import Frame
from bench.report.made import command

OPTIONS = Options("mvtec", "data", overlays=2)
HOSTILE = [
    "<script>alert(1)</script>.png",
    "\" onerror='x' a=\".png",
    "\u05e9\u05dc\u05d5\u05dd \u202egnp.exe",
    "a\x1b[31m\n{{ 7 * 7 }}{% raw %}",
    "&amp;]]><!--",
]
SAID = [(None, None), (True, True), (True, False), (False, True), (False, False)]


def frames_like(names, kinds=SAID):
    """Frames of every kind, from just below the threshold to far above it."""
    return [
        (name, truth, 0.1 + 0.85 * n / len(names) + (said is True), said)
        for n, name in enumerate(names)
        for truth, said in [kinds[n % len(kinds)]]
    ]


def left(folder, frames, options=OPTIONS):
    """A category's report and its entry, written by what writes a real one's."""
    (folder / "images").mkdir()
    outcome = stream(folder / "images", frames)
    files = report.write_category(folder / "part", outcome, options)
    return json.loads(json.dumps(outcome.entry() | {"files": files}))


def whole(*entries, options=OPTIONS):
    found = document(*entries)
    return found | {"options": options.as_json(), "mean": outcomes.mean(entries)}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A report of one category with every kind of frame: its folder, entry and document."""
    folder = tmp_path_factory.mktemp("report")
    kinds = [(True, None), (True, True), (True, False), (False, True), (False, False)]
    entry = left(folder, frames_like([f"test/{n}.png" for n in range(20)], kinds))
    report.write(folder, whole(entry), OPTIONS, AT)
    return folder, entry, whole(entry)


@pytest.fixture(scope="module")
def page(written):
    return Page((written[0] / "report.html").read_text(encoding="utf-8"))


def test_the_page_is_well_formed_and_fetches_nothing(page):
    assert page.wrong == []
    assert len(page.loaded) > 10
    assert all(source.startswith("data:image/") for source in page.loaded)
    assert all(link.startswith("#") for link in page.links)
    assert {tag for tag, _ in page.elements} & {"script", "iframe", "object", "form", "link", "base"} == set()
    assert not re.search(r"url\(|@import", "".join(page.text))


def test_pictures_are_in_the_page_in_the_size_it_says(page, written):
    folder, entry, _ = written
    pictures = [given for tag, given in page.elements if tag == "img"]
    files = [one["file"] for group in entry["files"]["shown"] for one in group["pictures"]]
    assert len(pictures) == len(files) + len(entry["files"]["plots"])
    for given in pictures:
        content = base64.b64decode(given["src"].partition("base64,")[2])
        shape = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).shape
        assert (given["width"], given["height"]) == (str(shape[1]), str(shape[0]))
    first = (folder / "part" / files[0]).read_bytes()
    assert base64.b64encode(first).decode() in pictures[0]["src"]


def test_found_missed_false_alarms_and_borderline_frames_are_shown_with_their_counts(page):
    for words in (
        "Missed 2 of 4 shown: defective, called normal",
        "False alarms 2 of 4 shown: good, called anomalous",
        "No label 2 of 4 shown: their label was withheld; the highest score first",
        "4 of 8 defective frames found; 4 without a label",
        "4 of 8 good frames called anomalous",
        "Found 2 of 4 shown: defective, called anomalous",
        "Passed 2 of 4 shown: good, called normal",
        "Of 8 defective frames 4 were found and 4 missed (recall 50.00 %).",
        "4 frames had no label in the end (4 defective, 0 good)",
        "threshold 0.50",
    ):
        assert words in page.words


def test_figures_labels_defects_frames_and_settings_are_there(page, written):
    captions = re.findall(r"<caption[^>]*><span>(.*?)</span>", (written[0] / "report.html").read_text())
    assert captions == [
        "Metrics, per cent",
        "Labels as they were sent, per cent of the frames that had one",
        "By kind of defect",
        "Every frame, the highest score first",
    ]
    for words in (
        "made 2026-11-30 06:30 UTC",
        "order of arrival shuffled, seed 0, scored in this process",
        "image_size: 224",
        "test/18.png good false alarm anomalous anomalous 1.865 0.500 1.865 1.865 19",
    ):
        assert words in page.words


def test_markdown_and_html_show_the_same_frames(written, page):
    _, entry, said = written
    markdown = text.markdown(said)
    for group in entry["files"]["shown"]:
        assert f"#### {group['title']}" in markdown
        for one in group["pictures"]:
            assert f"(part/{one['file']})" in markdown
            assert f"Frame, heat map and outline of {one['frame_id']}" in str(page.elements)
    assert "One colour scale for all pictures" in markdown
    assert "One colour scale for all pictures" in page.words


def test_the_same_report_made_at_the_same_time_has_the_same_bytes(written, tmp_path):
    folder, _, said = written
    shutil.copytree(folder / "part", tmp_path / "part")
    for name in ("one", "other"):
        report.write(tmp_path, said, OPTIONS, AT)
        (tmp_path / "report.html").rename(tmp_path / f"{name}.html")
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "other.html").read_bytes()
    assert (tmp_path / "one.html").read_bytes() == (folder / "report.html").read_bytes()


@pytest.mark.parametrize("truth", [True, None])
def test_hostile_names_are_text_wherever_they_stand(tmp_path, truth):
    kinds = [(truth, True), (truth, False), (truth and False, True), (truth and False, False)]
    entry = left(tmp_path, frames_like(HOSTILE, kinds))
    entry["category"] = HOSTILE[0]
    for row in entry["files"]["counts"]["defects"]:
        row["defect"] = HOSTILE[1]
    options = Options("mvtec", HOSTILE[0], overlays=2)
    source = html.one_category(whole(entry, options=options), entry, tmp_path / "part", MADE)
    page = Page(source)
    assert page.wrong == []
    assert "script" not in {tag for tag, _ in page.elements}
    assert not any(key.startswith("on") for _, given in page.elements for key in given)
    assert "\u202e" not in source
    assert "\x1b" not in source
    assert HOSTILE[0] in page.words
    assert "\\u202egnp.exe" in page.words
    assert "\\x1b[31m\\n{{ 7 * 7 }}{% raw %}" in page.words


def test_without_labels_the_page_shows_what_was_called_anomalous(tmp_path):
    entry = left(tmp_path, frames_like(["a", "b", "c", "d"], [(None, True), (None, False)]))
    page = Page(html.one_category(whole(entry), entry, tmp_path / "part", MADE))
    assert page.wrong == []
    assert "2 of 4 labelled frames were called anomalous." in page.words
    assert "Called anomalous 2 of 2 shown" in page.words
    assert "By kind of defect" not in page.words
    assert "Metrics, per cent" not in page.words


def test_where_every_label_is_withheld_the_ranking_is_shown(tmp_path):
    entry = left(tmp_path, frames_like(["a", "b", "c"], [(None, None)]))
    page = Page(html.one_category(whole(entry), entry, tmp_path / "part", MADE))
    assert page.wrong == []
    assert "Highest scores 2 of 3 shown: the highest first." in page.words
    assert "the ranking counts" in page.words
    assert "threshold 0" not in page.words


@pytest.mark.parametrize(("heatmaps", "drawn"), [("none", 0), ("image", 4)])
def test_pictures_can_be_left_out_or_have_their_own_scales(tmp_path, heatmaps, drawn):
    options = Options("mvtec", "data", overlays=2, heatmaps=heatmaps)
    kinds = [(None, True), (None, False)]
    entry = left(tmp_path, frames_like([str(n) for n in range(16)], kinds), options)
    page = Page(html.one_category(whole(entry, options=options), entry, tmp_path / "part", MADE))
    assert page.wrong == []
    assert len(list((tmp_path / "part").glob("*_0?.jpg"))) == page.words.count("colours from") == drawn
    assert "One colour scale" not in page.words


def test_all_pictures_are_on_one_scale_and_its_threshold_is_where_it_says(written):
    folder, entry, _ = written
    scale = entry["files"]["scale"]
    (at,) = re.findall(r'<i style="left: ([0-9.]+)%">', (folder / "report.html").read_text())
    assert float(at) == pytest.approx(100 * (0.5 - scale["low"]) / (scale["high"] - scale["low"]), abs=0.01)
    assert scale["threshold"] == 0.5
    # The hot corner of a heat map is the lighter the higher its score, whichever group it is shown in.
    light = {}
    for one in (one for group in entry["files"]["shown"] for one in group["pictures"]):
        picture = cv2.imread(str(folder / "part" / one["file"]))
        third = picture.shape[1] // 3
        light[one["raw"]] = picture[8:40, third + 16 : third + 48].mean()
    low, high = scale["low"], scale["high"]
    hot = [light[raw] for raw in sorted(light) if low + 0.65 * (high - low) < raw < high]
    assert len(hot) > 1
    assert hot == sorted(hot)


def test_a_page_stays_openable_however_many_pictures_there_are(written, monkeypatch):
    folder, entry, said = written
    monkeypatch.setattr(html, "Embedded", partial(embedded.Embedded, left=60_000))
    source = html.one_category(said, entry, folder / "part", MADE)
    page = Page(source)
    assert page.wrong == []
    assert len(source) < 60_000 * 4 / 3 + 40_000
    assert "Not in this file: " in page.words
    assert "beside scores.csv" in page.words


def test_a_table_of_frames_is_bounded_and_says_how_many_are_left():
    frames = [Frame(f"{n}.png", None, "", n, 0.1, n / 9000, 0.1, True, True, 0.5, None) for n in range(9000)]
    shown = tables.every_frame(frames)
    assert (len(shown.table.rows), shown.left_out) == (tables.MOST_FRAMES, 9000 - tables.MOST_FRAMES)
    assert [row[0] for row in shown.table.rows[:2]] == ["8999.png", "8998.png"]
    long = [Frame("x" * 4000, None, "", n, 0.1, 0.1, 0.1, True, True, 0.5, None) for n in range(900)]
    assert sum(len(row[0]) for row in tables.every_frame(long).table.rows) <= 1_000_000
    assert tables.every_frame(None) is None


def test_what_was_deleted_between_two_runs_is_said_to_be_missing(written, tmp_path):
    folder, entry, said = written
    shutil.copytree(folder / "part", tmp_path / "part")
    gone = entry["files"]["shown"][0]["pictures"][0]["file"]
    for name in (gone, "frames.json", "timeline.png"):
        (tmp_path / "part" / name).unlink()
    (tmp_path / "part" / "curves.png").write_bytes(b"")
    page = Page(html.one_category(said, entry, tmp_path / "part", MADE))
    assert page.wrong == []
    assert f"Not in this file: {gone}" in page.words
    assert page.words.count("Not in this file") == 3
    assert "Every frame" not in page.words


def test_several_categories_have_a_page_each_and_one_that_leads_to_them(written, tmp_path):
    names = ["a b", "c#d"]
    for name in names:
        shutil.copytree(written[0] / "part", tmp_path / name)
    entries = [written[1] | {"category": name} for name in names]
    path = report.write(tmp_path, whole(*entries), OPTIONS, AT)
    page = Page(path.read_text())
    assert page.wrong == []
    assert page.loaded == []
    assert [link for link in page.links if not link.startswith("#")] == [
        "a%20b/report.html",
        "c%23d/report.html",
    ]
    assert "The stream ended in the batch result, in every category." in page.words
    for name in names:
        below = Page((tmp_path / name / "report.html").read_text())
        assert below.wrong == []
        assert name in below.words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["/opt/bin/python3", "-m", "bench.replay", "--data", "a b"], "python3 -m bench.replay --data 'a b'"),
        (["/opt/bin/python3", "/opt/bin/musc-online", "replay", "demo"], "musc-online replay demo"),
        ([], "unknown"),
    ],
)  # fmt: skip
def test_the_command_is_told_as_a_person_would_type_it(words, said):
    assert command(words) == said
