"""What every test may use: golden arrays, published tables, real photographs; and how hypothesis runs."""

import csv
import gc
import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cluster_support
import numpy as np
import pytest
import structlog
from hypothesis import HealthCheck, settings
from order_support import in_order, scheduler

ENGINES = ("local", "ray")
DATA = Path(__file__).resolve().parent / "data"
PHOTOGRAPHS = Path(__file__).resolve().parents[2] / "shared" / "data"
"""They lie beside the checkout: their licences keep them out of it."""

# What the command lines print must not depend on the terminal the tests are run from.
for _name in ("COLUMNS", "LINES", "FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
    os.environ.pop(_name, None)

# Processes that tests start and then interrupt or hang up on inherit what a shell's `&` and `nohup` ignore.
for _signal, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_signal) == signal.SIG_IGN:
        signal.signal(_signal, _usual)

# Derandomised: a run finds what it found before, on every machine.
settings.register_profile(
    "default", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.load_profile("default")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Who runs which files, where several are run at a time."""
    return scheduler(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--engine", choices=ENGINES, help="run tests marked `engines` on this engine alone")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests marked `engines` run on each engine; by the parameter `engine`, `local` or `ray`.

    Without `--engine` those run on Ray that are marked `engines("always")`, as slow ones, or
    `engines("quick")`.
    """
    marked = metafunc.definition.get_closest_marker("engines")
    if marked is None or metafunc.definition.get_closest_marker("one_process") is not None:
        return
    wanted = metafunc.config.getoption("engine")
    if wanted is not None:
        metafunc.parametrize("engine", [wanted], indirect=True)
        return
    on_ray = pytest.param("ray", marks=[] if "quick" in marked.args else pytest.mark.slow)
    metafunc.parametrize("engine", ["local", *([on_ray] if marked.args else [])], indirect=True)


@pytest.fixture(autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """On what the services of a test run; `local` where it is not marked to run on each."""
    name = getattr(request, "param", "local")
    if name == "ray":
        cluster_support.shared_cluster()
    monkeypatch.setitem(cluster_support.ENGINE, "name", name)
    return str(name)


@pytest.fixture(scope="session", autouse=True)
def shared_cluster_ends() -> Iterator[None]:
    """What tests on Ray have together ends with the session."""
    yield
    cluster_support.end_shared()


def pytest_collection() -> None:
    """What is imported with the tests stays: Python does not look through it for garbage meanwhile."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Nor does it later, whenever it looks."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes longest is begun first, where several files are run at a time."""
    if hasattr(config, "workerinput"):
        in_order(items)


@pytest.fixture(scope="session", autouse=True)
def runtime_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What services keep of scored frames where they are to keep nothing is this run's alone."""
    os.environ["XDG_RUNTIME_DIR"] = str(tmp_path_factory.mktemp("runtime"))


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """What a command makes of the logs ends with the test that runs it in its own process."""
    handlers = list(logging.root.handlers)
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
        logging.captureWarnings(False)
        logging.root.handlers[:] = [one for one in logging.root.handlers if one in handlers]


@pytest.fixture(scope="session")
def photographs() -> Path:
    """The folder of real images, one folder a category (MVTec AD layout)."""
    if not PHOTOGRAPHS.is_dir():
        pytest.skip("the real photographs (../shared/data) are not beside this checkout")
    return PHOTOGRAPHS


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, np.ndarray]]:
    """Arrays of the published code by the name of their file; `data/README.md` says what they hold."""

    def read(name: str) -> dict[str, np.ndarray]:
        with np.load(DATA / f"{name}.npz", allow_pickle=False) as arrays:
            return dict(arrays)

    return read


@pytest.fixture(scope="session")
def published_table() -> Callable[[str], list[dict[str, str]]]:
    """Rows of one of the authors' tables by the name of its file."""

    def read(name: str) -> list[dict[str, str]]:
        with (DATA / "published" / f"{name}.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    return read
