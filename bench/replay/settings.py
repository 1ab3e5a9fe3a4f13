"""What one replay was told: the command line, and what the authors' own YAML says in its place."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from bench import datasets
from bench.datasets import Category, Sample
from bench.datasets.usable import usable
from bench.replay import migrate
from bench.replay.order import PUBLISHED_SEED, Order, label_free, spread, stratified
from musc_online import config as configuration
from musc_online.config import Config
from musc_online.errors import ConfigError, DataError
from streamer.sources import told
from streamer.wire.checks import BitDepth

ALL = "all"
Capacity = int | Literal["all"]
Heatmaps = Literal["image", "set", "none"]
Saveable = Literal["maps", "overlays", "masks"]
SAVEABLE: tuple[Saveable, ...] = get_args(Saveable)


@dataclass(frozen=True)
class Options:
    """One replay.

    `capacities` and `seeds` are swept over; the first seed and the largest capacity (`all` is the category's
    size) give the main figures.
    """

    dataset: str
    data: Path
    category: str = ALL
    capacities: tuple[Capacity, ...] = ("all",)
    order: Order = "shuffled"
    seeds: tuple[int, ...] = (0,)
    limit: int | None = None
    divide_num: int = 1
    divide_seed: int = PUBLISHED_SEED
    division: Literal["published", "label_free"] = "published"
    batch_size: int = 8
    through: Literal["process", "zmq"] = "process"
    repeat_defect: int = 0
    heatmaps: Heatmaps = "set"
    overlays: int = 6
    excel: bool = True
    bit_depth: BitDepth = "auto"
    skip_bad: bool = False
    save: tuple[Saveable, ...] = ()

    def capacity(self, n_images: int) -> int:
        """Ring capacity of the main run for a category of `n_images`."""
        return max(self.sizes(n_images))

    def sizes(self, n_images: int) -> list[int]:
        """Ring capacities asked for, ascending, `all` resolved."""
        wanted = {n_images if size == "all" else size for size in self.capacities}
        if len(wanted) > 1:  # a larger ring than the category is no other ring
            wanted = {min(size, n_images) for size in wanted}
        return sorted(max(size, 2) for size in wanted)

    def subsets(self, samples: tuple[Sample, ...]) -> list[list[int]]:
        """The division of the batch (`divide_num`)."""
        if self.division == "published":
            return stratified([sample.path for sample in samples], self.divide_num, self.divide_seed)
        return label_free(len(samples), self.divide_num, self.divide_seed)

    def as_json(self) -> dict[str, Any]:
        """For JSON and for fingerprints."""
        return {
            name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()
        }


def read_config(path: Path | None) -> tuple[Config, migrate.Migrated | None]:
    """Our configuration, or the authors' under our names (second value, with what it was read as).

    Raises:
        ConfigError: the file cannot be read, or has a key or value that neither form knows.
    """
    theirs = migrate.load(path) if path is not None else None
    return configuration.load(theirs.config if theirs is not None else path), theirs


def read_categories(options: Options) -> list[Category]:
    """What is to be replayed, with at most `limit` images each.

    Raises:
        DataError: data that is not there, or not of this layout, or a category with one image.
    """
    layout = "mvtec" if options.dataset == "demo" else options.dataset
    read = datasets.read(layout, options.data, options.category, options.bit_depth)
    found = [_limited(category, options.limit) for category in read]
    categories = [usable(category) for category in found] if options.skip_bad else found
    for category in categories:
        if len(category.samples) < 2:
            more = f"; {told(category.left_out)}" if category.left_out else ""
            raise DataError(
                f"{options.data}: category '{category.name}' has {category.counted}, expected at least 2 "
                f"images: an image is scored against the others{more}"
            )
    return categories


def _limited(category: Category, limit: int | None) -> Category:
    chosen = spread(len(category.samples), limit)
    return replace(category, samples=tuple(category.samples[index] for index in chosen))


def parse_capacities(text: str) -> tuple[Capacity, ...]:
    """`25,50,all` -> (25, 50, "all").

    Raises:
        ConfigError: anything but `all` and whole numbers from 2.
    """
    return tuple(_capacity(part.strip()) for part in text.split(","))


def _capacity(part: str) -> Capacity:
    if part == ALL:
        return "all"
    if not part.isdigit() or int(part) < 2:
        raise ConfigError(
            f"--capacity: got '{part}', expected whole numbers from 2, or all, with commas between"
        )
    return int(part)


def parse_save(texts: Sequence[str]) -> tuple[Saveable, ...]:
    """`--save maps,masks`, once or more often, in the order of `SAVEABLE`.

    Raises:
        ConfigError: anything else to save.
    """
    wanted = {part.strip() for text in texts for part in text.split(",")}
    for part in sorted(wanted - {*SAVEABLE}):
        raise ConfigError(f"--save: got '{part}', expected {', '.join(SAVEABLE)}, with commas between")
    return tuple(kind for kind in SAVEABLE if kind in wanted)


def parse_seeds(text: str) -> tuple[int, ...]:
    """`0,1,2` -> (0, 1, 2).

    Raises:
        ConfigError: anything but different whole numbers from 0.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in parts) or len(set(parts)) != len(parts):
        raise ConfigError(f"--seeds: got '{text}', expected different whole numbers with commas between")
    return tuple(map(int, parts))
