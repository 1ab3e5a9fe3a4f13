"""One image of the report: the frame, its heat map, and where mask and decision lie."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from bench.replay.scored import Doubles

Picture = npt.NDArray[np.uint8]
HEIGHT = 240
GREEN, RED = (60, 200, 60), (40, 40, 235)


def panels(
    frame: Picture,
    anomaly_map: npt.NDArray[np.float32],
    span: tuple[float, float],
    mask: Picture | None = None,
    threshold: float | None = None,
) -> Picture:
    """Three pictures side by side: frame; heat map over it; outlines over it, and the mask filled.

    Args:
        frame: `[H, W, 3]` uint8 BGR.
        anomaly_map: `[S, S]` float32 of the whole frame, squeezed as the backbone saw it.
        span: map values that become the coldest and the hottest colour.
        mask: `[S, S]` 0/1 ground truth, drawn green; None is not drawn.
        threshold: map value from which the outline is drawn red; None is not drawn.

    Returns:
        `[240, *, 3]` uint8 BGR.
    """
    width = max(1, round(HEIGHT * frame.shape[1] / frame.shape[0]))
    size = (width, HEIGHT)
    picture = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    # The frame itself is grey below the heat, so that colours mean scores only.
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    scores = cv2.resize(anomaly_map, size, interpolation=cv2.INTER_LINEAR)
    low, high = span
    levels = np.clip((scores - low) / max(high - low, 1e-12), 0, 1)
    # Both ends of the colour map are dark: the vivid part alone, so that the hottest place stands out.
    heat = cv2.applyColorMap((20 + levels * 205).astype(np.uint8), cv2.COLORMAP_TURBO)
    outlined = picture.copy()
    if mask is not None and mask.any():
        truth = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
        tinted = np.where(truth[..., None] == 1, np.array(GREEN, np.uint8), outlined).astype(np.uint8)
        outlined = cv2.addWeighted(outlined, 0.7, tinted, 0.3, 0)
        _outline(outlined, truth, GREEN)
    if threshold is not None:
        _outline(outlined, (scores > threshold).astype(np.uint8), RED)
    gap = np.full((HEIGHT, 6, 3), 255, np.uint8)
    shown: Picture = np.hstack([picture, gap, cv2.addWeighted(grey, 0.45, heat, 0.55, 0), gap, outlined])
    return shown


def spans(maps: npt.NDArray[np.float32], *, whole_set: bool) -> list[tuple[float, float]]:
    """Coldest and hottest map value of each of `[N, S, S]`: its own, or those of the whole set."""
    each = [(float(one.min()), float(one.max())) for one in maps]
    known = [span for span in each if np.isfinite(span).all()]
    if not whole_set or not known:
        return each
    return [(min(low for low, _ in known), max(high for _, high in known))] * len(each)


def image_errors(labels: npt.NDArray[np.int64], scores: Doubles) -> Doubles:
    """How wrong each image's place in the order is: `[N]`, 0 (right) to 1.

    Of an anomalous image the fraction of normal images that score at least as high; of a normal one the
    fraction of anomalous images that score at most as high. NaN where there is no image of the other kind or
    no score.
    """
    errors = np.full(len(scores), np.nan)
    normal, anomalous = scores[labels == 0], scores[labels == 1]
    for index, (label, score) in enumerate(zip(labels, scores, strict=True)):
        others = normal if label else anomalous
        if len(others) and np.isfinite(score):
            errors[index] = np.mean(others >= score) if label else np.mean(others <= score)
    return errors


def ranking(labels: npt.NDArray[np.int64] | None, scores: Doubles) -> npt.NDArray[np.intp]:
    """Indices of the images with a score, worst first: by error, then by distance from the other kind.

    Without labels: by score, highest first.
    """
    known = np.flatnonzero(np.isfinite(scores))
    if labels is None:
        return known[np.argsort(-scores[known], kind="stable")]
    errors = np.nan_to_num(image_errors(labels, scores))
    margins = np.where(
        labels == 1, scores - _middle(scores[labels == 0]), _middle(scores[labels == 1]) - scores
    )
    return known[np.lexsort((margins[known], -errors[known]))]


def _middle(scores: Doubles) -> float:
    known = scores[np.isfinite(scores)]
    return float(np.median(known)) if len(known) else 0.0


def _outline(picture: Any, region: Any, colour: tuple[int, int, int]) -> None:
    contours, _ = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, colour, 1, cv2.LINE_AA)
