"""Anomaly maps as people see them: one colour map, one meaning of its ends, one way to lay it over a frame.

The page draws the same in the browser (`streamer/page/static/heat.js`), over the frame's own colours; a test
holds the two together. Where the lines go says `streamer.outlines`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from streamer import outlines
from streamer.images.depth import Frame, Pixels, to_frame
from streamer.outlines import HALO, LINE, Values

SIDE = 320
GAP = 4
OPACITY = 0.75
"""Of the hottest places over a frame."""
_EMPTY = (72, 64, 58)
_UNKNOWN = (128, 128, 128)
_LEVELS = 256
_LEGEND_WIDTH, _BAR, _TEXT, _FONT = 120, 14, 18, 0.42


@dataclass(frozen=True)
class Scale:
    """Which values of a map get the first and the last colour; what lies beyond gets the nearest of them.

    Args:
        low: in the units of the map, finite.
        high: finite, at least `low`; where they are the same, every value gets the first colour.

    Raises:
        ValueError: the ends are not such numbers.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ValueError(f"scale: got {self.low} to {self.high}, expected two finite numbers in order")

    @classmethod
    def of(cls, maps: Iterable[Values], threshold: float | None = None) -> "Scale":
        """One scale for all pictures that are looked at together.

        Args:
            maps: `[H, W]` each; what is not finite is ignored.
            threshold: that of the frames; None where there is none.
        """
        ends = [(float(known.min()), float(known.max())) for one in maps if (known := _known(one)).size]
        return cls.of_ends([low for low, _ in ends], [high for _, high in ends], threshold)

    @classmethod
    def of_ends(
        cls, lows: Iterable[float], highs: Iterable[float], threshold: float | None = None
    ) -> "Scale":
        """The same, of the least and the greatest value of each map.

        It reaches from what good frames have everywhere (the lows' tenth part) to what the worst have (all
        but the greatest fiftieth of the highs: one outlier does not darken all others). The threshold is well
        inside of it, so that a map of noise looks like noise; where there is none, nothing is known to be
        anomalous, and the brightest colours are left free.
        """
        starts, stops = (sorted(value for value in ends if math.isfinite(value)) for ends in (lows, highs))
        if not starts or not stops:
            return cls(0.0, 1.0)
        low, high = _quantile(starts, 0.1), _quantile(stops, 0.98)
        if threshold is not None and math.isfinite(threshold):
            high = max(high, low + 1.25 * (threshold - low))
        else:
            high += 0.6 * (high - low)
        return cls(low, max(high, low + 1e-6))

    @classmethod
    def about(cls, threshold: float | None, own: Values) -> "Scale":
        """That of one picture that is looked at beside others nobody knows yet.

        It is around the threshold, whatever else the picture shows, so that pictures can be compared.

        Args:
            threshold: of the frame; None, or not above 0, where there is none of use: `of` its own map.
            own: `[H, W]`, the map.
        """
        if threshold is None or not 0 < threshold < math.inf:
            return cls.of([own])
        return cls(0.4 * threshold, 1.6 * threshold)

    def share(self, values: Values) -> npt.NDArray[np.float64]:
        """Where on the scale each value lies, 0 to 1; NaN stays NaN."""
        span = self.high - self.low
        if not span > 0:
            return np.where(np.isnan(values), np.nan, 0.0)
        return np.clip((values.astype(np.float64) - self.low) / span, 0.0, 1.0)

    def said(self, value: float) -> str:
        """A value as its legend says it: as many digits as tell places on the scale apart."""
        span = max(self.high - self.low, 1e-9)
        if max(abs(self.low), abs(self.high), abs(value)) >= 1e6:
            return f"{value:.4g}"
        return f"{value:.{max(0, 2 - math.floor(math.log10(span)))}f}"


def _known(values: Values) -> Values:
    return values[np.isfinite(values)]


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[math.floor(share * (len(ordered) - 1) + 0.5)]


def table() -> npt.NDArray[np.uint8]:
    """The colours from the scale's low end to its high one: inferno, `[256, 3]` uint8, red, green, blue.

    Equal steps look equal, and it grows lighter all the way: it is read in grey, in print, and by people who
    do not see all colours.
    """
    ramp = np.arange(_LEVELS, dtype=np.uint8)[:, None]
    return np.ascontiguousarray(cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)[:, 0, ::-1], np.uint8)


def stops(n: int = 17) -> list[str]:
    """The same as `#rrggbb`, `n` of them at equal distances (2 to 256): what a gradient in CSS is made of."""
    chosen = table()[np.linspace(0, _LEVELS - 1, n).round().astype(np.intp)]
    return ["#" + bytes(colour).hex() for colour in chosen]


def colours(values: Values, scale: Scale) -> Frame:
    """Each value as its colour, `[H, W, 3]` uint8 BGR.

    Args:
        values: `[H, W]`. Infinite ones get the colour of their end, NaN a grey that no value has.
        scale: of all pictures shown together.
    """
    share = scale.share(values)
    unknown = np.isnan(share)
    levels = np.floor(np.where(unknown, 0.0, share) * (_LEVELS - 1) + 0.5).astype(np.uint8)
    coloured = np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), np.uint8)
    coloured[unknown] = _UNKNOWN
    return coloured


