"""The demo's publisher: a process of its own that shares the terminal and is in nobody's way."""

import subprocess
import threading
from pathlib import Path
from typing import Self

from rich.console import Console

from streamer import child
from streamer.commands import undisturbed
from streamer.demo_page import STREAM, say
from streamer.push import NOT_ALL_SCORED

_SILENCE_S = 300.0


class Publishing:
    """A publisher process, waited for at the end; what it says is printed above the bar, line by line.

    Args:
        folder: of the images.
        endpoints: of the detector.
        seed: of the order in which the images go out.
        console: that everything is printed on, the bar too.
    """

    def __init__(self, folder: Path, endpoints: dict[str, str], seed: int, console: Console) -> None:
        self._command = child.command(
            "streamer.publish", "--source", str(folder), "--stream", STREAM,
            "--endpoint", endpoints["frames"], "--control", endpoints["control"], "--shuffle", str(seed),
        )  # fmt: skip
        self._console = console

    def __enter__(self) -> Self:
        with undisturbed():
            self._process = subprocess.Popen(
                self._command, env=child.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, errors="replace",
            )  # fmt: skip
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
