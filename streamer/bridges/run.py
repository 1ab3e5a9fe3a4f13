"""The process of a bridge: its parts put together, and ended in order."""

import asyncio
import json
import signal
from contextlib import ExitStack
from pathlib import Path

import structlog

from streamer.auth import client_keys
from streamer.bridges.config import Loaded
from streamer.bridges.deliver import Deliverer
from streamer.bridges.follow import BridgeFollower
from streamer.bridges.queue import Queue
from streamer.bridges.status import Figures, answering
from streamer.bridges.telling import Telling
from streamer.folder_lock import FolderLock
from streamer.following import logs
from streamer.following.supervised import Supervised
from streamer.notify import Notify

log = structlog.get_logger()


def serve(loaded: Loaded, ready_file: Path | None = None) -> None:
    """Hand on what a detector says until a signal.

    Args:
        loaded: the bridge and its whole configuration.
        ready_file: gets `{"bridge", "status"}` once it runs: its name, and where it answers scrapes or null.

    Raises:
        StreamerError: a folder, key or address that cannot be used.
    """
    logs.configure(loaded.common.log.level)
    asyncio.run(_serve(loaded, ready_file))
    log.info("ended", bridge=loaded.name)


async def _serve(loaded: Loaded, ready_file: Path | None) -> None:
    common, loop = loaded.common, asyncio.get_running_loop()
    keys = client_keys(common.detector.key, common.detector.server_key)
    with ExitStack() as ending:
        notify = ending.enter_context(Notify())
        ending.callback(FolderLock(common.queue.path, "queue.path", "bridge").release)
        queue = open_queue(loaded)
        ending.callback(queue.close)
        deliverer = Deliverer(loaded.name, queue, loaded.bridge.make(loaded.section, common), common.retry)

        def stop() -> None:
            notify.stopping()
            deliverer.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        follower = BridgeFollower(
            common.detector, keys, queue, Telling(common.tell, maps=loaded.maps), pictures=loaded.pictures,
            wake=lambda: loop.call_soon_threadsafe(deliverer.wake),
            patience_s=common.detector.history_patience_s,
        )  # fmt: skip
        ending.callback(follower.stop)

        broken: list[BaseException] = []

        def failed(error: BaseException) -> None:
            broken.append(error)
            loop.call_soon_threadsafe(deliverer.stop)

        figures = Figures(loaded.name, queue, deliverer, follower)
        status = ending.enter_context(answering(figures, common.status, failed))
        follower.start()
        log.info("ready", bridge=loaded.name, status=status)
        if ready_file is not None:
            _tell(ready_file, {"bridge": loaded.name, "status": status})
        supervised = Supervised(
            notify, follower, lambda: _shown(follower, deliverer), progresses=deliverer.progresses
        )
        supervised.ready()
        turning = asyncio.create_task(supervised.turning())
        ending.callback(turning.cancel)
        await deliverer.run()
        if broken:  # a bridge with a dead part must not look alive
            raise broken[0]


def _shown(follower: BridgeFollower, deliverer: Deliverer) -> str:
    """How the bridge is, for its supervisor."""
    heard = "heard" if follower.presence.is_up else "not heard"
    there = {True: "there", False: "away", None: "not tried yet"}[deliverer.up]
    return f"the detector is {heard}, the receiver is {there}"


def open_queue(loaded: Loaded) -> Queue:
    """The queue of a bridge, whose folder is there.

    Raises:
        StreamerError: it cannot be opened, or is another's.
    """
    folder = loaded.common.queue
    return Queue(folder.path, loaded.name, max_items=folder.max_items, max_bytes=folder.max_bytes)


def _tell(path: Path, ready: dict[str, str | None]) -> None:
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(json.dumps(ready), encoding="utf-8")
    draft.replace(path)
