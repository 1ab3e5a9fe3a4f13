"""The process of a service: configuration read, signals, progress told, and how it ends."""

import gc
import json
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from musc_online import config as configuration
from musc_online.config import Config as Config  # noqa: PLC0414  (the command's, too)
from musc_online.errors import MuscError
from streamer.errors import StreamerError
from streamer.notify import Notify
from streamer.server import logs
from streamer.server.output import Output
from streamer.server.supervised import Supervised

if TYPE_CHECKING:
    from streamer.server.engine import Engine, MakeEngine, Parts
    from streamer.server.service import Service

log = structlog.get_logger()


class Begun(Protocol):
    """What makes an engine, and is closed after it, or where it made none."""

    def __call__(self, parts: "Parts") -> "Engine":
        """The engine of a service."""
        ...

    def give_up(self) -> None:
        """Have its making end with an error, if it waits; a signal handler may call it."""
        ...

    def close(self) -> None:
        """Let go of everything; done twice it does nothing."""
        ...


def serve(
    path: Path | None,
    ready_file: Path | None,
    name: str | None = None,
    engines: Mapping[str, Callable[[Config], Begun]] = MappingProxyType({}),
) -> None:
    """`run` with the configuration in `path` (None: all defaults).

    Args:
        path: of a YAML file.
        ready_file: as `run` takes it.
        name: of the engine, over `engine.name`.
        engines: what begins another engine than the `local` one, by its name.

    Raises:
        StreamerError: a configuration, weights, port or folder that cannot be used.
    """
    try:
        config = _as_served(configuration.load(path))
        if name is not None:
            config = config.model_copy(update={"engine": config.engine.model_copy(update={"name": name})})
        begin = engines.get(config.engine.name)
        if begin is None:
            run(config, ready_file)
            return
        begun = begin(config)
        try:
            run(config, ready_file, begun, begun.give_up)
        finally:
            begun.close()
    except MuscError as error:
        raise StreamerError(str(error)) from None


def _as_served(config: Config) -> Config:
    """A service rounds as fast as its processor can where nobody said how precise it is to be.

    The library and replay keep float32, in which the published results are reproduced.
    """
    if "precision" in config.backbone.model_fields_set:
        return config
    return config.model_copy(update={"backbone": config.backbone.model_copy(update={"precision": "auto"})})


def run(
    config: Config,
    ready_file: Path | None = None,
    engine: "MakeEngine | None" = None,
    give_up: Callable[[], None] = lambda: None,
) -> None:
    """Serve until a signal or a `shutdown` request.

    Args:
        config: the whole configuration.
        ready_file: gets `{"endpoints": {...}, "model_id"}` once frames are accepted; written in one piece.
        engine: makes another engine than this process.
        give_up: called at a signal: whoever makes that engine is not to wait for others any more.
    """
    with Output() as output, Notify() as notify:
        logs.configure(config.log.level, config.log.format)
        notify.status("starting")
        service = _loaded(config, engine)
        service.log_lost = output.lost
        _stop_by_signal(service, give_up)
        try:
            service.start()
        except StreamerError as error:
            if service.failure is None and service.wait(0.0):  # a signal came: whoever waited gave up
                log.info("stopped", text=str(error))
                return
            raise
        _say_ready(service, ready_file)
        notify.ready()
        supervised = Supervised(service, notify)
        supervised.start()
        _watch(service, config.log.progress_s, output)
        log.info("stopping", queued=service.ledger.totals()["queued"])
        supervised.stopping()
        try:
            service.stop()
        except StreamerError as error:
            # Threads of a service that died may never end; a supervisor restarts the process.
            log.critical("died", error=str(error))
            output.close()
            os._exit(1)
        supervised.stop()
        log.info("stopped", **_progress(service.ledger.totals()))


def _loaded(config: Config, engine: "MakeEngine | None" = None) -> "Service":
    """The service and all its libraries.

    They make some hundred thousand objects that stay. Python would look through them for garbage again and
    again while they are imported, for a fifth of what a start costs, and now and then ever after.
    """
    gc.disable()
    try:
        from streamer.server.service import Service  # noqa: PLC0415  (slow: a wrong configuration is told before)

        service = Service(config, engine=engine)
        gc.collect()
        gc.freeze()
    finally:
        gc.enable()
    return service


def _stop_by_signal(service: "Service", give_up: Callable[[], None]) -> None:
    """End in order at Ctrl-C, SIGTERM, and when the terminal goes away (unless `nohup` says it may)."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        service.ask_to_stop()
        give_up()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, stop)


def _say_ready(service: "Service", ready_file: Path | None) -> None:
    ready = {"endpoints": service.endpoints, "model_id": service.status()["model_id"]}
    if ready_file is not None:
        partial = ready_file.with_name(f"{ready_file.name}.part")
        partial.write_text(json.dumps(ready), encoding="utf-8")
        partial.replace(ready_file)
    log.info("ready", **ready)


def _watch(service: "Service", every_s: float, output: Output) -> None:
    """Say how far it is, on one line of a terminal or as a log line, until asked to stop."""
    terminal = logs.is_terminal()
    every_s = 1.0 if terminal else every_s
    before: dict[str, Any] = {}
    while not service.wait(every_s):
        now = service.ledger.totals()
        if now == before:
            continue
        fps = (now["scored"] - before.get("scored", 0)) / every_s
        before = now
        shown = {**_progress(now), "fps": round(fps, 1)}
        if terminal:
            output.stand(shown)
        else:
            log.info("progress", **shown)
    output.stand(None)


def _progress(totals: dict[str, Any]) -> dict[str, int]:
    return {
        "received": totals["received"],
        "scored": totals["scored"],
        "dropped": sum(totals["dropped"].values()),
        "refused": sum(totals["refused"].values()),
        "queued": totals["queued"],
    }
