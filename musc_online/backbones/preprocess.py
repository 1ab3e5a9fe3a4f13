"""BGR frame -> normalised network input, as each backbone family's authors do it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from musc_online.errors import FrameError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Preprocess:
    """Resize to S x S with PIL (antialiased), scale to 0..1, standardise per channel.

    PIL is the reference of the published scores: plain OpenCV interpolation aliases on large frames.
    `mean` and `std` are in RGB order, of values in 0..1.
    """

    size: int
    resampling: Image.Resampling
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @cached_property
    def _affine(self) -> tuple[torch.Tensor, torch.Tensor]:
        mean, std = (
            torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in (self.mean, self.std)
        )
        return (1 / (255 * std)).float(), (-mean / std).float()

    def __call__(self, frame: npt.NDArray[np.uint8]) -> torch.Tensor:
        """One `[H, W, 3]` uint8 BGR frame to `[3, S, S]` float32 RGB.

        Raises:
            FrameError: another type, dtype or shape, or an empty frame.
        """
        bgr = torch.from_numpy(self.resize(frame, (self.size, self.size)))
        scale, shift = self._affine
        return (
            bgr.flip(-1)
            .permute(2, 0, 1)
            .to(torch.float32, memory_format=torch.contiguous_format)
            .mul_(scale)
            .add_(shift)
        )

    def resize(self, frame: npt.NDArray[np.uint8], shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """One `[H, W, 3]` uint8 BGR frame to (height, width) `shape`; a copy, be it of that shape already.

        Raises:
            FrameError: another type, dtype or shape, or an empty frame.
        """
        check_frame(frame)
        # PIL resizes each channel by itself, so it need not know that they are BGR: reordering the small
        # result is cheaper than reordering the frame.
        image = Image.fromarray(np.ascontiguousarray(frame))
        if image.size != shape[::-1]:
            image = image.resize(shape[::-1], self.resampling)
        return np.array(image)


def clip(size: int) -> Preprocess:
    """CLIP's: bicubic, CLIP's own mean and deviation."""
    return Preprocess(size, Image.Resampling.BICUBIC, CLIP_MEAN, CLIP_STD)


def imagenet(size: int) -> Preprocess:
    """DINO's and DINOv2's: bilinear, ImageNet's mean and deviation."""
    return Preprocess(size, Image.Resampling.BILINEAR, IMAGENET_MEAN, IMAGENET_STD)


def named(
    size: int, interpolation: str, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> Preprocess:
    """With an interpolation by PIL's name in small letters, and mean and deviation in RGB order, of 0..1."""
    return Preprocess(size, Image.Resampling[interpolation.upper()], mean, std)


def check_frame(frame: Any) -> None:
    """Raise unless `frame` is a `[H, W, 3]` uint8 array with at least one pixel.

    Raises:
        FrameError: what was got and what was expected.
    """
    expected = "expected [height, width, 3] uint8 BGR"
    if not isinstance(frame, np.ndarray):
        raise FrameError(f"frame: got a {type(frame).__name__}, {expected} as a NumPy array")
    if frame.dtype != np.uint8:
        raise FrameError(f"frame: got dtype {frame.dtype}, {expected}; scale it to 0..255 and convert it")
    if frame.ndim != 3 or frame.shape[2] != 3:
        raise FrameError(
            f"frame: got shape {list(frame.shape)}, {expected}; convert grey or alpha with cv2.cvtColor"
        )
    if frame.size == 0:
        raise FrameError(f"frame: got shape {list(frame.shape)}, {expected} with at least one pixel")
