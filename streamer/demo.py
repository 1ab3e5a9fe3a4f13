"""`python -m streamer.demo --data DIR`: a folder of images through a real detector, for a person to watch."""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import click
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from streamer import demo_overlays, screenshot
from streamer.ask import ask
from streamer.commands import Command, examples, undisturbed
from streamer.dataset_folders import NORMAL_FOLDERS
from streamer.demo_page import PICTURES, STREAM, TRANSPORT, frames_folder, no_page, page_on, say
from streamer.errors import StreamerError
from streamer.images.survey import survey
from streamer.printable import printable
from streamer.process import PageProcess, ServerProcess
from streamer.push import NOT_ALL_SCORED
from streamer.sources import id_of, images_in
from streamer.subscribe import Subscriber
from streamer.wire.codes import WARNINGS
from streamer.wire.published import Message

OUTPUT = Path("demo-output")
_START_S = 300.0
_SILENCE_S = 300.0


@click.command(
    cls=Command,
    epilog=examples(
        "python -m streamer.demo --data parts/ --output found/",
    ),
)
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder of images.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=OUTPUT, help="Folder that overlays are written to."
)
@click.option("--seed", default=0, help="Order in which the frames arrive.")
def main(data: Path, output: Path, seed: int) -> None:
    """Start a detector, publish the images to it, and show what it says of them."""
    run(data, output, seed, f"make demo-page, or python -m streamer.demo_page --data {data}")


def run(data: Path, output: Path, seed: int, live: str) -> None:
    """The demo: a detector, a publisher and a page in processes of their own, and a table in the end.

    Args:
        data: folder of images, in an MVTec layout or not.
        output: folder that overlays are written to.
        seed: of the order in which the frames arrive.
        live: what to type to watch the same parts without an end.

    Raises:
        StreamerError: the images cannot be used, or a process does not come up or ends.
    """
    console = Console()
    folder = frames_folder(data)
    paths = {id_of(path, folder): path for path in images_in(folder).paths}
    with (
        _detector(len(paths), console) as endpoints,
        _page(endpoints, console) as page,
        _listening(endpoints) as subscriber,
    ):
        with _Publishing(folder, endpoints, seed, console) as publisher:
            provisional = _collect(
                subscriber, "score", len(paths), console, "scored on arrival", publisher=publisher
            )
        ask({"kind": "flush", "stream": STREAM}, endpoints["control"], timeout_s=_START_S)
        final = _collect(subscriber, "revision", len(provisional), console, "final scores")
        _show(console, provisional, final)
        _draw(page, output, console)
    bit_depth = survey([*paths.values()]).bit_depth
    written = demo_overlays.write(list(final.values()), paths, output, bit_depth=bit_depth)
    say(console, f"{len(written)} overlays (frame | map | contour of the threshold) in {output}")
    if page is not None:
        say(console, f"live, part after part: {live}")


@contextmanager
def _detector(n_frames: int, console: Console) -> Iterator[dict[str, str]]:
    """A detector process on free ports; its endpoints."""
    config = {
        "ring": {"capacity": max(n_frames, 8)},
        "revise": {"every": 20, "window": max(n_frames, 8)},
        "output": PICTURES,
        "transport": {**TRANSPORT, "when_full": "block"},
        "log": {"level": "warning"},
    }
    with tempfile.TemporaryDirectory(prefix="musc-demo-") as folder:
        server = ServerProcess(Path(folder), config)
        try:
            with console.status("starting the detector (it loads the backbone)"):
                server.start()
            say(console, f"detector up: {server.model_id}, frames at {server.endpoints['frames']}")
            yield server.endpoints
        finally:
            server.terminate()


@contextmanager
def _page(endpoints: dict[str, str], console: Console) -> Iterator[PageProcess | None]:
    """The page on the detector; None, and a line that says why, where there can be none."""
    with ExitStack() as held:
        page = None
        try:
            if (reason := no_page()) is not None:
                raise StreamerError(reason)
            folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="musc-demo-")))
            page = held.enter_context(page_on(endpoints, folder))
            say(console, f"page up until the table is printed: {page.logins['viewer']}")
        except StreamerError as error:  # the scores do not need it
            say(console, str(error))
        yield page


def _draw(page: PageProcess | None, output: Path, console: Console) -> None:
    """Leave a picture of the page, where there are a page and a browser."""
    if page is None:
        return
    program, path = screenshot.browser(), output / "page.png"
    if program is None:
        say(console, f"{path} was not drawn: no chromium on this machine (make browser installs it)")
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with console.status("drawing the page"):
            screenshot.take(program, page.logins["viewer"], path, shown="#heat[data-drawn]")
    except StreamerError as error:
        say(console, str(error))
    else:
        say(console, f"the page as it looked in the end: {path}")


