"""A process with a cluster of its own and an actor at work in it, for tests that kill.

`gate_child.py [SECONDS]`: with SECONDS a head that answers nothing for so long is given up. It prints one
line of JSON once all is up, and ends in order at the end of standard input or at SIGINT.
"""

import json
import os
import signal
import sys
import threading

import psutil
import ray

from musc_online.config_service import Engine
from streamer.cluster import watching
from streamer.cluster.start import connect


class Busy:
    """Never done, and without a look at anything else."""

    def __init__(self) -> None:
        self._data = b"\0" * (256 << 20)

    def pid(self) -> int:
        return os.getpid()

    def work(self) -> None:
        while True:
            self._data.count(b"x")  # holds the interpreter's lock all along


def failed(error: BaseException) -> None:
    print(f"died: {error}", flush=True)
    os._exit(1)


def main() -> None:
    if len(sys.argv) > 1:
        watching._SILENT_S = float(sys.argv[1])
    stop = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGHUP, lambda *_: stop.set())
    cluster = connect(Engine(name="ray"), failed)
    options = cluster.options(1.0)
    remote = ray.remote(Busy)
    busy, idle = remote.options(**options).remote(), remote.options(**options).remote()
    pids = ray.get([busy.pid.remote(), idle.pid.remote()])
    _held = busy.work.remote()
    processes = {one.pid: one.name() for one in psutil.Process().children(recursive=True)}
    print(json.dumps({"processes": processes, "actors": pids}), flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    stop.wait()
    ray.get(idle.pid.remote())
    cluster.close()
    print("ended", flush=True)


if __name__ == "__main__":
    main()
