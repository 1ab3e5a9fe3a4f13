"""Other distributions with a package `bench` or `streamer`: told by name, in one line, with status 2."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging_support import Environment, tiny_wheel

ROOT = Path(__file__).parents[2]
START = "import musc_online.__main__ as ours; ours.main()"
WHEEL = "/path/to/musc_online-*.whl"
OWN = f"they cannot share an environment: python3 -m venv musc; musc/bin/pip install {WHEEL}\n"


@pytest.fixture
def site(tmp_path):
    """A folder of packages as pip leaves it: ours, each of one module, and what is recorded of them."""
    folder = tmp_path / "site"
    (folder / "musc_online").mkdir(parents=True)
    for name in ("__init__.py", "__main__.py", "installed.py"):
        shutil.copy(ROOT / "musc_online" / name, folder / "musc_online")
    put(folder, "bench", "bench/cli.py", "def main():\n    print('done')\n")
    put(folder, "streamer", "streamer/status.py", "")
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.py"))
    lines = [f"{path},sha256=x,{(folder / path).stat().st_size}\n" for path in files]
    put(folder, "musc_online-0.1.0.dist-info", "musc_online-0.1.0.dist-info/RECORD", "".join(lines))
    return folder


def put(folder, package, path, text):
    """A file, and the first module of its package."""
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text, encoding="utf-8")
    if not package.endswith(".dist-info"):
        (folder / package / "__init__.py").write_text(f'"""{package}."""\n', encoding="utf-8")


def start(*folders, cwd):
    """How it ends and what it says, with folders to import from in that order."""
    return subprocess.run(
        [sys.executable, "-P", "-S", "-c", START],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(map(str, folders))},
        timeout=180,
    )


def told(done):
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_alone_it_starts(site, tmp_path):
    done = start(site, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.parametrize("name", ["bench", "streamer"])
def test_a_package_of_that_name_in_an_earlier_folder_is_told_with_its_path(site, tmp_path, name):
    put(tmp_path / "other", name, f"{name}/things.py", "")
    line = told(start(tmp_path / "other", site, cwd=tmp_path))
    assert line.startswith(
        f"error: {name}: {tmp_path}/other/{name}/__init__.py is found before that of musc-"
    )
    assert line.endswith(f"; take {tmp_path}/other out of PYTHONPATH\n")


def test_a_module_of_that_name_is_one_too(site, tmp_path):
    put(tmp_path / "other", "dist-1.dist-info", "bench.py", "")
    put(tmp_path / "other", "loads-2.1.dist-info", "loads-2.1.dist-info/RECORD", "loads.py,,\nbench.py,,\n")
    line = told(start(tmp_path / "other", site, cwd=tmp_path))
    assert f"{tmp_path}/other/bench.py, of the distribution loads 2.1, is found before" in line


def test_where_the_folder_is_that_one_is_in_it_is_told(site, tmp_path):
    put(tmp_path, "bench", "bench/things.py", "")
    script = f"import sys; sys.path[:0] = ['{tmp_path}', '{site}']; {START}"
    command = [sys.executable, "-P", "-S", "-c", script]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=tmp_path, env={}, timeout=180
    )
    assert told(done).endswith("; start from another folder\n")


@pytest.mark.parametrize(
    "left",
    ["bench/__init__.py", "bench/other.py", "bench/deeper/other.py"],
    ids=["first", "module", "folder"],
)
def test_a_distribution_in_the_same_folder_is_told_by_name(site, tmp_path, left):
    put(site, "x.dist-info", left, "there = 'is more than was installed'\n")
    put(site, "loads-2.1.dist-info", "loads-2.1.dist-info/RECORD", f"loads.py,,\n{left},,\n")
    line = told(start(site, cwd=tmp_path))
    assert line == f"error: bench: {site}/bench is shared with the distribution loads 2.1; {OWN}"


def test_a_file_that_nobody_installed_is_no_clash(site, tmp_path):
    (site / "bench" / "notes.txt").touch()
    put(site, "loads-2.1.dist-info", "loads-2.1.dist-info/RECORD", "benches/things.py,,\nmy_bench.py,,\n")
    assert start(site, cwd=tmp_path).stdout == "done\n"


def test_what_another_took_away_is_told(site, tmp_path):
    (site / "streamer" / "__init__.py").unlink()
    line = told(start(site, cwd=tmp_path))
    assert line.startswith(f"error: streamer: {site}/streamer/__init__.py is missing, as where another")
    assert line.endswith(
        "; pip install --force-reinstall --no-deps /path/to/musc_online-*.whl brings it back\n"
    )


def test_python_m_says_so_too_where_another_streamer_comes_first(tmp_path):
    put(tmp_path / "other", "streamer", "streamer/runs.py", "")
    put(tmp_path / "other", "x.dist-info", "twitch-0.9.dist-info/RECORD", "streamer/__init__.py,,\n")
    done = subprocess.run(
        [sys.executable, "-m", "bench.replay", "--help"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path / 'other'}{os.pathsep}{ROOT}"},
        timeout=180,
    )
    assert "streamer/__init__.py, of the distribution twitch 0.9, is found before" in told(done)


@pytest.mark.parametrize("module", ["bench.cli", "bench.demo", "bench.replay"])
def test_python_m_says_so_too_where_another_bench_was_written_over_ours(tmp_path, module):
    """The first module of the package is theirs, and asks nothing."""
    folder = tmp_path / "site"
    for name in ("bench", "musc_online", "streamer"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    files = [path for path in folder.rglob("*") if path.is_file()]
    lines = [f"{path.relative_to(folder).as_posix()},sha256=x,{path.stat().st_size}\n" for path in files]
    put(folder, "musc_online-0.1.0.dist-info", "musc_online-0.1.0.dist-info/RECORD", "".join(lines))
    put(folder, "x.dist-info", "loads-2.1.dist-info/RECORD", "bench/__init__.py,,\n")
    (folder / "bench" / "__init__.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-P", "-m", module, "--help"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(folder)},
        timeout=180,
    )
    assert told(done) == f"error: bench: {folder}/bench is shared with the distribution loads 2.1; {OWN}"


@pytest.mark.slow
def test_pip_mixes_two_distributions_in_either_order_and_the_command_says_so(built, tmp_path):
    stranger = tiny_wheel(tmp_path, "loadbench", "3.1", {"bench/__init__.py": "", "bench/runs.py": ""})
    environment = Environment(tmp_path / "environment")

    def status(*command):
        return environment.run(*command, "--help", cwd=tmp_path)

    def check_shared():
        shared = f"error: bench: {environment.packages}/bench is shared with the distribution loadbench 3.1; "
        for command in (["musc-online", "status"], ["python", "-m", "musc_online", "status"]):
            assert told(status(*command)) == f"{shared}{OWN}"

    environment.install(stranger)
    environment.install(built.wheel)
    environment.sees(built.needs)
    check_shared()
    environment.pip("uninstall", "--yes", "loadbench")
    assert "bench/__init__.py is missing" in told(status("musc-online", "status"))
    environment.install(built.wheel)
    assert status("musc-online", "status").returncode == 0
    environment.install(stranger)
    check_shared()
