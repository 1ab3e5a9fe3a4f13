"""The CSV holds what the store holds, row for row, and nothing that a spreadsheet would run."""

import csv
import io
import sqlite3
from contextlib import closing

import pytest
from browser_support import every, one, until
from page_support import Line, log_in

STREAM = "exported"
FORMULA = ("=", "+", "-", "@", "\t", "\r")
FORMULAS = ('=HYPERLINK("http://evil.example","x")', "+1+1", "-1+1", "@SUM(A1)", "\t1", "\r1")


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
        const read = async (answer) => [await answer.text(), answer.headers.get("content-type")];
        fetch(path).then(read).then(done);""",
        path,
    )


def table(text):
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))


def harmless(text):
    """What stands in a cell for a text of others."""
    return f"'{text}" if text.startswith(FORMULA) else text


def number(value):
    return "" if value is None else str(value)


def stored(plant):
    """Rows of the store itself by the frame's id, newest first."""
    with closing(sqlite3.connect(f"{plant.store.as_uri()}?mode=ro", uri=True)) as reader:
        reader.row_factory = sqlite3.Row
        found = reader.execute(
            "SELECT frame.*, decision, kind, who, note FROM frame LEFT JOIN review USING (stream, key)"
            " WHERE stream = ? ORDER BY captured DESC",
            (STREAM,),
        )
        return {row["key"]: row for row in found}


def expected(row):
    """Cells of a stored row, those of the columns that the store has as they are."""
    verdict = {None: "", 0: "normal", 1: "anomalous"}
    return {
        "stream": STREAM,
        "frame_id": harmless(row["key"].partition(":")[2]),
        "part_id": harmless(row["part_id"] or ""),
        "raw": number(row["raw"]),
        "threshold": number(row["threshold"]),
        "verdict": verdict[row["label"]],
        "first_raw": number(row["first_raw"]),
        "first_verdict": verdict[row["first_label"]],
        "final": "yes" if row["final"] else "no",
        "review": row["decision"] or "",
        "review_kind": harmless(row["kind"] or ""),
        "review_by": row["who"] or "",
        "review_note": harmless(row["note"] or ""),
    }


def test_the_csv_equals_the_store(browser, plant, parts):
    log_in(browser, plant.page, "operator", f"/part?stream={STREAM}&key={parts[-5].key}")
    problem = browser.execute_async_script(
        """const [body, done] = arguments;
        const said = import("/static/common.js").then(({ post }) => post("/api/review", body));
        said.then(() => done(null), (error) => done(error.message));""",
        {
            "stream": STREAM,
            "key": parts[-5].key,
            "decision": "defect",
            "kind": "=kind",
            "note": '@"note",\n;',
        },
    )
    assert problem is None
    plant.ask("flush", stream=STREAM)
    until(
        browser, lambda: all(row["final"] for row in stored(plant).values()), "the last word on every frame"
    )

    text, media = fetched(browser, f"/api/export.csv?stream={STREAM}")
    assert media.startswith("text/csv")
    rows, store = table(text), stored(plant)
    assert len(rows) == len(store) == len(parts)
    for row, kept in zip(rows, store.values(), strict=True):
        assert expected(kept).items() <= row.items()
    assert not [cell for row in rows for cell in row.values() if cell.startswith(FORMULA)]


def test_a_csv_of_filters_holds_what_the_gallery_shows(browser, plant, parts):
    log_in(browser, plant.page, "operator", f"/gallery?stream={STREAM}&verdict=anomalous")
    until(browser, lambda: every(browser, ".card[data-key]"), "cards")
    shown = {card.get_attribute("data-key") for card in every(browser, ".card[data-key]")}
    rows = table(fetched(browser, f"/api/export.csv?stream={STREAM}&verdict=anomalous")[0])
    ids = {part.key.partition(":")[2]: part.key for part in parts}
    assert {ids[row["frame_id"].removeprefix("'")] for row in rows} == shown
    assert {parts[10].key, parts[11].key} <= shown, "the stained and the scratched one"
    link = one(browser, "#export")
    target = link.get_attribute("href")
    assert target is None or "verdict=anomalous" in target, "what is shown is what is exported"
