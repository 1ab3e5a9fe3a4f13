"""Frozen, typed configuration: YAML or a mapping in; a wrong key or value is one line that names it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    ByteSize,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from musc_online import config_file
from musc_online.config_errors import one_line
from musc_online.config_service import (
    BitDepth,
    Engine,
    History,
    Limits,
    Log,
    Metrics,
    Security,
    Snapshots,
    StreamOverride,
    Transport,
)
from musc_online.config_values import (
    LARGEST,
    MOST,
    Bytes,
    ConfigPath,
    Natural,
    Positive,
    Section,
    Weights,
    expanded,
)
from musc_online.errors import ConfigError


class BackboneConfig(Section):
    """Which network, which of its blocks, at which size, where."""

    name: str = "dinov2_vits14"
    weights: Weights = "auto"
    image_size: Positive = 224
    stages: Annotated[tuple[Natural, ...], Field(min_length=1)] = (2, 5, 8, 11)
    device: str = "auto"
    precision: Literal["float32", "bfloat16", "int8", "auto"] = "float32"
    activation: Literal["auto", "quick_gelu", "gelu"] = "auto"


class Worst(Section):
    """The image score is the mean of the worst share of its patches, at least of one."""

    worst: Annotated[float, Field(gt=0, le=1)]


class MethodConfig(Section):
    """LNAMD's degrees and the interval of the interval average (paper sections 3.2 and 3.3), and ours.

    `position` compares a patch with those alone that lie at most so many grid steps away, for parts that
    always lie alike; None compares it with all. `image_score` is the maximum of the map, as published, or
    the mean of the worst share of the patches.
    """

    degrees: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1, 3, 5)
    interval: tuple[float, float] = (0.0, 0.3)
    position: Natural | None = None
    image_score: Literal["max"] | Worst = "max"

    @field_validator("image_score", mode="wrap")
    @classmethod
    def _max_or_worst(cls, given: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        try:
            return validate(given)
        except ValidationError:
            shown = f"got {dict(given)}, " if isinstance(given, Mapping) else ""  # others are shown anyway
            raise ValueError(f"{shown}expected max or {{worst: 0.01}}, a share above 0 and up to 1") from None

    @field_validator("degrees")
    @classmethod
    def _odd(cls, degrees: tuple[int, ...]) -> tuple[int, ...]:
        if any(degree % 2 == 0 for degree in degrees) or len(set(degrees)) != len(degrees):
            raise ValueError("expected distinct odd numbers, e.g. [1, 3, 5]")
        return degrees

    @field_validator("interval")
    @classmethod
    def _ordered(cls, interval: tuple[float, float]) -> tuple[float, float]:
        if not 0.0 <= interval[0] < interval[1] <= 1.0:
            raise ValueError("expected [low, high] with 0 <= low < high <= 1, e.g. [0.0, 0.3]")
        return interval


class TilesConfig(Section):
    """How a frame becomes backbone inputs: `rows` x `cols` of them, neighbours sharing `overlap` patches.

    `fit` says what becomes of a frame with another aspect than the tiles together have: it is stretched,
    padded with its own border, or cropped around its middle.
    """

    rows: Annotated[int, Field(ge=1, le=16)] = 1
    cols: Annotated[int, Field(ge=1, le=16)] = 1
    overlap: Natural = 0
    fit: Literal["stretch", "pad", "crop"] = "stretch"

    @property
    def count(self) -> int:
        """T: backbone inputs a frame."""
        return self.rows * self.cols


Point = tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]]
Polygon = Annotated[tuple[Point, ...], Field(min_length=3)]
Ignore = ConfigPath | tuple[Polygon, ...] | None
"""Where a stream's frames are not looked at: a PNG that is not black there, or polygons of (x, y) in 0..1."""