@contextmanager
def _listening(endpoints: dict[str, str]) -> Iterator[Subscriber]:
    """A subscriber whose subscription is in force: it has heard a heartbeat."""
    with Subscriber(endpoints["scores"], timeout_s=_SILENCE_S, wait_s=_START_S) as subscriber:
        while (message := subscriber.receive()) is None or message.kind != "status":
            if message is None:
                raise StreamerError("the detector is silent")
        yield subscriber


class _Publishing:
    """A publisher process, waited for at the end; what it says is printed above the bar, line by line."""

    def __init__(self, folder: Path, endpoints: dict[str, str], seed: int, console: Console) -> None:
        self._command = [
            sys.executable, "-m", "streamer.publish", "--source", str(folder), "--stream", STREAM,
            "--endpoint", endpoints["frames"], "--control", endpoints["control"], "--shuffle", str(seed),
        ]  # fmt: skip
        self._console = console

    def __enter__(self) -> Self:
        with undisturbed():
            self._process = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
            )
            assert self._process.stdout is not None  # noqa: S101 (a pipe)
            self._said = self._process.stdout
            self._teller = threading.Thread(target=self._tell, daemon=True)
            self._teller.start()
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        try:
            if failed is None:
                self._process.wait(_SILENCE_S)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            self._teller.join()
            self._said.close()

    def has_failed(self) -> bool:
        """Whether it ended before it had sent all; what it says of that is printed by then."""
        if self._process.poll() in {None, 0, NOT_ALL_SCORED}:
            return False
        self._teller.join()
        return True

    def _tell(self) -> None:
        for line in self._said:
            if line.strip():
                say(self._console, line.rstrip())


def _collect(
    subscriber: Subscriber,
    kind: str,
    count: int,
    console: Console,
    title: str,
    *,
    publisher: _Publishing | None = None,
) -> dict[str, Message]:
    """The messages of one kind by frame id; revisions only when final, frames refused count too.

    Raises:
        StreamerError: nothing comes any more, or the publisher ended before it had sent all.
    """
    found: dict[str, Message] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not shown) as progress:
        task = progress.add_task(title, total=count)
        refused = 0
        last = time.monotonic()
        while len(found) + refused < count:
            message = subscriber.receive()
            if publisher is not None and publisher.has_failed():
                raise StreamerError(
                    f"only {len(found)} of {count} {title} came: the images cannot all be sent, as said above"
                )
            if message is None or time.monotonic() - last > _SILENCE_S:
                raise StreamerError(f"only {len(found)} of {count} {title} came")
            if message.kind == "error":
                refused += message.get("code") not in WARNINGS
                say(console, f"{message.get('frame_id')}: {message.get('text')}")
            elif message.kind == kind and (kind == "score" or message["is_final"]):
                found[str(message["frame_id"])] = message
            else:
                continue
            last = time.monotonic()
            progress.update(task, completed=len(found) + refused)
    say(console, f"{title}: {len(found)} of {count}")
    return found


def _show(console: Console, provisional: dict[str, Message], final: dict[str, Message]) -> None:
    # 80 columns are enough for this, also where nobody can widen the window.
    table = Table(
        title="what the detector says (most anomalous first)", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for name in ("frame", "truth", "verdict", "arrival", "final", "re-scored", "state"):
        number = name in {"arrival", "final", "re-scored"}
        # A narrow terminal may shorten names, never figures.
        width = len("0.0000") if number else None
        table.add_column(name, justify="right" if number else "left", no_wrap=True, min_width=width)
    ranked = sorted(final.values(), key=lambda message: -float(message["raw_score"] or 0.0))
    right = known = 0
    for message in ranked:
        frame_id = str(message["frame_id"])
        truth = truth_of(frame_id)
        label = message["pred_label"]
        verdict = {None: "-", True: "[bold red]anomalous[/bold red]", False: "[green]normal[/green]"}[label]
        known += truth is not None and label is not None
        right += truth is not None and label is not None and is_good(truth) != label
        first: Any = provisional.get(frame_id, {})
        table.add_row(
            Text(printable(frame_id)),
            "-" if truth is None else "good" if is_good(truth) else "defect",
            verdict,
            _number(first.get("raw_score")),
            _number(message["raw_score"]),
            _number(message["rscin_score"]),
            first.get("state", "-"),
        )
    console.print(table)
    if known:
        console.print(
            f"{right} of {known} verdicts agree with the folder names; the detector was told no labels"
        )


def is_good(folder: str) -> bool:
    """Whether a folder of that name holds normal parts."""
    return folder.lower() in NORMAL_FOLDERS


def truth_of(frame_id: str) -> str | None:
    """The folder a frame is from, `good` or a defect's name; None where there is no folder."""
    folder, slash, _ = frame_id.rpartition("/")
    return folder.rpartition("/")[2] if slash else None


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}"


if __name__ == "__main__":
    main()
