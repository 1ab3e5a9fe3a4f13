"""The pictures of the frames that a report shows: which they are says `chosen`, how they look `overlays`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from bench.datasets import read_frame
from bench.replay.outcome import Outcome
from bench.replay.settings import Options
from bench.report import chosen, worth
from bench.report.frames import Frame
from streamer import outlines
from streamer.overlays import Scale, legend, panels

_JPEG = (
    cv2.IMWRITE_JPEG_QUALITY, 88,
    # Colours are not thinned out: the line at the threshold is one pixel wide.
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
)  # fmt: skip


def write(folder: Path, outcome: Outcome, frames: Sequence[Frame], options: Options) -> dict[str, Any]:
    """Draw the chosen frames of a category into `folder`, all on one scale, and its legend.

    With `--heatmap-normalisation image` each picture has a scale of its own, which is said below it.

    Args:
        folder: is there.
        outcome: of the category.
        frames: of the same, in the same order.
        options: `overlays` is the most of each group.

    Returns:
        `scale`: `low`, `high`, `threshold` (that in the end, or null), `thresholds` (the lowest and the
        highest of the frames, or null), `own` (whether each picture has its own instead) and otherwise the
        file of its `legend`; not there where nothing is drawn. `shown`: of each group `name`, `title`,
        `rule`, `total` and `pictures`.

    Raises:
        OSError: a file cannot be written.
        DataError: a frame's file is not there any more.
    """
    threshold, maps = outcome.recorder.last_threshold, outcome.recorder.revised.maps
    whole, own = Scale.of(maps, threshold), options.heatmaps == "image"
    groups = []
    for group in chosen.groups(frames, options.overlays):
        pictures = []
        for number, place in enumerate(group.chosen, start=1):
            frame = frames[place]
            scale = Scale.of([maps[place]], frame.threshold) if own else whole
            file = f"{group.name}_{number:02d}.jpg"
            (folder / file).write_bytes(_drawn(outcome, place, frame, scale))
            pictures.append(_about(frame, file, scale if own else None) | _saved(outcome, place))
        groups.append(
            {"name": group.name, "title": group.title, "rule": group.rule}
            | {"total": group.total, "pictures": pictures}
        )
    if not any(group["pictures"] for group in groups):
        return {"shown": groups}
    said: dict[str, Any] = {"low": whole.low, "high": whole.high, "threshold": threshold}
    said |= {"thresholds": worth.thresholds(frames), "own": own}
    if not own:
        (folder / "legend.png").write_bytes(_encoded(".png", legend(whole, threshold)))
        said["legend"] = "legend.png"
    return {"scale": said, "shown": groups}


def _drawn(outcome: Outcome, place: int, frame: Frame, scale: Scale) -> bytes:
    sample, truth = outcome.category.samples[place], outcome.truth
    picture = panels(
        read_frame(sample.path, sample.bit_depth),
        outcome.recorder.revised.maps[place],
        scale,
        outlines.level(frame.said, frame.threshold),
        None if truth is None or truth.masks is None else truth.masks[place],
    )
    return _encoded(".jpg", picture, _JPEG)


def _saved(outcome: Outcome, place: int) -> dict[str, Any]:
    """What `--save` left of the frame."""
    files = [file for kind in outcome.saved.values() if (file := kind[place]) is not None]
    return {"saved": files} if files else {}


def _encoded(kind: str, picture: Any, how: Sequence[int] = ()) -> bytes:
    encoded: bytes = cv2.imencode(kind, picture, how)[1].tobytes()
    return encoded


def _about(frame: Frame, file: str, own: Scale | None) -> dict[str, Any]:
    return {
        "file": file,
        "frame_id": frame.frame_id,
        "label": None if frame.truth is None else int(frame.truth),
        "defect": frame.defect,
        "raw": frame.raw,
        "rescored": frame.rescored,
        "threshold": frame.threshold,
        "said_first": frame.said_first,
        "said": frame.said,
        "error": frame.error,
    } | ({} if own is None else {"scale": {"low": own.low, "high": own.high}})