class RingConfig(Section):
    """How many recent images are kept, how they are divided and matched.

    With `nearest`, a frame is scored against so many of the ring, those nearest by class token, instead of
    against subsets; `keep` is how many frames it remembers the distances to.

    `admit` says which arrivals become references. `all` keeps parity with the batch. `below_threshold`
    keeps out what is labelled anomalous at arrival. `pinned_only` closes the ring once `warmup` frames are
    pinned as known good: they are all there is to be scored against. A frame kept out is scored once, and
    its provisional score is final. `quarantine` keeps what is labelled anomalous beside the references, at
    most `quarantine` frames: it is re-scored as they are, and nothing is scored against it until a revision
    clears it. A changeover of `accept_after` frames is accepted without an operator; None waits for one.
    """

    capacity: Annotated[int, Field(ge=2, le=MOST)] = 200
    subsets: Positive = 1
    score_against: Literal["all"] | Positive = "all"
    nearest: Positive | None = None
    keep: Positive = 64
    max_bytes: Bytes = ByteSize(4 * 2**30)
    matcher: Literal["auto", "faiss", "gemm"] = "auto"
    admit: Literal["all", "below_threshold", "pinned_only", "quarantine"] = "all"
    quarantine: Positive = 50
    accept_after: Annotated[int, Field(ge=10, le=MOST)] | None = None

    @property
    def n_quarantine(self) -> int:
        """Slots beside the references."""
        return self.quarantine if self.admit == "quarantine" else 0

    @model_validator(mode="after")
    def _enough_is_reached(self) -> Self:
        most = min(self.capacity, self.n_quarantine or self.capacity)
        if self.accept_after is not None and self.accept_after > most:
            raise ValueError(
                f"accept_after: got {self.accept_after}, expected at most {most} (capacity, quarantine): "
                "no more frames of a changeover are kept"
            )
        return self

    @model_validator(mode="after")
    def _nearest_fits(self) -> Self:
        if self.nearest is None:
            return self
        if self.nearest > self.keep:
            raise ValueError(f"nearest: got {self.nearest}, expected at most keep ({self.keep})")
        if self.subsets > 1 or self.score_against != "all":
            raise ValueError(
                f"nearest: got {self.nearest} with subsets: {self.subsets} and score_against: "
                f"{self.score_against}, expected one or the other; leave subsets and score_against out"
            )
        return self

    @model_validator(mode="after")
    def _subsets_fit(self) -> Self:
        if self.subsets > self.capacity:
            raise ValueError(f"subsets: got {self.subsets}, expected at most capacity ({self.capacity})")
        if isinstance(self.score_against, int) and self.score_against > self.subsets:
            raise ValueError(
                f"score_against: got {self.score_against}, expected 'all' or at most subsets ({self.subsets})"
            )
        return self


class RscinConfig(Section):
    """Re-scoring by class-token neighbours (paper section 3.4)."""

    neighbour_counts: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1, 2, 3)
    normalise: bool = True


class ReviseConfig(Section):
    """How often the window is re-scored, and how many of the newest frames are in it."""

    every: Positive = 20
    window: Positive = 200


class ThresholdConfig(Section):
    """How labels are decided (docs/method.md#the-threshold), without labels or with the few operators gave.

    `auto` finds where the normal frames of the window end, so that about `false_alarms` of them lie above;
    `mad` is median + k * 1.4826 * MAD, `quantile` a quantile of the window, `fixed` a raw score.
    """

    rule: Literal["auto", "mad", "quantile", "fixed"] = "auto"
    false_alarms: Annotated[float, Field(ge=1e-6, lt=0.15)] = 0.02
    k: Annotated[float, Field(gt=0, le=LARGEST)] = 3.0
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.99
    value: Annotated[float, Field(ge=-LARGEST, le=LARGEST)] | None = None

    @model_validator(mode="after")
    def _fixed_needs_value(self) -> Self:
        if self.rule == "fixed" and self.value is None:
            raise ValueError("value: missing, expected a raw score when rule is 'fixed'")
        return self


class PictureConfig(Section):
    """Of which frames a small JPEG follows the score, the pixels of its longer side at most, its quality.

    `alarms` are frames whose score says that they are anomalous.
    """

    of: Literal["none", "alarms", "all"] = "none"
    side: Annotated[int, Field(ge=32, le=4096)] = 480
    quality: Annotated[int, Field(ge=1, le=100)] = 80


class OutputConfig(Section):
    """What a score carries besides numbers, and what follows it."""

    anomaly_map: bool = True
    map_size: Positive | None = None
    regions: bool = True
    picture: PictureConfig = PictureConfig()


