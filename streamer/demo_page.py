"""`python -m streamer.demo_page --data DIR`: a line without an end, and the page to watch it on."""

import importlib.util
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from streamer.commands import Command, examples
from streamer.dataset_folders import split_masks
from streamer.errors import StreamerError
from streamer.extras import not_installed
from streamer.printable import printable
from streamer.process import ANY_PORT, PageProcess, ServerProcess
from streamer.publish import Publisher
from streamer.sources import id_of, images_in

STREAM = "demo"
FPS = 1.0
PICTURES: dict[str, Any] = {"picture": {"of": "all"}}
"""Section `output` of a detector that a page shows."""
TRANSPORT: dict[str, Any] = {
    "frames": ANY_PORT,
    "scores": ANY_PORT,
    "control": ANY_PORT,
    "map_encoding": "grid",
    "heartbeat_s": 0.5,
}
"""Section `transport` of a detector that a page shows."""
_NEEDED = ("fastapi", "uvicorn", "websockets", "itsdangerous")


@click.command(
    cls=Command,
    epilog=examples(
        "python -m streamer.demo_page --data parts/ --fps 2",
    ),
)
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder of images.")
@click.option("--fps", type=click.FloatRange(min=0, min_open=True), default=FPS, help="Parts a second.")
@click.option("--seed", default=0, help="Order in which the parts come.")
def main(data: Path, fps: float, seed: int) -> None:
    """Show the live page on a real detector, with the images as parts that come again and again.

    Ends with Ctrl-C; nothing is kept.
    """
    run(data, fps, seed)


def run(data: Path, fps: float, seed: int) -> None:
    """A detector and the page on it, and parts without an end, until Ctrl-C.

    Args:
        data: folder of images, in an MVTec layout or not.
        fps: parts a second.
        seed: of the order in which they come.

    Raises:
        StreamerError: the images cannot be used, or a process does not come up or ends.
    """
    console = Console()
    folder = frames_folder(data)
    paths, _ = split_masks(images_in(folder).paths, folder)
    if not paths:
        raise StreamerError(f"--data: no images in {folder}; python -m bench.demo_data {folder} draws some")
    if (reason := no_page()) is not None:
        raise StreamerError(reason)
    with (
        tempfile.TemporaryDirectory(prefix="musc-demo-") as kept,
        _line(Path(kept), console) as server,
        page_on(server.endpoints, Path(kept)) as page,
    ):
        say(console, f"the page, with all rights: {page.logins['admin']}")
        say(console, f"to look at only:           {page.logins['viewer']}")
        say(console, f"{fps:g} parts a second; the first verdicts after some 10 parts; Ctrl-C ends it")
        try:
            _publish(paths, folder, server, fps, seed)
        except KeyboardInterrupt:
            say(console, "ended")


def no_page() -> str | None:
    """Why no page can be started on this machine, in a line; None if one can."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    return f"no page: {not_installed(missing[0], 'page')}"


@contextmanager
def page_on(endpoints: dict[str, str], folder: Path) -> Iterator[PageProcess]:
    """A page process on a detector, on loopback and a free port; what it keeps goes with `folder`.

    Raises:
        ServerError: it does not come up.
    """
    settings = {
        "detector": {name: endpoints[name] for name in ("scores", "control")},
        "listen": {"address": "127.0.0.1:0"},
        "store": {"path": str(folder / "page")},
        "log": {"level": "warning"},
    }
    with PageProcess(folder, settings) as page:
        yield page


def frames_folder(data: Path) -> Path:
    """The test images of an MVTec layout, whose ground truth holds pictures too; else the folder itself.

    Raises:
        StreamerError: there is no such folder.
    """
    if not data.is_dir():
        raise StreamerError(f"--data: {data} is no folder; python -m bench.demo_data {data} draws one")
    return next(iter(sorted(data.glob("*/test"))), data / "test" if (data / "test").is_dir() else data)


def say(console: Console, line: str) -> None:
    """Print a line as it is: no markup, no colours, not wrapped, so that an address can be copied."""
    console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _line(folder: Path, console: Console) -> Iterator[ServerProcess]:
    """A detector with the options of an inspection line (configs/line.yaml), learning sooner than there."""
    settings = {
        "backbone": {"image_size": 224, "stages": [5, 8]},
        "method": {"degrees": [1], "image_score": {"worst": 0.01}},
        "ring": {"capacity": 100, "nearest": 28, "admit": "quarantine", "quarantine": 30},
        "rscin": {"neighbour_counts": [1]},
        "revise": {"every": 10, "window": 100},
        "threshold": {"rule": "auto", "false_alarms": 0.02},
        "output": PICTURES,
        "transport": {**TRANSPORT, "when_full": "block"},
        "history": {"path": str(folder / "history.sqlite")},
        "log": {"level": "warning"},
    }
    server = ServerProcess(folder, settings)
    try:
        with console.status("starting the detector (it loads the backbone)"):
            server.start()
        say(console, f"detector up: {server.model_id}, frames at {server.endpoints['frames']}")
        yield server
    finally:
        server.terminate()


def _publish(paths: Sequence[Path], folder: Path, server: ServerProcess, fps: float, seed: int) -> None:
    """Send the images at a rate, mixed anew each round, under ids of their own, until interrupted.

    Raises:
        StreamerError: the detector has ended, or takes no more.
    """
    order = random.Random(seed)  # noqa: S311 - an order, no secret
    due = time.monotonic()
    with Publisher(server.endpoints["frames"], STREAM, linger_s=0.0) as publisher:
        for number, path in enumerate(_endless(paths, order)):
            time.sleep(max(0.0, due - time.monotonic()))
            # Behind its time it goes on from now: nobody can watch what is made up for.
            due = max(due, time.monotonic() - 1 / fps) + 1 / fps
            server.pid  # noqa: B018 - says so where the detector has ended
            truth = id_of(path, folder).rpartition("/")[0] or None
            meta = {"part_id": f"{number:06d}", "product_id": "flange", "drawn": truth}
            publisher.send(path.read_bytes(), f"part-{number:06d}", meta, timeout_s=60.0)


def _endless(paths: Sequence[Path], order: random.Random) -> Iterator[Path]:
    while True:
        mixed = list(paths)
        order.shuffle(mixed)
        yield from mixed


if __name__ == "__main__":
    main()
