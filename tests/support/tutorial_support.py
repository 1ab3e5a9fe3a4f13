"""A tutorial's page as a person follows it: its blocks typed one by one into one shell, in an empty folder.

A block of `bash` is run. One of `text` after it is what it prints, from the first line to the last: whole
numbers as they stand (of ten digits and more, as times have, any), those with a point within 3 %,
`...` for anything, also for whole lines. Below `<!-- other numbers each time -->` any number with a point may
stand for another.
A block of `python` that begins with `# NAME.py` is saved under that name. `NAME=value  # yours` is for the
reader to replace, and the test does so, by names that the page does not have: a step that has the page's own
name where a reader has another fails. Everything else in the page is for reading.

The default ports are taken in a network of the shell's own, which holds nothing but loopback: nobody else's
detector is in the way, and no step of a tutorial can fetch anything. Where the system gives no such network
(it needs root, or user namespaces), the ports of the machine are used if they are free.
"""

import math
import os
import queue
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from shown_support import TOLERANCE, matches
from streamer_support import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
_PORTS = (5554, 5555, 5556, 5557)
_BLOCK_S = 600.0
"""Ends a block that would wait for ever."""
_FENCE = re.compile(
    r"^(<!-- other numbers each time -->\n+)?```(\w*)\n(.*?)^```\s*?$", re.DOTALL | re.MULTILINE
)
_YOURS = re.compile(r"^(\w+)=\S.*?  +# yours$", re.MULTILINE)
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_COMMAND = """\
#!{python}
import sys
from musc_online.__main__ import main
sys.exit(main())
"""
_END = "@@the-block-ended@@"
_RUN = f"""\
_failed=0
trap '_failed=$?' ERR
source {{path}} </dev/null
trap - ERR
echo; echo "{_END} $_failed"
"""


@dataclass
class Block:
    """One block that is run.

    Attributes:
        line: of the page where it begins, from 1.
        language: `bash` or `python`.
        text: what is run or saved.
        shown: what the page says that it prints; None where it says nothing.
        tolerance: how far its numbers with a point may be off.
    """

    line: int
    language: str
    text: str
    shown: str | None = None
    tolerance: float = TOLERANCE


def blocks(page: Path) -> list[Block]:
    """The blocks of a page that are run, in order."""
    text, found = page.read_text(encoding="utf-8"), []
    for fence in _FENCE.finditer(text):
        line = text.count("\n", 0, fence.start(3)) + 1
        if fence[2] in ("bash", "python"):
            found.append(Block(line, fence[2], fence[3]))
        elif fence[2] == "text":
            assert found, f"{page.name}:{line}: says what is printed before anything is run"
            assert found[-1].shown is None, f"{page.name}:{line}: its block has its output already"
            found[-1].shown, found[-1].tolerance = fence[3], math.inf if fence[1] else TOLERANCE
    return found


def replaced(text: str, yours: Mapping[str, str], used: set[str]) -> str:
    """A block with the reader's own values in place of the page's."""

    def value(found: re.Match[str]) -> str:
        used.add(found[1])
        given = yours[found[1]]
        return f"{found[1]}={given if given.startswith('$') else shlex.quote(given)}"

    return _YOURS.sub(value, text)


def _renamed(shown: str, names: Mapping[str, str]) -> str:
    for name, theirs in names.items():
        shown = shown.replace(name, theirs)
    return shown


@cache
def network() -> tuple[str, ...]:
    """The command before a command that gives it a network of its own; () where there is none to be had."""
    mine = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    within = ("unshare", *mine, "--net", "--", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
    try:
        done = subprocess.run([*within, "true"], capture_output=True, check=False, timeout=PATIENCE_S)
    except FileNotFoundError:
        return ()
    return () if done.returncode else within


def _ports_are_free() -> bool:
    for port in _PORTS:
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


class Shell:
    """One bash in an empty folder; what it and its children print comes line by line.

    Args:
        folder: its home and where it starts.
        tools: where `musc-online` is.
    """

    def __init__(self, folder: Path, tools: Path) -> None:
        if not network() and not _ports_are_free():
            pytest.skip("no network namespace can be had (unshare --net), and a default port is taken")
        path = os.pathsep.join((str(tools), str(Path(sys.executable).parent), os.environ["PATH"]))
        self._process = subprocess.Popen(
            [*network(), "bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=folder,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"},
            start_new_session=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def run(self, path: Path) -> tuple[str, int]:
        """What a block printed, and the status of the last of its commands that failed, 0 where none did."""
        assert self._process.stdin is not None
        self._process.stdin.write(_RUN.format(path=shlex.quote(str(path))))
        self._process.stdin.flush()
        printed, end = "", time.monotonic() + _BLOCK_S
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"not over after {_BLOCK_S} s; printed so far:\n{printed}") from None
            if line is None:
                raise AssertionError(f"the shell is gone; printed before:\n{printed}")
            if line.startswith(_END):
                return _ANSI.sub("", printed), int(line.split()[1])
            printed += line

    def close(self) -> None:
        """End it and whatever it started and left running."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                break
            self._reader.join(PATIENCE_S / 3)  # it ends once nobody holds the pipe
            if not self._reader.is_alive():
                break
        self._process.wait(PATIENCE_S)
        self._process.stdout.close()


@contextmanager
def shell(folder: Path, tools: Path) -> Iterator[Shell]:
    """A shell whose children end with it; `tools` gets the command `musc-online`."""
    tools.mkdir()
    command = tools / "musc-online"
    command.write_text(_COMMAND.format(python=sys.executable), encoding="utf-8")
    command.chmod(0o755)
    opened = Shell(folder, tools)
    try:
        yield opened
    finally:
        opened.close()


def follow(
    page: Path,
    tmp_path: Path,
    yours: Mapping[str, str],
    before: Sequence[str] = (),
    names: Mapping[str, str] | None = None,
) -> None:
    """Do what a page says, block by block.

    Args:
        page: the tutorial.
        tmp_path: an empty folder.
        yours: values for the lines `NAME=value  # yours`, each of which the page has to have; `$NAME` is one
            that `before` has set.
        before: lines of bash that make ready what the reader has: a camera.
        names: what the page shows of its own data, and what is printed of the reader's in its place.

    Raises:
        AssertionError: a block fails or prints other than the page shows; the text names its line.
    """
    folder, scripts, used = tmp_path / "reader", tmp_path / "blocks", set[str]()
    folder.mkdir()
    scripts.mkdir()
    steps = [Block(0, "bash", "\n".join(before) + "\n"), *blocks(page)]
    with shell(folder, tmp_path / "tools") as typed:
        for number, block in enumerate(steps):
            where = f"{page.name}:{block.line}"
            text = replaced(block.text, yours, used)
            if block.language == "python":
                name = re.match(r"# (\w+\.py)\n", text)
                assert name is not None, f"{where}: a block of python begins with the name it is saved under"
                (folder / name[1]).write_text(text, encoding="utf-8")
                continue
            script = scripts / f"{number}.sh"
            script.write_text(text, encoding="utf-8")
            printed, failed = typed.run(script)
            told = f"{where}\n{text}printed:\n{printed}"
            assert failed == 0, f"status {failed}: {told}"
            shown = _renamed(block.shown or "", names or {})
            is_shown = block.shown is None or matches(shown, printed, block.tolerance)
            assert is_shown, f"{told}expected:\n{shown}"
    assert used == set(yours), f"{page.name}: has no line of {sorted(set(yours) - used)}"
