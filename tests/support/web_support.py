"""A real page process without a browser: who asks it over HTTP, and frames that are in its store."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from streamer.page.store import Store
from streamer.process import PageProcess
from streamer.wire.published import Message, topic_of

PATIENCE_S = 60.0
HOUR = 3600 * 10**9
DAY_NS = 1_790_000_000 * 10**9 // HOUR * HOUR
"""A full hour, long ago enough for nothing else to lie there."""


class Visitor:
    """Somebody with, or without, a session: knows its cookie and CSRF token as a browser does."""

    def __init__(self, url: str, **options: Any) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False, **options)
        self.csrf = ""

    def __enter__(self) -> "Visitor":
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def redeem(self, login: str) -> "Visitor":
        """Open the address that a token is in."""
        answer = self.http.get(login)
        assert (answer.status_code, answer.headers["location"]) == (303, "/live"), answer.text
        self.csrf = self.get("/api/hello")["csrf"]
        return self

    def get(self, path: str, **params: Any) -> Any:
        """JSON of what must be there."""
        answer = self.http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        """As the page's own scripts do it; a header given replaces theirs, an empty one leaves it out."""
        sent = {"Origin": self.url, "X-CSRF-Token": self.csrf, "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(path, json=body, headers={k: v for k, v in sent.items() if v})

    @property
    def cookie(self) -> str:
        """As a header."""
        return "; ".join(f"{name}={value}" for name, value in self.http.cookies.items())


def page_settings(folder: Path, **sections: Any) -> dict[str, Any]:
    """A page on free ports whose detector is not there, unless `detector` says where it is."""
    values: dict[str, Any] = {
        "detector": {"scores": "tcp://127.0.0.1:1", "control": "tcp://127.0.0.1:1"},
        "listen": {"address": "127.0.0.1:0"},
        "store": {"path": str(folder / "store"), "days": 3650},
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    return values


@contextmanager
def page_on(folder: Path, **sections: Any) -> Any:
    """A page process; it must neither fail nor say anything of a fault of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    with PageProcess(folder, page_settings(folder, **sections)) as page:
        yield page
    assert "Traceback" not in page.log
    assert "ERROR" not in page.log


def token_of(page: PageProcess, name: str) -> str:
    """A name's token."""
    return parse_qs(urlsplit(page.logins[name]).query)["token"][0]


def score(
    frame_id: Any, at: int, raw: float, *, stream: str = "line", label: bool = False, **more: Any
) -> Message:
    """A score message as a detector publishes it; `at` in nanoseconds since 1970."""
    return message(
        "score",
        stream,
        frame_id=frame_id,
        capture_ns=at,
        scored_ns=at + 10**6,
        raw_score=raw,
        rscin_score=raw,
        pred_score=raw,
        threshold=0.5,
        pred_label=label,
        state="ready",
        n_references=9,
        revision=0,
        is_final=False,
        **more,
    )


def message(kind: str, stream: str, *, pub_seq: int = 0, **header: Any) -> Message:
    """A published message of a kind."""
    header = {"v": 1, "kind": kind, "stream": stream, "pub_seq": pub_seq, **header}
    return Message(header, topic_of(stream, kind))


def fill(folder: Path, messages: Sequence[Message], then: Callable[[Store], None] = lambda _: None) -> None:
    """Keep messages, and what else is done, in a store that no page has open; its clock stands still."""
    store = Store(folder / "store", days=3650, max_bytes=2**30, clock=lambda: DAY_NS + HOUR)
    numbers: dict[str, int] = {}
    for one in messages:
        one["pub_seq"] = numbers[one.topic] = numbers.get(one.topic, -1) + 1
        store.take(one)
    then(store)
    assert store.failed is None
    assert store.bad == 0
    store.close()


def certificate(folder: Path, *names: str) -> tuple[Path, Path]:
    """A certificate for names and addresses, signed by itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing: Debian's package openssl is not installed")
    cert, key = folder / "page.pem", folder / "page.key"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "2", "-subj", "/CN=page", "-addext", f"subjectAltName={','.join(names)}",
            "-keyout", str(key), "-out", str(cert),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return cert, key
