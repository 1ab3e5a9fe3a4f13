"""A detector and a page's process for the bench, on free ports, gone afterwards with all they wrote."""

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from streamer.commands import undisturbed
from streamer.process import ANY_PORT, ServerError, ServerProcess

STREAM = "line-1"
_START_S = 120.0
_STOP_S = 30.0
_MIB = 2**20


@dataclass(frozen=True)
class Line:
    """What runs: the detector, and the page that shows it."""

    server: ServerProcess
    page: "PageProcess"

    @property
    def endpoints(self) -> dict[str, str]:
        """Of the detector."""
        return self.server.endpoints


class PageProcess:
    """`python -m streamer.page`; starts at `with`, ends after it in the orderly way.

    Args:
        folder: for its configuration, log and store.
        settings: its configuration.

    Attributes:
        links: address that signs in, by role.
        url: its address.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.url = ""
        self.links: dict[str, str] = {}
        self._folder, self._settings = folder, settings
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "PageProcess":
        config, ready = self._folder / "page.yaml", self._folder / "page.json"
        config.write_text(yaml.safe_dump(dict(self._settings)), encoding="utf-8")
        command = [sys.executable, "-m", "streamer.page", "--config", str(config),
                   "--ready-file", str(ready)]  # fmt: skip
        try:
            with (self._folder / "page.log").open("ab") as log, undisturbed():
                self._process = subprocess.Popen(command, stdout=log, stderr=log)
            end = time.monotonic() + _START_S
            while not ready.exists():
                if self._process.poll() is not None or time.monotonic() > end:
                    raise ServerError(f"streamer.page: did not come up: {self._last_line()}")
                time.sleep(0.05)
        except BaseException:  # a signal too: nobody else would end it
            self.__exit__()
            raise
        said = json.loads(ready.read_text(encoding="utf-8"))
        self.url, self.links = said["url"], said["links"]
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def usage(self) -> tuple[float, float]:
        """Seconds of processor time so far, and MiB of memory now.

        Raises:
            ServerError: it has ended.
        """
        import psutil  # noqa: PLC0415  (a developer's extra)

        try:
            process = psutil.Process(self._process.pid if self._process else -1)
            times = process.cpu_times()
            return times.user + times.system, process.memory_info().rss / _MIB
        except (psutil.Error, ValueError):
            raise ServerError(f"streamer.page: has ended; last line: {self._last_line()}") from None

    def _last_line(self) -> str:
        log = self._folder / "page.log"
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
        return lines[-1][-300:] if lines else "it said nothing"


@contextmanager
def running(sections: Mapping[str, Any], *, cooldown_s: float) -> Iterator[Line]:
    """A detector and its page.

    Args:
        sections: of the detector's configuration, over what both need.
        cooldown_s: so long after an alarm another one of a stream joins it.

    Raises:
        ServerError: one of them does not come up.
    """
    with tempfile.TemporaryDirectory(prefix="musc-page-") as name:
        folder = Path(name)
        with ServerProcess(folder, _detector(folder, sections)) as server:
            settings = {
                "detector": {name: server.endpoints[name] for name in ("scores", "control")},
                "listen": {"address": "127.0.0.1:0"},
                "store": {"path": str(folder / "store")},
                "alarms": {"cooldown_s": cooldown_s},
            }
            with PageProcess(folder, settings) as page:
                yield Line(server, page)


def _detector(folder: Path, sections: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {
        "backbone": {"stages": [2, 5, 8], "precision": "auto"},
        "method": {"degrees": [1], "image_score": {"worst": 0.01}},
        "rscin": {"neighbour_counts": [1]},
        "ring": {"capacity": 200, "nearest": 16, "admit": "quarantine", "quarantine": 50},
        "revise": {"every": 20, "window": 200},
        "transport": {
            **dict.fromkeys(("frames", "scores", "control"), ANY_PORT),
            "map_encoding": "grid",
            "when_full": "block",
            "heartbeat_s": 1.0,
        },
        "output": {"picture": {"of": "all"}},
        "history": {"path": str(folder / "history.sqlite")},
        "snapshot": {"path": str(folder / "rings")},
        "log": {"level": "warning"},
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    return values