class Config(Section):
    """The whole configuration; docs/operate.md#configuration explains every key."""

    backbone: BackboneConfig = BackboneConfig()
    method: MethodConfig = MethodConfig()
    tiles: TilesConfig = TilesConfig()
    ignore: Ignore = None
    ring: RingConfig = RingConfig()
    rscin: RscinConfig = RscinConfig()
    revise: ReviseConfig = ReviseConfig()
    threshold: ThresholdConfig = ThresholdConfig()
    warmup: Positive = 8
    deadline_ms: Annotated[float, Field(gt=0, le=LARGEST)] | None = None
    bit_depth: BitDepth = "auto"
    output: OutputConfig = OutputConfig()
    transport: Transport = Transport()
    security: Security = Security()
    limits: Limits = Limits()
    history: History = History()
    snapshot: Snapshots = Snapshots()
    metrics: Metrics = Metrics()
    log: Log = Log()
    engine: Engine = Engine()
    streams: tuple[StreamOverride, ...] = ()

    @field_validator("ignore", mode="wrap")
    @classmethod
    def _path_or_polygons(cls, given: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        given = Path(expanded(given)) if isinstance(given, str) else given
        try:
            return validate(given)
        except ValidationError:
            shown = f"got {dict(given)}, " if isinstance(given, Mapping) else ""
            raise ValueError(
                f"{shown}expected the path of a PNG or polygons such as "
                "[[[0, 0], [1, 0], [1, 1]]], each of three points or more, x and y from 0 to 1"
            ) from None

    @field_validator("ignore")
    @classmethod
    def _no_polygons_are_nothing(cls, ignore: Ignore) -> Ignore:
        return ignore or None

    @model_validator(mode="after")
    def _ignore_is_of_the_whole_frame(self) -> Self:
        if self.ignore is not None and self.tiles.fit != "stretch":
            raise ValueError(
                f"ignore: set with tiles.fit: {self.tiles.fit}, expected stretch: frames of other shape lie "
                "elsewhere on the patches, and a stream has one mask"
            )
        return self

    @model_validator(mode="after")
    def _warmup_ends(self) -> Self:
        if self.ring.nearest is not None and self.ring.nearest < self.warmup:
            raise ValueError(
                f"warmup: got {self.warmup} with ring.nearest: {self.ring.nearest}, expected no more: "
                "a frame never has more references, and warm-up would never end"
            )
        return self

    @model_validator(mode="after")
    def _sleep_needs_a_folder(self) -> Self:
        if self.sleep_after_s is not None and self.snapshot.path is None:
            raise ValueError(
                f"limits.sleep_after_s: got {self.sleep_after_s:g} without snapshot.path, the folder that "
                "rings sleep in; set snapshot.path, or limits.sleep_after_s to null"
            )
        return self

    @model_validator(mode="after")
    def _journal_needs_a_folder(self) -> Self:
        if self.snapshot.journal and self.snapshot.path is None:
            raise ValueError(
                "snapshot.journal: got true without snapshot.path, the folder it is written to; set "
                "snapshot.path, or snapshot.journal to false"
            )
        return self

    @property
    def sleep_after_s(self) -> float | None:
        """Seconds without a frame after which a stream is put to sleep; None for never."""
        if self.limits.sleep_after_s == "auto":
            return None if self.snapshot.path is None else 3600.0
        return self.limits.sleep_after_s or None


def load(source: str | Path | Mapping[str, Any] | None = None) -> Config:
    """Read a configuration: any part of the keys over their defaults, nothing else.

    Args:
        source: path of a YAML file, or a mapping; None or an empty file means all defaults.

    Returns:
        The configuration, checked and frozen.

    Raises:
        ConfigError: a file that cannot be read, an unknown key or a value out of range; one line that
            names the key, the value and what was expected.
    """
    values, origin = _read(source)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {one_line(error, Config)}") from None


def threshold_rule(rule: ThresholdConfig, changes: Mapping[str, Any]) -> ThresholdConfig:
    """A threshold rule with some keys changed.

    Raises:
        ConfigError: an unknown key or a value out of range.
    """
    try:
        return ThresholdConfig.model_validate({**rule.model_dump(), **changes})
    except ValidationError as error:
        raise ConfigError(f"threshold: {one_line(error, ThresholdConfig)}") from None


def _read(source: str | Path | Mapping[str, Any] | None) -> tuple[Mapping[str, Any], str]:
    if source is None:
        return {}, "config"
    if isinstance(source, Mapping):
        return source, "config"
    path = Path(source)
    values = config_file.read(path)
    if values is None:
        return {}, str(path)
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path}: got a {type(values).__name__}, expected keys such as 'ring:'")
    return values, str(path)
