"""The section `files` of a bridge's configuration."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import ByteSize, Field, model_validator

from streamer.bridges.common import Bytes, ConfigPath, Section
from streamer.bridges.registry import Need

_MIB = 2**20


class Overlays(Section):
    """Pictures of frames with their map: of which verdicts, and in which format.

    `anomalous` is each verdict that makes a frame anomalous, `all` also the first one of every frame.
    `quality` is a JPEG's.
    """

    of: Literal["anomalous", "all", "none"] = "anomalous"
    format: Literal["jpeg", "png"] = "jpeg"
    quality: Annotated[int, Field(ge=1, le=100)] = 90


class Files(Section):
    """What is written where, and for how long it is kept.

    Attributes:
        folder: made if missing; of this bridge alone.
        csv, jsonl: whether the table and the JSON lines are written.
        time: which days are meant, and which times stand in the table.
        days: older days are deleted; null keeps them.
        max_bytes: of the folder; beyond it the oldest days are deleted, down to nine tenths.
        file_bytes: a file that has so many is followed by another one of the same day.
        sync: whether what was written is on the disk, safe from a power cut, before the next item comes.
    """

    folder: ConfigPath = Path("told")
    csv: bool = True
    jsonl: bool = True
    overlays: Overlays = Overlays()
    time: Literal["utc", "local"] = "utc"
    days: Annotated[int, Field(ge=1, le=36_500)] | None = 90
    max_bytes: Annotated[Bytes, Field(ge=_MIB)] = ByteSize(10 * 2**30)
    file_bytes: Annotated[Bytes, Field(ge=4096)] = ByteSize(64 * _MIB)
    sync: bool = True

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not (self.csv or self.jsonl):
            raise ValueError("got csv: false and jsonl: false, expected one of the two at least")
        if 4 * self.file_bytes > self.max_bytes:
            raise ValueError(
                f"file_bytes: got {self.file_bytes}, expected at most a quarter of max_bytes "
                f"({self.max_bytes}): a file that is being written is not deleted"
            )
        return self


def needs(section: Files) -> frozenset[Need]:
    """Overlays are made of pictures and maps."""
    return frozenset() if section.overlays.of == "none" else frozenset({"maps", "pictures"})
