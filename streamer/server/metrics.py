"""The Prometheus endpoint: counters from the service's own ledger at each scrape, latencies as histograms."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, get_args

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from musc_online.config_service import WhenFull
from musc_online.events import Kind as EventKind
from streamer.auth import load_token
from streamer.errors import StreamerError
from streamer.progress import Progress
from streamer.server.scrapes import Scrapes
from streamer.sockets import Security, check_open
from streamer.wire.frame import NO_STREAM
from streamer.wire.source import STATES, UNKNOWN

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_RAW_BUCKETS = (
    0.02,
    0.05,
    0.1,
    0.15,
    0.2,
    0.25,
    0.3,
    0.35,
    0.4,
    0.45,
    0.5,
    0.6,
    0.7,
    0.8,
    1.0,
    1.25,
    1.5,
    2.0,
)
# Of a mean distance of 0 to 2: narrow where thresholds lie, and 2 is the most there is.
_SOURCE_STATES = (*STATES, UNKNOWN)
_SOURCE_COUNTS = (
    "read",
    "sent",
    "skipped",
    "too_old",
    "not_sent",
    "given_up",
    "reconnects",
    "packets_lost",
    "frames_incomplete",
)
# No others, whatever a publisher says: each would be a series of its own.
_STATES = ("warmup", "ready", "degraded", "asleep")
# At 0 from a first frame on: of a counter that appears with its first count Prometheus sees no increase.
_DROPS = (*get_args(WhenFull), "stopping")
_EVENTS = get_args(EventKind)


class Metrics:
    """What an operator watches; label values are open streams and known reasons only.

    Args:
        status: the service's status, asked at every scrape.
        counts: by stream what was counted since the start, asked likewise.

    Attributes:
        progress: whether a scrape hangs.
    """

    def __init__(self, status: Callable[[], dict[str, Any]], counts: Callable[[], dict[str, Any]]) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_LedgerCollector(status, counts))
        ProcessCollector(registry=self.registry)
        self._latency = Histogram(
            "musc_latency_seconds", "Time a frame spent in a phase", ["phase"],
            registry=self.registry, buckets=_BUCKETS,
        )  # fmt: skip
        self._raw_score = Histogram(
            "musc_raw_score", "Raw scores of frames on arrival", ["stream"],
            registry=self.registry, buckets=_RAW_BUCKETS,
        )  # fmt: skip
        self._server: Scrapes | None = None
        self.progress = Progress()
        self.endpoint: str | None = None

    def observe(self, latency_ms: Mapping[str, float]) -> None:
        """Record one frame's `latency_ms`, phase by phase."""
        for phase, value in latency_ms.items():
            self._latency.labels(phase).observe(value / 1000)

    def observe_score(self, stream: str, raw_score: float) -> None:
        """Record the score of a frame of an open stream."""
        self._raw_score.labels(stream).observe(raw_score)

    def forget(self, stream: str) -> None:
        """A stream lost its place: its name is no label any more."""
        with suppress(KeyError):  # none of its frames had a score
            self._raw_score.remove(stream)

    def serve(self, endpoint: str, security: Security, failed: Callable[[BaseException], None]) -> None:
        """Answer scrapes at `host:port` until closed; port 0 takes a free one.

        Args:
            endpoint: an IPv6 address stands in brackets.
            security: with keys every scrape must show the token that lies beside them; without, the address
                must be on loopback, unless it is `insecure`.
            failed: told when the thread that answers dies.

        Raises:
            StreamerError: the address is malformed, taken or open to the network, or there is no token.
        """
        host, _, port = endpoint.rpartition(":")
        if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
            raise StreamerError(
                f"metrics.endpoint: got '{endpoint}', expected host:port, e.g. 127.0.0.1:9464"
            )
        check_open("metrics.endpoint", f"tcp://{endpoint}", security.keys, security.insecure)
        token = None if security.keys is None else load_token(security.keys.folder)
        try:
            server = Scrapes(
                make_wsgi_app(self.registry), host.strip("[]"), int(port), token, failed, self.progress
            )
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise StreamerError(f"metrics.endpoint: cannot bind {endpoint} ({reason})") from None
        server.start()
        self._server = server
        self.endpoint = f"{host}:{server.port}"

    def close(self) -> None:
        """Stop answering."""
        if self._server is not None:
            self._server.stop()
            self._server = None


