"""Debian's mosquitto as a broker of one's own, and a subscriber that hears what it says."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions
from streamer_support import PATIENCE_S, until

from streamer.bridges.mqtt.memory import NAME
from streamer.process import OwnProcess, free_port

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
needs_mosquitto = pytest.mark.skipif(
    MOSQUITTO is None, reason="mosquitto is not installed; apt-get install mosquitto"
)


class Broker:
    """Starts at `with` on a port of its own, which it keeps when it is killed and started again.

    Args:
        folder: for its configuration, log and store.
        lines: of its configuration, beside those of its listener.
    """

    def __init__(self, folder: Path, lines: Sequence[str] = ("allow_anonymous true",)) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._lines = folder, lines
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self._folder / "mosquitto.log").read_text(errors="replace")

    def __enter__(self) -> "Broker":
        for _ in range(20):
            self.port = int(free_port().rpartition(":")[2])
            if self._start():
                return self
        raise AssertionError(f"no port was free: {self.log[-500:]}")

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Again, after `kill`: whoever took the port meanwhile lets go of it, or the test fails."""
        end = time.monotonic() + PATIENCE_S
        while not self._start():
            assert time.monotonic() < end, self.log[-500:]

    def kill(self) -> None:
        """`kill -9`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def save(self) -> None:
        """Have it keep sessions and what is retained, for the next time it is killed."""
        store = self._folder / "mosquitto.db"
        before = store.stat().st_ino if store.exists() else None
        self.signal(signal.SIGUSR1)
        until(lambda: store.exists() and store.stat().st_ino != before)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _start(self) -> bool:
        config = self._folder / "mosquitto.conf"
        store = [
            "persistence true",
            f"persistence_location {self._folder}/",
            # What it has confirmed is on its way to those who listen, though it be killed the next moment.
            "max_inflight_messages 0",
            "max_queued_messages 0",
        ]
        user = ["user root"] if os.geteuid() == 0 else []
        config.write_text("\n".join([*user, *store, f"listener {self.port} 127.0.0.1", *self._lines, ""]))
        with (self._folder / "mosquitto.log").open("ab") as log:
            before = len(self.log)
            self._process = subprocess.Popen(
                [str(MOSQUITTO), "-v", "-c", str(config)], stdout=log, stderr=log
            )
        end = time.monotonic() + PATIENCE_S
        while self._process.poll() is None:  # it ends by itself where the port is taken
            if " running\n" in self.log[before:]:
                return True
            assert time.monotonic() < end, self.log[-500:]
            time.sleep(0.02)
        return False


@dataclass(frozen=True)
class Heard:
    """A message as it came."""

    topic: str
    payload: bytes
    retain: bool
    properties: Any

    @property
    def said(self) -> dict[str, Any]:
        """Its JSON."""
        found: dict[str, Any] = json.loads(self.payload)
        return found


class Listener:
    """A subscriber of its own, in MQTT 5, that comes back when the broker does; it may publish as well.

    Args:
        port: of the broker, on loopback.
        topic: a filter.
        name: by which the broker keeps its session, and what it missed.
        prepare: options of its client, before it connects.
        more: filters.
    """

    def __init__(
        self,
        port: int,
        topic: str = "#",
        name: str = "listener",
        prepare: Callable[[paho.Client], None] = lambda _: None,
        more: Sequence[str] = (),
    ) -> None:
        self.heard: list[Heard] = []
        self._news = threading.Condition()
        self._topics, self._port = [*more, topic], port
        self._subscribed = 0
        self._client = paho.Client(CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv5)
        self._client.on_message = self._on_message
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.reconnect_delay_set(1, 1)
        prepare(self._client)

    def __enter__(self) -> "Listener":
        lasting = Properties(PacketTypes.CONNECT)
        lasting.SessionExpiryInterval = 3600
        lasting.ReceiveMaximum = 65535
        self._client.connect("127.0.0.1", self._port, clean_start=False, properties=lasting)
        self._client.loop_start()
        self.wait(lambda: self._subscribed > 0, "its subscription")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Until it holds, which is looked at with every message."""
        with self._news:
            found = self._news.wait_for(lambda: bool(condition()), PATIENCE_S)
        assert found, f"waited in vain for {what}; heard of {sorted({one.topic for one in self.heard})}"

    def wait_back(self, times: int) -> None:
        """Until it has come back to its broker so many times since it began."""
        self.wait(lambda: self._subscribed > times, "its broker to be back")

    def of(self, topic: str) -> list[Heard]:
        """What came on a topic."""
        return [one for one in list(self.heard) if one.topic == topic]

    def until(self, topic: str, count: int = 1) -> list[Heard]:
        """The messages of a topic, once there are so many."""
        self.wait(lambda: len(self.of(topic)) >= count, f"{count} of {topic}")
        return self.of(topic)

    def until_last(self, topic: str, payload: bytes) -> None:
        """Wait until the newest of a topic is this."""
        self.wait(
            lambda: [one.payload for one in self.of(topic)][-1:] == [payload], f"{payload!r} on {topic}"
        )

    def say(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False, **properties: Any
    ) -> None:
        """Publish, and wait for the confirm."""
        of_5 = Properties(PacketTypes.PUBLISH)
        for name, value in properties.items():
            setattr(of_5, name, value)
        self._client.publish(topic, payload, qos, retain, of_5).wait_for_publish(PATIENCE_S)

    def _on_connect(self, client: paho.Client, *_: Any) -> None:
        options = SubscribeOptions(qos=1, retainAsPublished=True)
        client.subscribe([(topic, options) for topic in self._topics])

    def _on_subscribe(self, *_: Any) -> None:
        with self._news:
            self._subscribed += 1
            self._news.notify_all()

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        with self._news:
            self.heard.append(Heard(message.topic, message.payload, message.retain, message.properties))
            self._news.notify_all()


def retained(port: int, topic: str = "#") -> dict[str, bytes]:
    """What the broker keeps for those who come: by topic."""
    mark = f"look/{time.monotonic_ns()}"
    with Listener(port, topic, mark, more=(mark,)) as listener:
        listener.say(mark, b"here")  # behind everything that is retained
        listener.until(mark)
        return {one.topic: one.payload for one in listener.heard if one.retain}


@contextmanager
def broker(folder: Path, lines: Sequence[str] = ("allow_anonymous true",)) -> Iterator[Broker]:
    """A running broker."""
    with Broker(folder / "broker", lines) as running:
        yield running


def password_file(folder: Path, users: dict[str, str]) -> Path:
    """Of mosquitto: each user's password, hashed."""
    path = folder / "users"
    path.write_text("".join(f"{user}:{password}\n" for user, password in users.items()))
    path.chmod(0o600)
    subprocess.run(["mosquitto_passwd", "-U", str(path)], check=True, capture_output=True)
    return path


@contextmanager
def stopped(process: OwnProcess) -> Iterator[None]:
    """It does nothing meanwhile."""
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


def begun(folder: Path) -> list[str]:
    """Ids of the commands that the bridge has begun."""
    with closing(sqlite3.connect(folder / NAME)) as database:
        return [command_id for (command_id,) in database.execute("SELECT id FROM command")]
