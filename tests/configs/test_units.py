"""The units in configs/: what systemd thinks of them, and what they start, under a supervisor."""

import shutil
import socket
import subprocess
import sys

import pytest
import yaml
from streamer_support import ANY_PORT, Camera, Screen, one_thread, settings
from systemd_support import CONFIGS, INSTALLED, ROOT, Supervisor, Unit

from streamer.process import free_port

__all__ = ["one_thread"]

UNITS = {"musc-online": "", "musc-online-page": "", "musc-online-bridge@": "files"}
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze; Debian's package: systemd"
)


@pytest.fixture
def installed(tmp_path):
    """The units as they are, but for the program, which is not installed here."""
    for path in CONFIGS.glob("*.service"):
        (tmp_path / path.name).write_text(path.read_text().replace(INSTALLED, sys.executable))
    shutil.copy(tmp_path / "musc-online-bridge@.service", tmp_path / "musc-online-bridge@files.service")
    return [tmp_path / f"{name.replace('@', '@files')}.service" for name in UNITS]


def analyze(*words):
    done = subprocess.run(["systemd-analyze", *map(str, words)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@needs_systemd
def test_systemd_has_nothing_against_the_units(installed):
    status, said = analyze("verify", *installed)
    ours = [line for line in said.splitlines() if "musc-online" in line]
    assert (status, ours) == (0, [])


@needs_systemd
@pytest.mark.parametrize("number", range(len(UNITS)), ids=list(UNITS))
def test_a_unit_is_exposed_to_little(installed, number):
    """2.0 of 10 at most; `systemd-analyze security` says why."""
    status, said = analyze("security", "--offline=yes", "--threshold=20", "--no-pager", installed[number])
    if "unrecognized option" in said:
        pytest.skip("systemd-analyze is older than 250")
    assert status == 0, said


def test_every_unit_is_looked_at_and_says_what_all_must():
    assert {path.stem for path in CONFIGS.glob("*.service")} == set(UNITS)
    for name, instance in UNITS.items():
        unit = Unit(CONFIGS / f"{name}.service", ROOT, instance)
        said = [unit.one(key) for key in ("Type", "NotifyAccess", "Restart", "RestartPreventExitStatus")]
        assert said == ["notify", "main", "always", "2"]
        assert float(unit.one("WatchdogSec")) >= 30
        assert "PYTHONFAULTHANDLER=1" in unit.all("Environment")
        # libzmq aborts where it may not ask which network interfaces there are.
        assert "AF_NETLINK" in unit.one("RestrictAddressFamilies").split()


def started(tmp_path, name, config, *, watchdog_s=2.0, **more):
    """The supervisor of a unit with a configuration."""
    unit = Unit(CONFIGS / f"{name}.service", tmp_path, UNITS[name])
    unit.config.parent.mkdir(parents=True)
    unit.config.write_text(yaml.safe_dump(config))
    return Supervisor(unit, tmp_path, watchdog_s=watchdog_s, **more)


def ended_in_order(supervisor):
    """SIGTERM, and the end of it."""
    assert supervisor.terminate() == 0, supervisor.log
    assert list(supervisor.words()).count("STOPPING=1") == 1
    assert "Traceback" not in supervisor.log


class Ports:
    """Where a detector of a configuration is, as `Screen` and `Camera` ask a service."""

    def __init__(self, config):
        self.endpoints = config["transport"]


def test_a_detector_is_ready_when_it_says_so_and_ends_in_order(tmp_path, one_thread):
    config = settings(history={"path": "history.sqlite"}, snapshot={"path": "rings"})
    config["transport"] |= {name: free_port() for name, at in config["transport"].items() if at == ANY_PORT}
    where = Ports(config)
    with started(tmp_path, "musc-online", config) as supervisor:
        assert supervisor.until("READY=1".__eq__)[:1] == ["STATUS=starting"]
        for endpoint in where.endpoints.values():
            if str(endpoint).startswith("tcp://"):  # at once: ready is when they are bound
                socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2]))).close()
        with Screen(where) as screen, Camera(where.endpoints["frames"]) as camera:
            camera.picture(0)
            assert [score["frame_id"] for score in screen.until(1, "score")] == ["line-0"]
            supervisor.until("STATUS=1 stream, 1 scored".__eq__)
            supervisor.until("WATCHDOG=1".__eq__)
            workers = supervisor.children()
            assert workers
            assert not any(
                "NOTIFY_SOCKET" in variables or "WATCHDOG_USEC" in variables for variables in workers
            )
            ended_in_order(supervisor)
    state = tmp_path / "var" / "lib" / "musc-online"
    assert (state / "history.sqlite").exists()
    assert len(list((state / "rings").glob("line-*.safetensors"))) == 1


