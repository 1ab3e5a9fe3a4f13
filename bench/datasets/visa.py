"""VisA: the layout as downloaded with `split_csv/1cls.csv`, or the pre-split one; no preprocessing step."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from bench.datasets.tree import Category, Sample, finish, folders, labelled, named, select
from musc_online import text_file
from musc_online.errors import DataError
from streamer.printable import utf8
from streamer.sources import id_of

SPLIT = Path("split_csv") / "1cls.csv"
COLUMNS = ("object", "split", "label", "image", "mask")
RAW = f"{SPLIT.as_posix()} beside <category>/Data/"
LAYOUT = f"{RAW}, or <category>/test/{{good,bad}}/ and <category>/ground_truth/bad/"


def read(root: Path, category: str) -> list[Category]:
    """Read the test images of VisA (Zou et al., ECCV 2022), one-class split.

    As downloaded, samples come in the order of the split file, as in the published code. A defect of either
    layout is one name (`Anomaly`, `bad`): VisA does not tell kinds apart.

    Raises:
        DataError: neither layout, a split file of other columns, an image or a mask missing.
    """
    if (root / SPLIT).is_file():
        rows = _test_rows(root / SPLIT)
        found = [root / name for name in sorted({row["object"] for row in rows})]
        chosen = select(root, found, category, LAYOUT)
        return [
            finish(path, list(_samples(root, path, rows)), "test images in " + SPLIT.name) for path in chosen
        ]
    base = root / "1cls" if (root / "1cls").is_dir() else root
    chosen = select(root, [path for path in folders(base) if (path / "test").is_dir()], category, LAYOUT)
    return [labelled(path, path / "test", path / "ground_truth", mask_rule="touched") for path in chosen]


def _test_rows(path: Path) -> list[dict[str, str]]:
    try:
        reader = csv.DictReader(io.StringIO(text_file.read(path)))
        found, rows = list(reader.fieldnames or ()), list(reader)
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path}: is not a CSV file ({error})") from None
    if not set(COLUMNS) <= set(found):
        raise DataError(f"{path}: expected the columns {', '.join(COLUMNS)}; found {found or 'none'}")
    rows = [row for row in rows if row["split"] == "test"]
    for row in rows:
        if any(row[column] is None for column in COLUMNS):
            raise DataError(f"{path}: the row {','.join(str(v) for v in row.values())} is too short")
    return rows


def _samples(root: Path, category: Path, rows: list[dict[str, str]]) -> Iterator[Sample]:
    for row in rows:
        if row["object"] != category.name:
            continue
        image, anomalous = named(root, row["image"]), row["label"] == "anomaly"
        if anomalous and not row["mask"]:
            raise DataError(f"{root / SPLIT}: the row of {row['image']} is an anomaly and names no mask")
        masks = (named(root, row["mask"]),) if anomalous else ()
        for path in (image, *masks):
            if not path.is_file():
                raise DataError(f"{path}: named in {SPLIT.as_posix()}, but there is no such file")
        if not image.is_relative_to(category):
            raise DataError(
                f"{root / SPLIT}: {row['image']} is listed under {category.name}, expected it below"
            )
        yield Sample(
            path=image,
            label=int(anomalous),
            defect=utf8(image.parent.name) if anomalous else "good",
            mask_paths=masks,
            frame_id=id_of(image, category),
            mask_rule="touched",
        )
