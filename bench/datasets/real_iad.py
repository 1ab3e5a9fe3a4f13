"""Real-IAD: images in `realiad_<size>/<category>/`, splits in `realiad_jsons/.../<category>.json`."""

import json
from pathlib import Path
from typing import Any

from bench.datasets.tree import Category, Sample, finish, named, select
from musc_online import text_file
from musc_online.errors import DataError
from streamer.sources import id_of

SIZES = ("realiad_1024", "realiad_512", "realiad_256", "realiad_raw")
LAYOUT = "realiad_1024/<category>/ (or _512, _256) and realiad_jsons/realiad_jsons/<category>.json"


def read(root: Path, category: str) -> list[Category]:
    """Read the test images of Real-IAD (Wang et al., CVPR 2024), all five views, at the largest size present.

    Raises:
        DataError: another layout, a split file of another form, an image or a mask missing.
    """
    splits = next(
        (p for p in (root / "realiad_jsons" / "realiad_jsons", root / "realiad_jsons") if _jsons(p)), root
    )
    images = next((root / name for name in SIZES if (root / name).is_dir()), None)
    found = (
        []
        if images is None
        else [images / path.stem for path in _jsons(splits) if (images / path.stem).is_dir()]
    )
    return [_category(path, splits / f"{path.name}.json") for path in select(root, found, category, LAYOUT)]


def _jsons(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json")) if folder.is_dir() else []


def _category(folder: Path, split: Path) -> Category:
    try:
        content = json.loads(text_file.read(split))
        normal, entries = content["meta"]["normal_class"], content["test"]
        samples = [_sample(folder, entry, normal) for entry in entries]
    except (ValueError, RecursionError) as error:
        raise DataError(f"{split}: is not JSON ({error})") from None
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{split}: expected meta.normal_class and test[] with anomaly_class, image_path and mask_path; "
            f"missing {error}"
        ) from None
    return finish(folder, sorted(samples, key=lambda sample: sample.frame_id), f"test images in {split.name}")


def _sample(folder: Path, entry: dict[str, Any], normal: str) -> Sample:
    image, anomalous = named(folder, entry["image_path"]), entry["anomaly_class"] != normal
    if anomalous and not entry["mask_path"]:
        raise DataError(f"{image}: a defective image needs its mask; its entry names none")
    masks = (named(folder, entry["mask_path"]),) if anomalous else ()
    for path in (image, *masks):
        if not path.is_file():
            raise DataError(f"{path}: named in {folder.name}.json, but there is no such file")
    return Sample(
        path=image,
        label=int(anomalous),
        defect=entry["anomaly_class"] if anomalous else "good",
        mask_paths=masks,
        frame_id=id_of(image, folder),
        mask_rule="half",
    )
