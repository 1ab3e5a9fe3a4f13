"""How command lines end: what each exit status means, broken output, other encodings, signals."""

import importlib
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import types
from pathlib import Path

import click
import pytest
import zmq
from click.testing import CliRunner
from streamer_support import PATIENCE_S, picture, png, until

import bench
import streamer
from streamer import operate, publish, status
from streamer.commands import Ending

NEEDS_BROWSER = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="no chromium: `make browser` installs it",
)

# One command of ours, whose argument says what is to happen to it.
OURS = """
import os, subprocess, sys, tempfile, time
import click
from rich.console import Console
from rich.table import Table
from bench.commands import Command
from musc_online.errors import MuscError

@click.command(cls=Command)
@click.argument("what")
def main(what):
    if what == "verdict":
        return 1
    if what == "user":
        raise MuscError("ring.capacity: got 1, expected at least 2")
    if what == "missing":
        open("/nowhere/at/all")
    if what == "fault":
        return {}["key"]
    if what == "interrupt":
        raise KeyboardInterrupt
    if what == "pipe":  # another one than its output
        reads, writes = os.pipe()
        os.close(reads)
        os.write(writes, b"x")
    for number in range(10_000 if what.startswith("much") else 1):
        if what.endswith("rich"):
            table = Table(title="caf\\u00e9 \\u2500 \\udcff")
            table.add_row("\\u2192", str(number))
            Console().print(table)
        elif what.endswith("click"):
            click.echo("caf\\u00e9 \\u2500 \\udcff")
    if what == "wait":
        with tempfile.TemporaryDirectory(prefix="ours-") as folder:
            child = subprocess.Popen(["sleep", "1000"])
            try:
                open(folder + "/child", "w").write(str(child.pid))
                open(folder + "/up", "w").close()
                time.sleep(1000)
            finally:
                child.terminate()
                child.wait()
main()
"""


def ours(what, **options):
    return subprocess.run(
        [sys.executable, "-c", OURS, what], check=False, capture_output=True, timeout=PATIENCE_S, **options
    )


@pytest.mark.parametrize(
    ("what", "status", "says"),
    [
        ("nothing", 0, b""),
        ("verdict", 1, b""),
        ("user", 2, b"error: ring.capacity: got 1, expected at least 2\n"),
        ("missing", 2, b"error: /nowhere/at/all: No such file or directory\n"),
        ("fault", 3, b"KeyError: 'key'\n"),
        ("pipe", 3, b"a pipe that is not its output broke\n"),
        ("interrupt", 130, b"\n"),
    ],
)
def test_each_status_has_one_meaning(what, status, says):
    done = ours(what)
    assert (done.returncode, done.stdout) == (status, b"")
    assert done.stderr.endswith(says)
    assert status == 3 or len(done.stderr.splitlines()) <= 1


@pytest.mark.parametrize("what", ["much rich", "much click", "once rich", "once click"])
def test_a_reader_that_leaves_is_no_verdict(what):
    reads, writes = os.pipe()
    os.close(reads)
    for where in ({"stdout": writes}, {"stdout": writes, "stderr": writes}):
        both = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | where
        done = subprocess.run([sys.executable, "-c", OURS, what], check=False, timeout=PATIENCE_S, **both)
        assert done.returncode == 141
        assert not done.stderr
    os.close(writes)


