"""Names of files and folders that no terminal, spreadsheet or report may take for more than names."""

import csv
import io
import json
import os

import cv2
import numpy as np
import openpyxl
import pytest
from replay_support import call, config
from rich.console import Console

from bench import demo_data
from bench.datasets import read
from bench.names import drawn, plain
from bench.progress import Phases
from bench.report.excel import spreadsheet
from bench.report.text import escaped
from musc_online.errors import DataError
from streamer.errors import StreamerError, WireError
from streamer.printable import printable, utf8
from streamer.sources import images_in, open_source

__all__ = ["config"]

NOT_UTF8 = os.fsdecode(b"teil_\xfc")
FORGED = "x\nall: parity holds\x1b[31m\u202e"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Blech 7 ß/日本.png", "Blech 7 ß/日本.png"),
        (FORGED, r"x\nall: parity holds\x1b[31m\u202e"),
        (NOT_UTF8, r"teil_\udcfc"),
        ("a\u2028b\x85c\r\x00\x9b1m\u200b", r"a\u2028b\x85c\r\x00\x9b1m\u200b"),
    ],
)
def test_what_a_terminal_may_show(text, shown):
    assert printable(text) == shown
    for error in (DataError(text), StreamerError(text), WireError("bad_value", text)):
        assert str(error) == shown


def test_ids_are_utf8_and_two_names_are_never_one():
    names = [NOT_UTF8, r"teil_\udcfc", r"teil_\\udcfc", "teil_ü", "a\nb"]
    ids = [utf8(name) for name in names]
    assert len(set(ids)) == len(names)
    assert ids == [utf8(name) for name in names]
    assert (ids[0], ids[3:]) == (r"teil_\udcfc", names[3:])
    for name in ids:
        name.encode()


def part(folder, seed):
    folder.mkdir(parents=True, exist_ok=True)
    return cv2.imencode(".png", demo_data.draw(0, seed, size=64)[0])[1].tobytes()


def strange_set(root, category):
    """A category of odd names, with one defect, its mask, and a normal folder written `Good`."""
    test, masks = root / category / "test", root / category / "ground_truth"
    defect = f"=cmd|'x'[b]$^{FORGED}"
    good = (f"{NOT_UTF8}.png", "a[b].png", "a|`c`.png")
    for name, place in (*((name, "Good") for name in good), ("1.png", defect)):
        content = part(test / place, len(name))
        (test / place / name).write_bytes(content)
    drawn_mask = np.zeros((64, 64), np.uint8)
    drawn_mask[20:40, 20:40] = 255
    (masks / defect).mkdir(parents=True)
    (masks / defect / "1.png").write_bytes(cv2.imencode(".png", drawn_mask)[1].tobytes())
    return defect


def test_a_replay_of_odd_names_ends_in_a_report(config, tmp_path, capsys):
    category = f"[red]{NOT_UTF8}$x{FORGED}"
    defect = strange_set(tmp_path / "data", category)
    output = tmp_path / "out[put]"
    status, out, said = call(
        capsys, "mvtec", "--data", tmp_path / "data", "--config", config, "--output", output, "--json",
        tmp_path / "figures.json",
    )  # fmt: skip
    assert status == 0, said
    assert "\x1b" not in out + said
    assert f"{printable(category)}: 4 images, 3 normal, 1 anomalous" in said.splitlines()
    assert "  4 images: 3 normal, 1 anomalous" in out.splitlines()
    assert not any(line.startswith("all: parity holds") for line in (out + said).splitlines())
    assert f"{printable(category)}: parity holds" in out
    (entry,) = json.loads((tmp_path / "figures.json").read_text())["categories"]
    assert entry["category"] == utf8(category)
    page = (output / "report.md").read_text(encoding="utf-8")
    assert f"## {escaped(category)}" in page.splitlines()
    assert "all: parity holds" not in page.splitlines()
    with (output / utf8(category) / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["frame_id"]: row["defect"] for row in csv.DictReader(file)}
    assert rows[r"test/Good/teil_\udcfc.png"] == "good"
    assert rows[printable(f"test/{defect}/1.png")] == "'" + printable(defect)
    assert openpyxl.load_workbook(output / "results.xlsx")["results"]["A2"].value == printable(category)


def test_publisher_and_replay_give_an_odd_name_the_same_id(tmp_path):
    for name in (NOT_UTF8, r"teil_\udcfc", "a\nb"):
        (tmp_path / f"{name}.png").write_bytes(part(tmp_path, 1))
    (folder,) = read("folder", tmp_path)
    sent = [frame_id for frame_id, _ in open_source(str(tmp_path))]
    assert [sample.frame_id for sample in folder.samples] == sent
    assert len(set(sent)) == 3
    for name in sent:
        name.encode()


def test_a_folder_s_name_forges_no_line_of_publish(tmp_path):
    (tmp_path / FORGED).mkdir()
    with pytest.raises(StreamerError, match="holds no images") as caught:
        images_in(tmp_path / FORGED)
    assert str(caught.value).isprintable()
    (tmp_path / FORGED / f"{FORGED}.png").touch()
    (tmp_path / FORGED / "1.png").write_bytes(part(tmp_path, 1))
    said = []
    open_source(str(tmp_path / FORGED), tell=said.append)
    assert said
    assert all(line.isprintable() for line in said)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_of_a_spreadsheet_is_a_formula(start):
    assert spreadsheet(f"{start}1+1") == f"'{printable(start)}1+1"
    assert spreadsheet("a=1") == "a=1"
    assert spreadsheet(-1.5) == -1.5


def test_names_in_markdown_tables_and_plots_are_names():
    assert escaped("*a*<img>|`[b](c)_\n") == r"\*a\*\<img\>\|\`\[b\](c)\_\\n"
    assert plain("[red]a[/]\n").plain == r"[red]a[/]\n"
    assert drawn("cost $5") == r"cost \$5"
    shown = io.StringIO()
    with Phases("[red]x[/blue]\n", Console(file=shown, force_terminal=True, width=200)).phase("a", 1):
        pass
    assert r"[red]x[/blue]\n: a" in shown.getvalue()
