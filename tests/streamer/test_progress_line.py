"""The line of progress on a terminal: below all that is said, on one row of any width; and its colours."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import yaml
from streamer_support import PATIENCE_S, Camera, Screen, one_thread, settings, until

from streamer.server.output import _fitting

__all__ = ["one_thread"]

SAYS = """
import ctypes, sys, warnings
from streamer.server import logs
from streamer.server.output import Output
import structlog
with Output() as output:
    logs.configure("info", "auto")
    for number in range(300):
        output.stand({"received": number, "scored": number, "fps": 7.5})
        structlog.get_logger().warning("frame_error", number=number)
        ctypes.CDLL(None).dprintf(2, b"in C\\n")
    output.stand({"received": 10 ** 18, "scored": 10 ** 18, "dropped": 10 ** 18, "refused": 10 ** 18})
    sys.stderr.write("[" + "x" * 70_000 + "]\\n")
    output.stand({"received": 10 ** 18, "scored": 10 ** 18, "dropped": 10 ** 18, "refused": 10 ** 18})
    input()
    output.stand(None)
"""


class Terminal:
    """A terminal of some width, and all that was written to it."""

    def __init__(self, columns):
        self._mine, self.theirs = pty.openpty()
        self.columns = columns
        modes = termios.tcgetattr(self.theirs)
        modes[3] &= ~termios.ECHO  # what is typed does not move the cursor
        termios.tcsetattr(self.theirs, termios.TCSANOW, modes)
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.said = b""
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        try:
            while more := os.read(self._mine, 65536):
                self.said += more
        except OSError:  # nobody has the other side any more
            pass

    def type(self, line):
        os.write(self._mine, line)

    def close(self):
        os.close(self.theirs)
        self._thread.join(PATIENCE_S)
        os.close(self._mine)

    @property
    def rows(self):
        """What a person sees, all of it: a row that is full goes on in the next."""
        rows, at = [""], 0
        text = re.sub(r"\x1b\[[0-9;]*m", "", self.said.decode())
        for part in re.findall(r"\r|\n|\x1b\[K|[^\r\n\x1b]+", text):
            if part == "\r":
                at = 0
            elif part == "\n":
                rows.append("")
                at = 0
            elif part == "\x1b[K":
                rows[-1] = rows[-1][:at]
            else:
                row = rows.pop()
                row = row[:at] + part + row[at + len(part) :]
                at += len(part)
                while len(row) > self.columns:
                    rows.append(row[: self.columns])
                    row, at = row[self.columns :], at - self.columns
                rows.append(row)
        return rows


@contextmanager
def terminal(columns):
    one = Terminal(columns)
    try:
        yield one
    finally:
        one.close()


def run(one, *command, **environment):
    """A process with that terminal as its input and standard error, colours as the environment says."""
    plain = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdin=one.theirs,
        stderr=one.theirs,
        stdout=subprocess.DEVNULL,
        env={**plain, "TERM": "xterm", **environment},
    )


def test_all_that_is_said_has_a_row_of_its_own_above_the_line():
    with terminal(80) as one:
        with run(one, "-c", SAYS) as process:
            big = 10**18
            until(lambda: one.said.endswith(b"%d" % big) or process.poll() is not None)
            assert one.rows[-1] == f"received {big} scored {big}"
            one.type(b"\n")
            assert process.wait(PATIENCE_S) == 0
        rows = [row for row in one.rows if row]
    begun = [row for row in rows if "frame_error" in row]
    assert len(begun) == 300
    assert all(re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z \[warning", row) for row in begun)
    assert rows.count("in C") == 300
    assert "[" + "x" * 79 in rows
    assert not any(row.startswith("received") for row in rows)


@pytest.mark.parametrize(
    ("width", "told"),
    [
        (200, "received 999999  dropped 7  fps 1.0"),
        (36, "received 999999  dropped 7  fps 1.0"),
        (35, "received 999999 dropped 7 fps 1.0"),
        (33, "received 999999 dropped 7"),
        (16, "received 999999"),
        (15, ""),
    ],
)
def test_no_number_of_the_line_is_cut_and_no_row_is_full(width, told):
    assert _fitting({"received": 999_999, "dropped": 7, "fps": 1.0}, width) == told


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_a_log_has_colours_where_they_are_wanted(environment, coloured):
    code = (
        "import structlog; from streamer.server import logs; logs.configure(style='console')\n"
        "try: 1 / 0\nexcept ZeroDivisionError: structlog.get_logger().exception('failed', secret=None)"
    )
    with terminal(80) as one:
        assert run(one, "-c", code, **environment).wait(PATIENCE_S) == 0
        until(lambda: b"division by zero" in one.said)
    assert (b"\x1b[" in one.said) == coloured


@pytest.mark.slow
def test_a_real_service_s_warnings_and_its_progress_share_a_terminal(one_thread, tmp_path):
    config, ready = tmp_path / "line.yaml", tmp_path / "ready.json"
    config.write_text(yaml.safe_dump(settings()))
    with terminal(80) as one:
        command = ("-m", "streamer.serve", "--config", config, "--ready-file", ready)
        with run(one, *command, NO_COLOR="1") as process:
            try:
                until(lambda: ready.exists() or process.poll() is not None)
                talk(yaml.safe_load(ready.read_text())["endpoints"], one)
                process.send_signal(signal.SIGTERM)
                assert process.wait(PATIENCE_S) == 0
            finally:
                process.kill()
        rows = one.rows
    assert b"\x1b[K" in one.said
    assert not re.search(rb"\x1b\[[0-9;]*m", one.said)
    begun = [row for row in rows if "frame_error" in row]
    assert len(begun) > 1
    assert all(re.match(r"\d{4}-\d\d-\d\dT", row) for row in begun)


def talk(endpoints, one):
    """A bad frame whenever the line of progress stands, until it has stood twice with a warning since."""
    service = SimpleNamespace(endpoints=endpoints)
    with Screen(service) as screen, Camera(endpoints["frames"]) as camera:
        for seed in range(3):
            camera.picture(seed)
            camera.send({"v": 1}, b"")
            assert len(screen.until(2, "score", "error")) == 2
            until(lambda stood=f"received {2 * seed + 2} ": one.rows[-1].startswith(stood))
