"""Rows on a terminal of any width: texts fold; ids, numbers and words stay whole; only an id may be wider."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from streamer import status
from streamer.columns import LEAST, Column, laid_out, wrapped
from streamer.printable import printable

NAMES = st.text(st.sampled_from("aZ09-_/[]日本ü\n\x1b"), min_size=1, max_size=64)
COUNTS = st.integers(0, 10**12)
MAYBE = st.none() | st.floats(-1e300, 1e300, allow_nan=False)
STREAMS = st.dictionaries(
    NAMES,
    st.fixed_dictionaries(
        {
            "state": st.sampled_from(["ready", "warmup", "degraded"]),
            "received": COUNTS,
            "scored": COUNTS,
            "queued": COUNTS,
            "dropped": st.dictionaries(st.sampled_from(["drop_oldest", "too_old"]), COUNTS),
            "refused": st.none(),
            "anomalous": st.none() | COUNTS,
            "late": st.none() | COUNTS,
            "threshold": MAYBE,
            "latency_ms": st.none() | st.fixed_dictionaries({"n": COUNTS, "p50": MAYBE, "p95": MAYBE}),
            "last_frame": st.none()
            | st.fixed_dictionaries(
                {
                    "frame_id": NAMES | st.integers(0, 2**63),
                    "scored_ns": st.integers(0, 2**63),
                    "pred_label": st.sampled_from([None, True, False]),
                }
            ),
            "source": st.none()
            | st.fixed_dictionaries(
                {
                    "state": st.sampled_from(["live", "waiting"]),
                    "since_ns": st.integers(0, 2**63),
                    "fps": st.none() | st.floats(0, 1e9),
                    "age_ms": MAYBE,
                    "source": NAMES,
                    "counts": st.fixed_dictionaries({"packets_lost": COUNTS}),
                }
            ),
        },
        optional={"images": COUNTS, "capacity": COUNTS},
    ).map(lambda one: one | {"images": one["received"], "capacity": one["scored"]}),
    max_size=4,
)


def printed(what, width):
    console = Console(width=width, file=io.StringIO())
    console.print(what, soft_wrap=isinstance(what, Text))
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@given(streams=STREAMS)
def test_no_status_cuts_a_number_or_an_id_or_leaves_its_width(width, streams):
    sources = {name: stream["source"] for name, stream in streams.items()}
    for columns, rows in (
        (status._FRAMES, status._frames(streams)),
        (status._VERDICTS, status._verdicts(streams)),
        (status._TIMING, status._timing(streams)),
        (status._SOURCES, status._sources(sources)),
    ):
        lines = printed(laid_out(columns, rows, width), width)
        ids = {printable(row[at]) for row in rows for at, column in enumerate(columns) if column.kind == "id"}
        assert all(cell_len(line) <= width or line.strip() in ids for line in lines)
        words = set(" ".join(lines).split())
        for row in rows:
            for column, cell in zip(columns, map(printable, row), strict=True):
                if column.kind != "text":
                    assert words >= set(cell.split()), f"{column.title} {cell}"


@given(name=NAMES, count=COUNTS, width=st.integers(26, 120))
def test_a_text_folds_and_loses_nothing(name, count, width):
    columns = (Column("stream", "text"), Column("frames"), Column("source", "text"))
    shown = "".join(printed(laid_out(columns, [("x", str(count), name)], width), width))
    assert str(count) in shown
    # In their order, whatever stands between them: the fold, the rule below the heads, the other cells.
    found = iter(shown)
    assert all(any(one == there for there in found) for one in printable(name))


def test_what_fits_is_a_table_and_what_does_not_a_list():
    columns = (Column("stream", "text"), Column("frames"), Column("dropped"))
    rows = [("line-1", "1000000000000", "0"), ("a-name-of-more-than-eight", "7", "3")]
    fits = LEAST + 13 + 7 + 2 * 2
    assert printed(laid_out(columns, rows, fits), fits)[0] == "stream           frames  dropped"
    assert printed(laid_out(columns, rows, fits - 1), fits - 1) == [
        "line-1",
        "  frames   1000000000000",
        "  dropped  0",
        "a-name-of-more-than-eight",
        "  frames   7",
        "  dropped  3",
    ]


def test_ids_are_as_they_are_copied_in_a_table_that_has_room_and_in_a_list():
    columns = (Column("stream", "id"), Column("last frame", "id"), Column("verdict", "word"))
    rows = [("line-1", "part/test/stain/003.png", "anomalous"), ("b", "x" * 30, "normal")]
    assert "part/test/stain/003.png" in printed(laid_out(columns, rows, 51), 51)[2]
    assert printed(laid_out(columns, rows, 40), 40) == [
        "line-1",
        "  last frame  part/test/stain/003.png",
        "  verdict     anomalous",
        "b",
        "  last frame",
        "x" * 30,
        "  verdict     normal",
    ]
    assert "x" * 30 in printed(laid_out(columns, rows, 20), 20)


def test_markup_and_line_ends_of_a_name_are_text():
    columns = (Column("stream", "text"), Column("frames"))
    for width in (80, 12):
        shown = printed(laid_out(columns, [("[red]a\nb\x1b[31m", "1" * 9)], width), width)
        assert "\x1b" not in "".join(shown)
        assert "red" in "".join(shown)
        assert "\\n" in "".join(shown)


def test_a_long_line_is_broken_between_words_and_keeps_its_colours():
    line = Text.assemble("part-17  ", ("ANOMALOUS", "bold red"), "  raw 0.4321  rscin 0.1234")
    assert wrapped(line, 80) is line
    short = wrapped(line, 24)
    assert short.plain.splitlines() == ["part-17  ANOMALOUS  ", "  raw 0.4321  rscin ", "  0.1234"]
    assert [span.style for span in short.spans] == ["bold red"]
    assert wrapped(Text("x" * 30), 12).plain.replace("\n  ", "") == "x" * 30