def cover(share: npt.NDArray[np.float64], opacity: float = OPACITY) -> npt.NDArray[np.float64]:
    """How much of the frame a place on the scale covers, 0 to 1: what is normal stays visible."""
    return opacity * np.minimum(1.0, 1.3 * share**2)


def panels(
    frame: Pixels | None,
    anomaly_map: Values,
    scale: Scale,
    threshold: float | None = None,
    mask: npt.NDArray[Any] | None = None,
    side: int = SIDE,
) -> Frame:
    """Side by side: the frame; its heat map over it; the outline of what reaches the threshold.

    Args:
        frame: `[H, W]` or `[H, W, 3]`, BGR, uint8, or what `images.depth.to_frame` makes such of; None where
            only the map is known: the heat map is then drawn alone.
        anomaly_map: `[h, w]` of the whole frame, in whatever resolution.
        scale: of all pictures shown together.
        threshold: map value from which on the outline is drawn, `outlines.level` of the frame; None for no
            outline.
        mask: `[h, w]`, not 0 where the frame is known to be defective: tinted in the third picture.
        side: of the larger side of each picture, in pixels, whatever the frame's.

    Returns:
        `[h, w, 3]` uint8 BGR; w is that of three pictures and two gaps of `GAP` pixels.

    Raises:
        WireError: pixels that `to_frame` refuses.
    """
    size = _fitted((anomaly_map if frame is None else frame).shape, side)
    plain = np.full((size[1], size[0], 3), _EMPTY, np.uint8) if frame is None else _small(frame, size)
    heat = _heat(None if frame is None else plain, anomaly_map, scale, size)
    outlined = plain.copy()
    if mask is not None:
        outlines.draw_mask(outlined, outlines.region(mask != 0, size))
    if threshold is not None:
        outlines.draw_line(outlined, outlines.reached(anomaly_map, threshold, size))
    gap = np.full((size[1], GAP, 3), _UNKNOWN, np.uint8)
    return np.hstack([plain, gap, heat, gap, outlined]).astype(np.uint8, copy=False)


def legend(scale: Scale, threshold: float | None = None, width: int = SIDE) -> Frame:
    """The colours in order, with the numbers of their ends below and that of the threshold above.

    Args:
        scale: of the pictures.
        threshold: marked where it lies on the scale; None for no mark.
        width: in pixels; at least 120, for the numbers.

    Returns:
        `[50, w, 3]` uint8 BGR, black on white.
    """
    width = max(width, _LEGEND_WIDTH)
    made = np.full((_BAR + 2 * _TEXT, width, 3), 255, np.uint8)
    ramp = scale.low + np.linspace(0.0, 1.0, width) * (scale.high - scale.low)
    made[_TEXT : _TEXT + _BAR] = colours(ramp[None], scale)
    _written(made, scale.said(scale.low), 0, made.shape[0] - 5)
    _written(made, scale.said(scale.high), width, made.shape[0] - 5)
    if threshold is not None and math.isfinite(threshold):
        at = round(float(scale.share(np.array(threshold, np.float64))) * (width - 1))
        cv2.line(made, (at, _TEXT - 2), (at, _TEXT + _BAR), HALO, 3)
        cv2.line(made, (at, _TEXT - 2), (at, _TEXT + _BAR), LINE, 1)
        _written(made, f"threshold {scale.said(threshold)}", at, _TEXT - 5)
    return made


def with_legend(picture: Frame, scale: Scale, threshold: float | None = None) -> Frame:
    """A picture that is looked at alone, over the legend of its scale; at least 120 pixels wide."""
    below = legend(scale, threshold, picture.shape[1])
    missing = below.shape[1] - picture.shape[1]
    padded = np.pad(picture, ((0, 0), (0, missing), (0, 0)), constant_values=255)
    return np.vstack([padded, below]).astype(np.uint8, copy=False)


def number(value: float) -> str:
    """A score as texts say it: four digits that count."""
    return f"{value:.4g}"


def _fitted(shape: Sequence[int], side: int) -> tuple[int, int]:
    """Width and height of a picture whose larger side is `side`."""
    fit = side / max(shape[0], shape[1])
    return max(1, round(shape[1] * fit)), max(1, round(shape[0] * fit))


def _small(frame: Pixels, size: tuple[int, int]) -> Frame:
    return np.asarray(cv2.resize(to_frame(frame).frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def _heat(plain: Frame | None, anomaly_map: Values, scale: Scale, size: tuple[int, int]) -> Frame:
    values = outlines.resized(
        np.nan_to_num(anomaly_map, nan=scale.low, posinf=scale.high, neginf=scale.low), size
    )
    values[outlines.region(np.isnan(anomaly_map), size) == 1] = np.nan
    coloured = colours(values, scale)
    if plain is None:
        return coloured
    # The frame is grey below, so that colours mean scores alone.
    grey = cv2.cvtColor(cv2.cvtColor(plain, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    above = cover(np.nan_to_num(scale.share(values), nan=1.0))[..., None]
    return np.rint((1 - above) * grey + above * coloured).astype(np.uint8)


def _written(picture: Frame, text: str, at: int, base: int) -> None:
    """Text around a column, moved to where it fits."""
    (wide, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, _FONT, 1)
    left = min(max(0, at - wide // 2), picture.shape[1] - wide)
    cv2.putText(picture, text, (left, base), cv2.FONT_HERSHEY_SIMPLEX, _FONT, (0, 0, 0), 1, cv2.LINE_AA)
