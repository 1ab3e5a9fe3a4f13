"""The CSV holds what the store holds, row for row, and nothing that a spreadsheet would run."""

import csv
import io
import sqlite3

import pytest
from browser_support import every, one, until
from page_support import Line, log_in

STREAM = "exported"
FORMULAS = ('=HYPERLINK("http://evil.example","x")', "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1")


@pytest.fixture(scope="module")
def parts(plant):
    with Line(plant.server, STREAM) as line:
        good = line.learn(10)
        bad = [line.show("stain"), line.show("scratch")]
        named = [line.show(frame_id=text, part_id=text) for text in FORMULAS]
        other = [line.show(frame_id='a "quoted", comma;\nand a line', part_id="ü 部品 🔩")]
    return [*good, *bad, *named, *other]


def fetched(browser, path):
    """Text and type of what a browser that is logged in gets."""
    return browser.execute_async_script(
        """const [path, done] = arguments;
        fetch(path).then(async (answer) => done([await answer.text(), answer.headers.get("content-type")]));""",
        path,
    )


def table(text):
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))


def harmless(text):
    """What stands in a cell for a text of others."""
    return f"'{text}" if text[:1] in "=+-@\t\r" else text


def stored(plant, where="1"):
    """Rows of the store itself, newest first."""
    database = plant.page_store / "page.sqlite"
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as reader:
        reader.row_factory = sqlite3.Row
        found = reader.execute(
            f"SELECT * FROM score WHERE stream = ? AND {where} ORDER BY captured DESC, rowid DESC",  # noqa: S608
            (STREAM,),
        )
        return [dict(row) for row in found]