def page_config(_tmp_path):
    return {"listen": {"address": free_port().removeprefix("tcp://")}, "store": {"path": "page"}}


def bridge_config(tmp_path):
    return {
        "files": {"folder": str(tmp_path / "told")},
        "queue": {"path": "queue"},
        "status": {"endpoint": None},
    }


@pytest.mark.parametrize(
    ("name", "config"), [("musc-online-page", page_config), ("musc-online-bridge@", bridge_config)]
)
def test_page_and_bridge_speak_from_ready_to_the_end(tmp_path, name, config):
    """No detector is there: they are up all the same, and say that they do not hear it."""
    detector = {"scores": free_port(), "control": free_port()}
    with started(tmp_path, name, {"detector": detector, **config(tmp_path)}) as supervisor:
        first = supervisor.until("READY=1".__eq__)
        then = supervisor.until("WATCHDOG=1".__eq__) + supervisor.until("WATCHDOG=1".__eq__)
        assert first == ["READY=1"]
        assert then[0].startswith("STATUS=the detector is not heard")
        ended_in_order(supervisor)


def test_a_configuration_that_cannot_work_is_status_2_and_never_ready(tmp_path):
    with started(tmp_path, "musc-online", {"transprot": {}}) as supervisor:
        assert "READY=1" not in list(supervisor.words())
        assert supervisor.process.wait() == 2


HUNG = """
import threading
from musc_online import backbones
from streamer.server import main

class Hung:
    def __init__(self, backbone):
        self.backbone = backbone

    def __getattr__(self, name):
        return getattr(self.backbone, name)

    def extract(self, inputs):
        threading.Event().wait()

load = backbones.load_configured
backbones.load_configured = lambda config: Hung(load(config))
main.serve(__import__("pathlib").Path({config!r}), None)
"""


@pytest.mark.slow  # ten times its watchdog until the first is told
def test_one_that_hangs_is_not_called_alive_says_where_and_is_started_again(tmp_path, one_thread):
    config = settings()
    config["transport"] |= {"frames": free_port()}
    path = str(tmp_path / "etc" / "musc-online" / "musc-online.yaml")
    command = [sys.executable, "-c", HUNG.format(config=path)]
    with started(tmp_path, "musc-online", config, watchdog_s=1.0, command=command) as supervisor:
        supervisor.until("READY=1".__eq__)
        with Camera(config["transport"]["frames"]) as camera:
            camera.picture(0)
            supervisor.until(lambda said: said.startswith("STATUS=stuck in 'extract' for "))
            said = [supervisor.until(lambda said: said.startswith("STATUS=stuck")) for _ in range(2)]
            assert "WATCHDOG=1" not in [word for words in said for word in words]
            supervisor.abort()
        assert '"event": "stuck"' in supervisor.log
        assert "in extract" in supervisor.log  # where each thread was: PYTHONFAULTHANDLER
        supervisor.start()
        supervisor.until("READY=1".__eq__)
        supervisor.until("WATCHDOG=1".__eq__)
        assert supervisor.terminate() == 0