@pytest.mark.parametrize("what", ["once rich", "once click"])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_terminal_shows_any_name(what, encoding):
    done = ours(what, env={**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "60"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\udcff" in done.stdout or b" ?\n" in done.stdout  # click reads ASCII as a mistake for UTF-8


def test_output_that_cannot_be_written_is_the_users_to_mend():
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", OURS, "once click"],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=PATIENCE_S,
        )
    assert done.returncode == 2
    assert done.stderr == b"error: No space left on device\n"


@pytest.mark.parametrize("what", ["once rich", "once click", "user"])
def test_closed_streams_do_no_harm(what):
    command = ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", OURS, what]
    assert subprocess.run(command, check=False, timeout=PATIENCE_S).returncode == (what == "user") * 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_neither_folder_nor_child(number, tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", OURS, "wait"], env=environment)
    until(lambda: list(tmp_path.glob("ours-*/up")))
    child = int(next(tmp_path.glob("ours-*/child")).read_text())
    process.send_signal(number)
    assert process.wait(PATIENCE_S) == 128 + number
    assert not list(tmp_path.iterdir())
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_what_nohup_keeps_is_kept(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(["nohup", sys.executable, "-c", OURS, "wait"], env=environment)
    until(lambda: list(tmp_path.glob("ours-*/up")))
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 143


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e300"])
def test_options_take_no_number_beyond_this_world(value):
    for command in (status.main, operate.main, publish.main):
        option = "--wait" if command is publish.main else "--timeout"
        rest = ["flush"] if command is operate.main else []
        rest = ["--source", ".", "--stream", "a"] if command is publish.main else rest
        done = CliRunner().invoke(command, [*rest, option, value])
        assert done.exit_code == 2
        assert f"{option}" in done.stderr
        assert "expected a number" in done.stderr
        assert done.stderr.count("\n") == 1


def imported(name):
    """A module; one of an extra that is not installed is none, and has no command line."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name.partition(".")[0] in ("bench", "musc_online", "streamer"):
            raise
        return types.ModuleType(name)


def test_every_command_ends_so():
    found = 0
    for package in (streamer, bench):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.endswith("__main__"):
                continue
            for name, value in vars(imported(module.name)).items():
                if isinstance(value, click.Command):
                    assert isinstance(value, Ending), f"{module.name}.{name}"
                    found += 1
    assert found > 12


@pytest.mark.parametrize(
    "arguments",
    [
        ["bench.replay.command", "command", "mvtec", "--data", "/nope"],
        ["bench.verdict.command", "main", "mvtec", "--data", "/nope"],
        ["bench.options.command", "main", "mvtec", "--data", "/nope"],
        ["bench.cost", "main", "mvtec", "--data", "/nope", "--category", "bottle"],
        ["streamer.demo", "main", "--data", "/nope"],
        ["streamer.demo_page", "main", "--data", "/nope"],
        ["streamer.serve", "main", "--config", "/nope"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_wrong_path_is_told_before_anything_heavy_is_imported(arguments):
    module, name, *rest = arguments
    code = (
        f"import sys; from {module} import {name} as command\n"
        f"status = command.main({rest}, standalone_mode=False)\n"
        "heavy = {'torch', 'sklearn', 'matplotlib', 'faiss', 'numba', 'timm'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert "/nope" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["bench.load", "--seconds", "1000"],
        pytest.param(["bench.fuzz"], marks=pytest.mark.slow),
        pytest.param(["bench.soak"], marks=pytest.mark.slow),
        pytest.param(["bench.page"], marks=[pytest.mark.slow, NEEDS_BROWSER]),
        pytest.param(["bench.replay", "demo", "--limit", "6", "--through", "zmq"], marks=pytest.mark.slow),
    ],
    ids=lambda arguments: arguments[0],
)
def test_sigterm_ends_the_servers_a_command_started(arguments, tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: list(tmp_path.glob("musc-*/serve.log")) or process.poll() is not None)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 143
    finally:
        process.kill()
    left = [path for path in tmp_path.iterdir() if path.name.startswith("musc-")]
    assert not left
    assert not [line for line in command_lines() if str(tmp_path) in line]


@pytest.mark.parametrize("reliable", [[], ["--reliable"]], ids=["plain", "reliable"])
def test_sigterm_ends_a_publisher_whose_frames_nobody_takes(reliable, tmp_path):
    (tmp_path / "a.png").write_bytes(png(picture(0)))
    with zmq.Context() as context, context.socket(zmq.ROUTER if reliable else zmq.PULL) as detector:
        port = detector.bind_to_random_port("tcp://127.0.0.1")
        arguments = ["--source", str(tmp_path), "--stream", "a", "--loop", *reliable]
        command = [sys.executable, "-m", "streamer.publish", *arguments]
        process = subprocess.Popen([*command, "--endpoint", f"tcp://127.0.0.1:{port}"])
        try:
            assert detector.poll(1000 * PATIENCE_S)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 143
        finally:
            process.kill()


def command_lines():
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
