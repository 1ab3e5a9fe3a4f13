"""Debian's Prometheus as a process with the files of `configs`, and what rules and dashboard name."""

import json
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml
from streamer_support import PATIENCE_S, until

from streamer.process import free_port

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "configs" / "prometheus"
BOARD = json.loads((ROOT / "configs" / "grafana" / "musc-online.json").read_text(encoding="utf-8"))
_TRIES = 5
_NO_METRICS = {"ALERTS", "Inf"}
_FASTER = 15
# Than the files say: a second in place of 15.
_PUT_IN = {"$__rate_interval": "1m", "$instance": ".*", "$stream": ".*", "$bridge": ".*"}
# What Grafana puts in their place.
_WORDS = {"and", "or", "unless", "on", "without", "by", "sum", "max", "count", "offset", "group_left"}


def program(name):
    """The path of `prometheus` or `promtool`; skips the test where Debian's package is missing."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing: Debian's package prometheus is not installed")
    return found


def promtool(*arguments, folder=FOLDER):
    """What it says, once it has ended well."""
    command = [program("promtool"), *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules(name="musc-rules.yml"):
    """Every rule of one of the files, as it stands there."""
    groups = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts():
    """The alerts by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def metrics_of(expression):
    """Names of metrics in PromQL: what is no word of the language, no function, no label and no text."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", expression)
    bare = re.sub(r"\{[^}]*\}", " ", bare)
    bare = re.sub(r"\[[^\]]*\]|\b(?:offset)\s+\w+", " ", bare)
    bare = re.sub(r"\b(?:by|on|without|group_left|ignoring)\s*\([^)]*\)", " ", bare)
    names = re.findall(r"(?<![\w:.])([A-Za-z_:][\w:]*)(?!\s*\(|[\w:])", bare)
    return {name for name in names if name not in _WORDS | _NO_METRICS}


def selectors_of(expression):
    """Names of metrics in PromQL, each with what it asks of labels: `name{label="value"}`."""
    return {
        found[0]
        for name in metrics_of(expression)
        for found in re.finditer(rf"(?<![\w:.]){name}(?![\w:])(?:\{{[^}}]*\}})?", expression)
    }


def labels_of(expression):
    """Labels that PromQL groups or matches by."""
    lists = re.findall(r"\b(?:by|on|without|group_left)\s*\(([^)]*)\)", expression)
    return {label.strip() for one in lists for label in one.split(",") if label.strip()}


def board_expressions():
    """Of the dashboard's panels, variables and annotations, as Prometheus gets them."""
    found = [target["expr"] for panel in BOARD["panels"] for target in panel.get("targets", [])]
    found += [
        re.fullmatch(r"label_values\((.*), (\w+)\)", one["definition"])[1]
        for one in BOARD["templating"]["list"]
        if one["type"] == "query"
    ]
    found += [one["expr"] for one in BOARD["annotations"]["list"]]
    for name, value in _PUT_IN.items():
        found = [expression.replace(name, value) for expression in found]
    assert not [expression for expression in found if "$" in expression]
    return found


def _faster(duration):
    """`30s` or `5m` in so much less."""
    seconds = int(duration[:-1]) * {"s": 1, "m": 60}[duration[-1]]
    return f"{seconds * 1000 // _FASTER}ms"


class Prometheus:
    """Starts at `with`, and is ended after it. All is `_FASTER`: scrapes, evaluations, the `for` of alerts.

    Args:
        folder: for its files and data.
        targets: by job of `prometheus.yml`, `host:port`; a job without one is left out.
        plant: rules of `musc-plant.yml`, for that file's own.
        token: the file with what scrapes show.
    """

    def __init__(self, folder, targets, plant=(), token=None):
        self._program = program("prometheus")
        self._folder, self._process, self._url = folder, None, ""
        folder.mkdir()
        for path in FOLDER.glob("*.yml"):
            shutil.copy(path, folder)
        values = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
        values["global"] = {name: _faster(value) for name, value in values["global"].items()}
        values["scrape_configs"] = [
            {**job, "static_configs": [{"targets": [targets[job["job_name"]]]}]}
            | ({} if token is None else {"authorization": {"credentials_file": str(token)}})
            for job in values["scrape_configs"]
            if job["job_name"] in targets
        ]
        self._write("prometheus.yml", values)
        groups = yaml.safe_load((FOLDER / "musc-rules.yml").read_text(encoding="utf-8"))
        for rule in (rule for group in groups["groups"] for rule in group["rules"] if "for" in rule):
            rule["for"] = _faster(rule["for"])
        self._write("musc-rules.yml", groups)
        if plant:
            self._write("musc-plant.yml", {"groups": [{"name": "musc-plant", "rules": list(plant)}]})

    def _write(self, name, values):
        (self._folder / name).write_text(yaml.safe_dump(values), encoding="utf-8")

    def __enter__(self):
        for _ in range(_TRIES):  # another process may take the port first
            if self._start():
                return self
        pytest.fail(f"prometheus did not come up: {self.log[-2000:]}")

    def kill_and_start(self):
        """What `kill -9` does to it, and what its data then are worth."""
        self._process.kill()
        self._process.wait()
        self.__enter__()

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def log(self):
        return (self._folder / "log").read_text(encoding="utf-8", errors="replace")

    def _start(self):
        place = free_port().removeprefix("tcp://")
        self._url = f"http://{place}"
        options = {"config.file": "prometheus.yml", "storage.tsdb.path": "data", "web.listen-address": place}
        command = [self._program, *(f"--{name}={value}" for name, value in options.items())]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log)
        end = time.monotonic() + PATIENCE_S
        while self._process.poll() is None and time.monotonic() < end:
            if self._is_ready():
                return True
            time.sleep(0.05)
        self._process.kill()
        self._process.wait()
        return False

    def _is_ready(self):
        try:
            self._get("/-/ready")
        except OSError:
            return False
        return self._process.poll() is None  # it, and not who took its port

    def _get(self, path, **query):
        # Not by way of a proxy that the environment may name.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        url = f"{self._url}{path}?{urllib.parse.urlencode(query)}"
        with opener.open(url, timeout=PATIENCE_S) as answer:
            return answer.read()

    def api(self, path, **query):
        """`data` of what its API answers."""
        return json.loads(self._get(f"/api/v1/{path}", **query))["data"]

    def value(self, expression):
        """Of the first series there is by now; None where there is none."""
        found = self.api("query", query=expression)["result"]
        return float(found[0]["value"][1]) if found else None

    def alert(self, name):
        """The alert as its API shows it, or None."""
        found = [one for one in self.api("alerts")["alerts"] if one["labels"]["alertname"] == name]
        return found[0] if found else None

    def is_in(self, name, *states):
        """Whether the alert is `pending` or `firing`; None is neither."""
        found = self.alert(name)
        return (None if found is None else found["state"]) in states

    def wait_for(self, name, *states):
        """Until the alert is in one of these states; what it then is."""
        until(lambda: self.is_in(name, *states))
        return self.alert(name)