class _LedgerCollector(Collector):
    def __init__(self, status: Callable[[], dict[str, Any]], counts: Callable[[], dict[str, Any]]) -> None:
        self._status, self._counts = status, counts

    def describe(self) -> Iterator[Metric]:
        # Without this, registering would ask for a status before the service has one.
        return iter(())

    def collect(self) -> Iterator[Metric]:
        status, counts = self._status(), self._counts()
        # One that lost its place between the two has no figures any more.
        streams = {name: {**one, **counts[name]} for name, one in status["streams"].items() if name in counts}
        received = CounterMetricFamily("musc_frames_received", "Messages received", labels=["stream"])
        scored = CounterMetricFamily("musc_frames_scored", "Frames scored and published", labels=["stream"])
        dropped = CounterMetricFamily("musc_frames_dropped", "Frames dropped", labels=["stream", "reason"])
        refused = CounterMetricFamily("musc_frames_refused", "Messages refused", labels=["stream", "reason"])
        queued = GaugeMetricFamily("musc_frames_queued", "Frames whose fate is open", labels=["stream"])
        fill = GaugeMetricFamily("musc_ring_images", "Images in the ring", labels=["stream"])
        aside = GaugeMetricFamily("musc_ring_quarantined", "Frames in quarantine", labels=["stream"])
        capacity = GaugeMetricFamily("musc_ring_capacity", "Images the ring holds at most", labels=["stream"])
        state = GaugeMetricFamily(
            "musc_stream_state", "1 for the state a stream is in", labels=["stream", "state"]
        )
        frozen = GaugeMetricFamily(
            "musc_stream_frozen",
            "1 while the newest frames are one picture, or show nothing",
            labels=["stream"],
        )
        for name, stream in streams.items():
            received.add_metric([name], stream["received"])
            scored.add_metric([name], stream["scored"])
            queued.add_metric([name], stream["queued"])
            for reason, count in _with_zeros(_DROPS, name, stream["dropped"]).items():
                dropped.add_metric([name, reason], count)
            for reason, count in stream["refused"].items():
                refused.add_metric([name, reason], count)
            if "images" in stream:
                fill.add_metric([name], stream["images"])
                aside.add_metric([name], stream.get("quarantined", 0))
                capacity.add_metric([name], stream["capacity"])
                frozen.add_metric([name], float(stream.get("frozen", False) and stream["state"] != "asleep"))
                for one in _STATES:
                    state.add_metric([name, one], float(stream["state"] == one))
        yield from (received, scored, dropped, refused, queued, fill, aside, capacity, state, frozen)
        yield from _verdicts(streams)
        yield from _timing(streams)
        sources = {name: stream.get("source") for name, stream in streams.items()} | status["sources"]
        without_words = [name for name, stream in streams.items() if stream["scored"] and not sources[name]]
        yield from _sources({name: source for name, source in sources.items() if source}, without_words)
        held = GaugeMetricFamily("musc_bytes", "Bytes held", labels=["where"])
        for where, size in status["bytes"].items():
            held.add_metric([where], size)
        yield held
        yield GaugeMetricFamily("musc_streams_asleep", "Streams whose ring is on disk only", status["asleep"])
        yield GaugeMetricFamily(
            "musc_degraded", "1 while the service is degraded", float(status["state"] == "degraded")
        )
        yield from _kept(status)
        yield CounterMetricFamily("musc_messages_published", "Messages published", status["published"])
        yield GaugeMetricFamily("musc_uptime_seconds", "Seconds since the start", status["uptime_s"])


