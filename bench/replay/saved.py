"""`--save`: the map, the picture and the mask of every image, as files for other programs and for people."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from bench.datasets import read_frame
from bench.replay import file_names
from bench.replay.outcome import Outcome
from bench.replay.settings import Saveable
from musc_online.errors import DataError
from streamer import outlines
from streamer.maps import interpolate
from streamer.overlays import Scale, legend, panels

SUFFIXES: dict[Saveable, str] = {"maps": ".tiff", "overlays": ".png", "masks": ".png"}
LEGEND = "legend"
Pixels = npt.NDArray[np.uint8]
_PARTIAL = ".partial"
_TIFF = (
    # Deflate over differences: 15 per cent of the bytes, and every reader of TIFF knows it.
    cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_ADOBE_DEFLATE,
    cv2.IMWRITE_TIFF_PREDICTOR, cv2.IMWRITE_TIFF_PREDICTOR_HORIZONTAL,
)  # fmt: skip


@dataclass(frozen=True)
class Saved:
    """What was saved of a category.

    `files` gives for each kind that was asked for the file of each sample, relative to the category's folder
    with `/` between its parts; None where there is none. `why` counts why there is none.
    """

    files: dict[Saveable, list[str | None]] = field(default_factory=dict)
    why: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For the replay's JSON: how many files of each kind, and of how many images there is none."""
        return {
            "n_files": {kind: sum(file is not None for file in files) for kind, files in self.files.items()},
            "left_out": self.why,
        }


def write(
    folder: Path,
    outcome: Outcome,
    kinds: Sequence[Saveable],
    done: Callable[[int], None] = lambda count: None,
) -> Saved:
    """Write the files of every image of a category, one image at a time, each of them whole or not at all.

    Maps are float32 TIFF in the frame's own pixels, in the units of the raw score. Masks are PNG, 255 where
    that map reaches the threshold of a frame last called anomalous (`streamer.outlines`: what the overlay
    outlines), else 0; of one called normal all 0. Overlays are `streamer.overlays.panels`, on one scale for
    the category, whose legend lies beside them.

    Args:
        folder: of the category.
        outcome: of the same.
        kinds: what to write.
        done: told after each image.

    Raises:
        DataError: a file cannot be written, or an image cannot be read any more.
    """
    samples, recorder = outcome.category.samples, outcome.recorder
    stems = file_names.stems([sample.frame_id for sample in samples], taken=[LEGEND])
    files: dict[Saveable, list[str | None]] = {kind: [None] * len(samples) for kind in kinds}
    why: Counter[str] = Counter()
    scale = Scale.of(recorder.revised.maps, recorder.last_threshold)
    if "overlays" in kinds:
        _put(folder / "overlays" / f"{LEGEND}.png", _png(legend(scale, recorder.last_threshold)))
    for index, stem in enumerate(stems):
        made = _of_image(outcome, index, kinds, scale)
        for kind in kinds:
            file = f"{kind}/{stem}{SUFFIXES[kind]}"
            content = made[kind]
            if isinstance(content, str):
                why[f"{kind} ({content})"] += 1
                _remove(folder / file)
            else:
                _put(folder / file, content)
                files[kind][index] = file
        done(1)
    return Saved(files, dict(why))


def _of_image(
    outcome: Outcome, index: int, kinds: Sequence[Saveable], scale: Scale
) -> dict[Saveable, Pixels | str]:
    """The content of each kind's file, or why there is none."""
    recorder, sample = outcome.recorder, outcome.category.samples[index]
    small, label = recorder.revised.maps[index], recorder.last_label.get(index)
    level = outlines.level(label, recorder.thresholds.get(index))
    if not np.isfinite(small).all():
        return dict.fromkeys(kinds, "no score")
    made: dict[Saveable, Pixels | str] = {}
    if "overlays" in kinds:
        truth = outcome.truth
        mask = None if truth is None or truth.masks is None else truth.masks[index]
        frame = read_frame(sample.path, sample.bit_depth)
        made["overlays"] = _png(panels(frame, small, scale, level, mask))
    if "maps" in kinds or "masks" in kinds:
        large = interpolate(small, outcome.shapes[index])
        made["maps"] = _encoded(".tiff", large, _TIFF)
        made["masks"] = "label withheld" if label is None else _png(_mask(large, small, level))
    return made


def _mask(large: npt.NDArray[np.float32], small: npt.NDArray[np.float32], level: float | None) -> Pixels:
    if level is None:
        return np.zeros(large.shape, np.uint8)
    return np.where(outlines.reaching(large, small, level), 255, 0).astype(np.uint8)


def _png(picture: Pixels) -> Pixels:
    return _encoded(".png", picture, ())


def _encoded(suffix: str, pixels: npt.NDArray[Any], how: Sequence[int]) -> Pixels:
    done, content = cv2.imencode(suffix, pixels, how)
    if not done:  # of pixels that are there, into memory
        raise DataError(f"--save: OpenCV cannot write {list(pixels.shape)} pixels as {suffix}")
    return np.asarray(content, np.uint8)


def _put(path: Path, content: Pixels) -> None:
    partial = path.with_name(_PARTIAL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content.tobytes())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise _unwritable(path, error) from None


def _remove(path: Path) -> None:
    """What an earlier replay left there is not this one's."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: cannot be written ({error.strerror}); make room, or give another --output")
