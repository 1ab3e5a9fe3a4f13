"""Processes that we start run our code, whatever lies in the folder they are started in."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE_S = 180.0
SAYS = "import multiprocessing, os, streamer; from streamer import child\n"
WAYS = {
    "a command": "import subprocess\n"
    "subprocess.run(child.command('streamer.status', '--help'), env=child.environment(), check=True)",
    "a process like a detector's": "import pathlib\n"
    "from streamer.process import BridgeProcess, ServerError\n"
    "try: BridgeProcess('none', pathlib.Path('.'), {}).start()\n"
    "except ServerError as error: print('Usage: ' + str(error).replace('no module', ''))",
    "a spawned one": "context = multiprocessing.get_context('spawn')\n"
    "if __name__ == '__main__':\n"
    "    with child.safe_path():\n"
    "        process = context.Process(target=print, args=('Usage: spawned',))\n"
    "        process.start()\n"
    "    process.join()\n"
    "    assert (process.exitcode, 'PYTHONSAFEPATH' in os.environ) == (0, False)",
}


@pytest.fixture
def foreign(tmp_path):
    """A folder with modules of our names and of what we import, none of which may run."""
    (tmp_path / "streamer").mkdir()
    for name in ("streamer/__init__", "streamer/serve", "numpy", "structlog", "click", "socket"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('foreign code ran')")
    return tmp_path


@pytest.mark.parametrize("way", WAYS)
def test_no_file_of_the_current_folder_is_run(way, foreign, tmp_path_factory):
    script = tmp_path_factory.mktemp("bin") / "program.py"  # as an installed command
    script.write_text(SAYS + WAYS[way])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONSAFEPATH", None)
    done = subprocess.run(
        [sys.executable, str(script)],
        check=False, capture_output=True, text=True, timeout=PATIENCE_S, cwd=foreign, env=environment,
    )  # fmt: skip
    assert "foreign code ran" not in done.stdout + done.stderr
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: ")


def test_every_module_that_is_run_is_run_that_way():
    for package in ("bench", "musc_online", "streamer"):
        for path in (ROOT / package).rglob("*.py"):
            if path != ROOT / "streamer" / "child.py":
                assert not re.search(r'sys\.executable,|"-m"', path.read_text(encoding="utf-8")), path
