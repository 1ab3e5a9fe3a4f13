"""The detector as a service: sockets bound, threads started, stopped in the order that loses nothing."""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from musc_online.backbones import Backbone
from musc_online.config import Config
from musc_online.detector import Detector
from streamer import auth
from streamer.errors import StreamerError
from streamer.server import allow_list
from streamer.server.control import Control
from streamer.server.disk import Disk
from streamer.server.engine import Engine, LocalEngine, MakeEngine, Parts
from streamer.server.handlers import handlers
from streamer.server.intake import Intake
from streamer.server.metrics import Metrics
from streamer.server.outbox import Outbox, Outgoing
from streamer.server.outcomes import Ledger, Outcomes
from streamer.server.ports import Bound, bind_all
from streamer.server.preparing import wire_limits
from streamer.server.receive import Receiver
from streamer.server.sleep import Sleep
from streamer.server.sources import Sources, in_heartbeat
from streamer.server.standing import Standing
from streamer.server.streams import Streams
from streamer.sockets import Context, Security
from streamer.wire.frame import NO_STREAM

_PUBLISHED_S = 10.0


class Service:
    """Everything a running detector is made of. `start`, then `wait`, then `stop` from the same thread.

    Args:
        config: the whole configuration.
        backbone: loaded by the caller, for the engine of this process; None has `start` load it.
        engine: makes another engine than that.

    Raises:
        ConfigError, CapacityError: a configuration that cannot work.
        StreamerError: keys, the history, the snapshots' folder or a metrics port cannot be used.
    """

    engine: Engine
    """Made in `start`."""

    def __init__(
        self, config: Config, backbone: Backbone | None = None, engine: MakeEngine | None = None
    ) -> None:
        self.config = config
        self._make_engine = engine or partial(LocalEngine, backbone=backbone)
        self.ledger = Ledger()
        self.failure: BaseException | None = None
        self.endpoints: dict[str, str] = {}
        self.log_lost: Callable[[], int] = lambda: 0
        self._stop_asked = threading.Event()
        self._begun_ns = time.monotonic_ns()
        Detector(config)  # refuses a ring that does not fit before a port is open
        self._disk = Disk(config)
        self.history = self._disk.history
        self._context = Context()
        try:
            self.streams = Streams(config, self.history.known, self._closed)
            self.sources = Sources(config.limits.streams + config.limits.sleeping, self.streams.has_ring)
            keys = None if config.security.keys is None else auth.load_server(config.security.keys)
            self._authenticator = None if keys is None else allow_list.start(self._context, keys)
        except Exception:
            self._context.term()
            self._disk.close()
            raise
        self.metrics = Metrics(self.status, self.ledger.since_start)
        self._security = Security(keys, config.transport.insecure)

    def start(self) -> None:
        """Bind, make the engine, start the threads; `endpoints` says where it can be reached.

        Raises:
            StreamerError: a port is taken or would be open to the network.
            WeightsError, ConfigError: the backbone cannot be loaded.
            StreamerError: or the engine not be reached.
        """
        bound: Bound | None = None
        try:
            bound = bind_all(self._context, self.config, self._security)
            self._make_parts(bound)
            if self.config.metrics.endpoint is not None:
                self.metrics.serve(self.config.metrics.endpoint, self._security, self._failed)
            self._start_threads()
        except BaseException:
            if bound is not None:
                bound.close()
            self._end()
            raise
        self.endpoints = bound.endpoints
        if self.metrics.endpoint is not None:
            self.endpoints["metrics"] = self.metrics.endpoint

    def ask_to_stop(self) -> None:
        """Make `wait` return; from any thread or signal handler."""
        self._stop_asked.set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until asked to stop, or until a thread died; False if time ran out."""
        return self._stop_asked.wait(timeout_s)

    def overdue(self, longest_s: float) -> list[tuple[str, float]]:
        """What its threads have been at for longer than `longest_s`, and for how many seconds."""
        # What sleep and control do is entered in the progress of `snapshots`.
        parts = (self.pipeline, self._receiver, self._outbox, self.snapshots, self.metrics)
        return [step for part in parts for step in part.progress.overdue(longest_s)]

    def tally(self) -> dict[str, int]:
        """Counts that say whether it gets on."""
        return self._standing.tally()

    def stop(self) -> None:
        """Take no more frames, score and publish those accepted, acknowledge, close everything.

        Raises:
            StreamerError: the service had died of an error of its own.
        """
        # A part that died may hold up the others for ever, and its sockets belong to it: leave them.
        self._stop_part(self._receiver.stop)
        self._stop_part(self._control.stop)
        self._stop_part(self.snapshots.stop)
        self._stop_part(self.sleep.stop)
        self._intake.close()
        self._stop_part(self.pipeline.join)
        self._stop_part(self.engine.end_workers)
        self._stop_part(self._save_last)
        self._stop_part(self._outbox.stop)
        self._stop_part(self._receiver.finish)
        self._end()

    def status(self) -> dict[str, Any]:
        """What an operator asks; `received = scored + dropped + refused + queued`, in all and per stream."""
        return self._standing.status(self.endpoints, self.log_lost())

    def _closed(self, stream: str) -> None:
        self.ledger.close(stream)
        self.metrics.forget(stream)

    def _stop_part(self, stop: Callable[[], None]) -> None:
        if self.failure is None:
            stop()
        if self.failure is not None:
            self.engine.end_workers()
            raise StreamerError(f"the service died: {type(self.failure).__name__}: {self.failure}")

    def _save_last(self) -> None:
        # Everything is scored; once it is published too, a restart needs nothing sent again.
        streams = self.streams.known()
        self.ledger.wait_for(lambda: all(stream.idle for stream in streams), _PUBLISHED_S)
        self.snapshots.save_last()

    def _make_parts(self, bound: Bound) -> None:
        config, limits = self.config, wire_limits(self.config)
        outcomes = Outcomes(self.ledger)
        self._intake = Intake(int(config.limits.queue_bytes))
        self._outbox = outcomes.outbox = Outbox(
            bound.scores,
            bound.acks_out,
            self.history,
            self.ledger,
            map_encoding=config.transport.map_encoding,
            heartbeat=self._heartbeat,
            heartbeat_s=config.transport.heartbeat_s,
            observe=self.metrics.observe,
            failed=self._failed,
        )
        observe, observe_score = self.metrics.observe, self.metrics.observe_score
        self.engine = self._make_engine(
            Parts(
                config, limits, self.streams, outcomes, self._outbox, self._intake, observe, observe_score,
                self._failed,
            )
        )  # fmt: skip
        self.pipeline, self.scoring = self.engine.pipeline, self.engine.scoring
        self.snapshots = self.engine.snapshots
        self.sleep = Sleep(config.sleep_after_s, self.streams, self.snapshots, self._failed)
        self._receiver = Receiver(
            bound.ports,
            self._intake,
            self.streams,
            outcomes,
            limits,
            config.limits.rate,
            self.sources,
            self._failed,
        )
        self._control = Control(bound.control, handlers(self), self._failed, self.snapshots.progress)
        self._standing = Standing(
            config, self._begun_ns, self.ledger, self.streams, self.sources, self.history, self._outbox,
            self._intake, self.engine,
        )  # fmt: skip

    def _start_threads(self) -> None:
        """Start every part; if one fails, those that run are ended in order, each closing its own sockets."""
        parts: list[tuple[Callable[[], object], Callable[[], object]]] = [
            (self._outbox.start, self._outbox.stop),
            (self._resume, lambda: None),
            *((start, self._ending(stop)) for start, stop in self.engine.steps()),
            (self.sleep.start, self.sleep.stop),
            (self._receiver.start, self._end_receiver),
            (self._control.start, self._control.stop),
        ]
        stops: list[Callable[[], object]] = []
        try:
            for start, stop in parts:
                start()
                stops.append(stop)
        except BaseException:
            for stop in reversed(stops):
                stop()
            raise

    def _resume(self) -> None:
        """Tallies as the history knows them, rings from their snapshots, then streams without a ring."""
        tallies = self.history.tallies()
        for name, tally in tallies.items():
            self.ledger.resume(name, tally)
        self.engine.resume()
        for name in tallies:
            if name == NO_STREAM or self.streams.get(name) is not None:
                continue
            if self.streams.has_place():
                self.streams.admit(name)
            else:
                self.ledger.close(name)

    def _ending(self, stop: Callable[[], object]) -> Callable[[], object]:
        def end() -> None:
            self._intake.close()  # the pipeline ends when that is empty
            stop()

        return end

    def _end_receiver(self) -> None:
        self._receiver.stop()
        self._receiver.finish()

    def _heartbeat(self) -> list[Outgoing]:
        if self._authenticator is not None and not self._authenticator.is_alive():
            self._failed(RuntimeError("the thread that says who may connect has died"))
        status = self.status()
        streams = status.pop("streams")
        del status["engine"]  # as long as there are streams, and for whoever asks
        status |= in_heartbeat(status["sources"])
        messages = [Outgoing(NO_STREAM, "status", {"stream": NO_STREAM, **status})]
        messages += [Outgoing(one["stream"], "source", one) for one in self.sources.fallen_silent()]
        for stream in self.streams.known():
            if stream.name in streams:  # else its first frame is only just being entered
                messages.append(
                    Outgoing(stream.name, "status", {"stream": stream.name, **streams[stream.name]})
                )
        return messages

    def _failed(self, error: BaseException) -> None:
        self.failure = error
        self._stop_asked.set()

    def _end(self) -> None:
        self.metrics.close()
        if self._authenticator is not None:
            self._authenticator.stop()
            self._authenticator = None
        self._context.term()
        self.history.close()
        if hasattr(self, "engine"):
            self.engine.close()
        self._disk.close()
