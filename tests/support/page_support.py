"""A real detector, a real page on it, and a line of drawn parts whose defects are known.

`plant` is one detector and one page for all tests of a session: each test takes a stream of its own name.
Who kills or reconfigures either starts its own with `detecting` and `paging`.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from browser_support import Browser, one, until
from streamer_support import PATIENCE_S, Screen, server_process

from bench import demo_data
from streamer.ask import ask
from streamer.process import PageProcess, ServerProcess
from streamer.publish import Publisher

IMAGE_SIZE = 112
"""The smallest at which the real backbone shows a drawn stain or scratch where it is: 8 x 8 patches."""
LIMIT = 0.62
"""A raw score between those of good parts, once there are `LEARNED`, and of the parts in `CLEAR`."""
LEARNED, EVERY = 10, 5
CLEAR = {"stain": (18, 36, 30, 21, 39), "scratch": (31, 37, 16)}
"""Drawn parts whose defect is large enough to be found at `IMAGE_SIZE`, whatever came before."""


def detector_settings(folder: Path, **sections: Any) -> dict[str, Any]:
    """What the page needs (pictures, patch grids, a history on disk), and verdicts one can count on."""
    values: dict[str, Any] = {
        "backbone": {"image_size": IMAGE_SIZE, "stages": [2, 5, 8]},
        "method": {"degrees": [1], "image_score": {"worst": 0.01}},
        "ring": {"capacity": 40, "matcher": "gemm", "admit": "quarantine", "quarantine": 12},
        "rscin": {"neighbour_counts": [1]},
        "revise": {"every": EVERY, "window": 40},
        "warmup": 4,
        "limits": {"streams": 64},  # each test has its own
        "threshold": {"rule": "fixed", "value": LIMIT},
        "output": {"picture": {"of": "all"}},
        "transport": {"map_encoding": "grid", "batch": 1},
        "history": {"path": str(folder / "history.sqlite")},
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section} if isinstance(section, dict) else section
    return values


@contextmanager
def detecting(folder: Path, **sections: Any) -> Iterator[ServerProcess]:
    """A detector process for the page; sections are merged over `detector_settings`."""
    folder.mkdir(parents=True, exist_ok=True)
    with server_process(folder, **detector_settings(folder, **sections)) as server:
        yield server


@contextmanager
def paging(folder: Path, server: ServerProcess, **sections: Any) -> Iterator[PageProcess]:
    """A page process on a detector, its store in `folder`; sections as in its YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {
        "detector": {name: server.endpoints[name] for name in ("scores", "control")},
        "listen": {"address": "127.0.0.1:0"},
        "store": {"path": str(folder / "page")},
        "alarms": {"cooldown_s": 0.0},
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section} if isinstance(section, dict) else section
    with PageProcess(folder, values) as page:
        yield page
    assert "Traceback" not in page.log


@dataclass(frozen=True)
class Plant:
    """A detector and its page; `store` is the page's database."""

    server: ServerProcess
    page: PageProcess
    store: Path

    def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The detector's answer to a request."""
        return ask({"kind": kind, **fields}, self.server.endpoints["control"], timeout_s=PATIENCE_S)


@pytest.fixture(scope="session")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """One detector and one page for all; frames of every stream have a picture, a map, and `LIMIT`."""
    folder = tmp_path_factory.mktemp("plant")
    with detecting(folder) as server, paging(folder, server) as page:
        yield Plant(server, page, folder / "page" / "page.sqlite")


@dataclass(frozen=True)
class Part:
    """One drawn part as it was sent and scored.

    Attributes:
        key: of its frame in addresses and elements of the page.
        score: header of its score message.
        mask: `[size, size]` uint8 0/1, where the defect is.
    """

    key: str
    score: dict[str, Any]
    frame: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.uint8]

    @property
    def frame_id(self) -> Any:
        """As the publisher named it."""
        return self.score["frame_id"]


class Line:
    """Publishes drawn parts of one stream, and hears what the detector says of it.

    Attributes:
        latest: by frame id the header of the last score or revision that was heard.
        anomalous: ids of frames that any of them called so.
    """

    def __init__(self, server: ServerProcess, stream: str, *, size: int = 256) -> None:
        self.stream, self._size, self._server = stream, size, server
        self.latest: dict[Any, dict[str, Any]] = {}
        self.anomalous: set[Any] = set()
        self._screen = Screen(server, f"{stream}/")
        self._publisher = Publisher(server.endpoints["frames"], stream, wait_s=PATIENCE_S)
        self._drawn = dict.fromkeys(("sent", "good", *CLEAR), 0)

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_: object) -> None:
        self._publisher.close()
        self._screen.__exit__()

    def send(self, defect: str = "good", frame_id: Any = None, **meta: Any) -> tuple[Any, Any, Any]:
        """Send the next part and do not wait; its id, frame and mask."""
        number = self._count("sent")
        index = self._count(defect)
        if defect in CLEAR:
            index = CLEAR[defect][index % len(CLEAR[defect])]
        frame, flaw = demo_data.draw(0, index, defect, self._size)
        named = f"part-{number:04d}" if frame_id is None else frame_id
        self._publisher.send(frame, named, {"part_id": f"P{number}", **meta}, timeout_s=PATIENCE_S)
        return named, frame, flaw.mask

    def _count(self, what: str) -> int:
        before = self._drawn[what]
        self._drawn[what] += 1
        return before

    def show(self, defect: str = "good", frame_id: Any = None, **meta: Any) -> Part:
        """Send the next part and wait for its score."""
        named, frame, mask = self.send(defect, frame_id, **meta)
        while (score := self.heard("score"))["frame_id"] != named:
            pass
        return Part(key_of(named), score, frame, mask)

    def heard(self, *kinds: str) -> dict[str, Any]:
        """The header of the next message of these kinds; what comes before it is heard as well."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:  # heartbeats go on coming
            header = self._screen.until(1, "score", "revision", "status", *kinds)[0]
            if header["kind"] in {"score", "revision"}:
                self.latest[header["frame_id"]] = header
                self.anomalous |= {header["frame_id"]} if header["pred_label"] else set()
            if header["kind"] in kinds:
                return header
        pytest.fail(f"no message of {', '.join(kinds)} from {self.stream}")

    def revised(self) -> dict[Any, dict[str, Any]]:
        """`latest`, once all that was said of the frames was heard: a word of an operator comes behind it."""
        newest = next(reversed(self.latest))
        word = {"kind": "unpin", "stream": self.stream, "frame_id": newest}
        ask(word, self._server.endpoints["control"], timeout_s=PATIENCE_S)
        self.heard("operator")
        return self.latest

    def learn(self, count: int = LEARNED) -> list[Part]:
        """Show so many good parts that the next ones are called normal, and those of `CLEAR` are not."""
        return [self.show() for _ in range(count)]


def key_of(frame_id: Any) -> str:
    """A frame's key: its id with its type, as the page writes it."""
    return f"{'i' if isinstance(frame_id, int) else 's'}:{frame_id}"


def log_in(browser: Browser, page: PageProcess, role: str = "operator", path: str = "/live") -> None:
    """Open the page as someone; `path` has the query already quoted."""
    browser.get(page.logins[role])
    until(browser, lambda: "token" not in browser.current_url, "the token to go from the address")
    browser.get(page.url + path)
    until(browser, lambda: one(browser, "main"), f"{path} to be drawn")