def _verdicts(streams: Mapping[str, Mapping[str, Any]]) -> tuple[Metric, ...]:
    """What each stream's frames were labelled, by which threshold, and when the last of them was scored."""
    anomalous = CounterMetricFamily(
        "musc_frames_anomalous", "Frames labelled anomalous on arrival", labels=["stream"]
    )
    threshold = GaugeMetricFamily("musc_threshold", "Threshold on the raw score", labels=["stream"])
    events = CounterMetricFamily(
        "musc_events", "What happened that no single frame shows", labels=["stream", "event"]
    )
    last = GaugeMetricFamily(
        "musc_last_frame_timestamp_seconds", "When the last frame was scored, since 1970", labels=["stream"]
    )
    for name, stream in streams.items():
        anomalous.add_metric([name], stream["anomalous"])
        for kind, count in _with_zeros(_EVENTS, name, stream["events"]).items():
            events.add_metric([name, kind], count)
        if stream.get("threshold") is not None:
            threshold.add_metric([name], stream["threshold"])
        if stream["last_frame"] is not None:
            last.add_metric([name], stream["last_frame"]["scored_ns"] / 1e9)
    return anomalous, threshold, events, last


def _with_zeros(known: Iterable[str], stream: str, counts: Mapping[str, int]) -> dict[str, int]:
    """The counts of a stream, and 0 for what it can count and has not yet; of no stream only what came."""
    return dict(counts) if stream == NO_STREAM else {**dict.fromkeys(known, 0), **counts}


def _kept(status: Mapping[str, Any]) -> Iterator[Metric]:
    """Whether what should be on disk is there."""
    for name, where in (("musc_history_failed", "history"), ("musc_snapshot_failed", "snapshot")):
        failed = float(status[where]["failed"] is not None)
        yield GaugeMetricFamily(name, f"1 while the {where} cannot be written", failed)
    if status["snapshot"]["saved_ns"] is not None:
        yield GaugeMetricFamily(
            "musc_last_snapshot_timestamp_seconds",
            "When a snapshot was last written, since 1970",
            status["snapshot"]["saved_ns"] / 1e9,
        )


def _timing(streams: Mapping[str, Mapping[str, Any]]) -> tuple[Metric, ...]:
    """Which scores came after `deadline_ms`, and how long the newest 1000 took from the capture on."""
    late = CounterMetricFamily("musc_frames_late", "Frames scored after deadline_ms", labels=["stream"])
    spent = GaugeMetricFamily(
        "musc_capture_to_score_seconds",
        "From capture to score, of the newest 1000 scores",
        labels=["stream", "quantile"],
    )
    for name, stream in streams.items():
        late.add_metric([name], stream["late"])
        for quantile, key in (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99")):
            value = stream.get("latency_ms", {}).get(key)
            if value is not None:
                spent.add_metric([name, quantile], value / 1000)
    return late, spent


def _sources(sources: Mapping[str, Mapping[str, Any]], without_words: Iterable[str]) -> tuple[Metric, ...]:
    """What publishers say of their cameras, those without a frame among them.

    Streams whose frames come without a word have not ended, whatever was last said of them.
    """
    state = GaugeMetricFamily(
        "musc_source_state", "1 for the state a camera is in", labels=["stream", "state"]
    )
    age = GaugeMetricFamily(
        "musc_source_age_seconds", "Age of the camera's last frame when it was handed over", labels=["stream"]
    )
    counts = CounterMetricFamily(
        "musc_source_counts",
        "What a camera's publisher counts",
        labels=["stream", "what"],
    )
    for name in without_words:
        state.add_metric([name, "ended"], 0.0)
    for name, source in sources.items():
        for one in _SOURCE_STATES:
            state.add_metric([name, one], float(source["state"] == one))
        if source["age_ms"] is not None:
            age.add_metric([name], source["age_ms"] / 1000)
        for what in _SOURCE_COUNTS:
            if what in source["counts"]:
                counts.add_metric([name, what], source["counts"][what])
    return state, age, counts
