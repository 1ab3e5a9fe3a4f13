"""What every reader returns: samples, in categories."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MaskRule = Literal["whole", "touched", "half"]


@dataclass(frozen=True)
class Sample:
    """One test image on disk.

    `label` is 1 for an anomalous image, 0 for a normal one, None where nobody said. `defect` is the defect's
    name ("good" for label 0, "" where unknown). `mask_paths` are the masks whose union is the ground truth
    (none for a normal image). `frame_id` is the path below the category's folder, with forward slashes.
    `mask_rule` says when a pixel of the resized mask is anomalous, see `read_mask`: `whole`, only if nothing
    normal was mixed into it (MVTec AD, BTAD: as published), `touched`, if anything anomalous was (VisA: as
    published), or `half`, if most of it was (all others: areas stay what they are, fine defects do not vanish
    as easily).
    """

    path: Path
    label: int | None
    defect: str
    mask_paths: tuple[Path, ...]
    frame_id: str
    mask_rule: MaskRule = "whole"


@dataclass(frozen=True)
class Category:
    """The test images of one category, scored together.

    `left_out` names what lies among them and is not taken, as `streamer.sources.list_images` says.
    """

    name: str
    samples: tuple[Sample, ...]
    left_out: tuple[str, ...] = ()

    @property
    def n_anomalous(self) -> int:
        """How many images are labelled anomalous."""
        return sum(sample.label == 1 for sample in self.samples)
