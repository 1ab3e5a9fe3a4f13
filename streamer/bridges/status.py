"""The bridge's own Prometheus endpoint: what waits, what went out, and whether the receiver is there."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streamer.bridges.common import Status
from streamer.bridges.deliver import Deliverer
from streamer.bridges.follow import BridgeFollower
from streamer.bridges.queue import Queue
from streamer.errors import StreamerError
from streamer.server.scrapes import Scrapes

log = structlog.get_logger()


class Figures(Collector):
    """What is scraped; `bridge` is the only label."""

    def __init__(self, name: str, queue: Queue, deliverer: Deliverer, follower: BridgeFollower) -> None:
        self._name = name
        self._queue, self._deliverer, self._follower = queue, deliverer, follower

    def describe(self) -> Iterator[Metric]:
        """Nothing: it would be collected to be described."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All of it, as of now."""
        counters, oldest = self._queue.counters(), self._queue.oldest_ns()
        lag = 0.0 if oldest is None else max(0.0, (time.time_ns() - oldest) / 1e9)
        gauges = {
            "queue_items": ("Items that wait for the receiver", counters["items"]),
            "queue_bytes": ("Bytes of items that wait for the receiver", counters["bytes"]),
            "queue_failed": ("1 while the queue cannot be written", self._queue.failed is not None),
            "dead_letters": ("Items kept that the receiver refused", counters["dead"]),
            "lag_seconds": ("Age of the oldest item that waits; 0 where none does", lag),
            "up": ("1 while the receiver takes what it is handed", self._deliverer.up is True),
            "detector_up": ("1 while the detector is heard", self._follower.presence.is_up),
            "history_away": ("1 while the detector's history does not answer", self._follower.history_away),
        }
        counts = {
            "delivered": ("Items that arrived", counters["delivered"]),
            "retries": ("Tries that failed, since the start", self._deliverer.retries),
            "dead": ("Items that the receiver refused", counters["refused"]),
            "letters_dropped": ("Dead letters that went for want of room", counters["letters_dropped"]),
            "dropped": ("Items that went for want of room in the queue", counters["dropped"]),
            "lost": (
                "Messages gone from the history before they were heard, and items found damaged",
                counters["lost"],
            ),
            "bad_messages": ("Messages that no detector sends, passed over", self._follower.n_bad),
            "left_out": ("Messages that found no room, and are asked for again", self._follower.n_left_out),
        }
        counts |= {f"{self._name}_{key}": what for key, what in self._deliverer.counts.items()}
        for kind, family in ((gauges, GaugeMetricFamily), (counts, CounterMetricFamily)):
            for key, (text, value) in kind.items():
                metric = family(f"musc_bridge_{key}", text, labels=["bridge"])
                metric.add_metric([self._name], float(value))
                yield metric


@contextmanager
def answering(
    figures: Figures, status: Status, failed: Callable[[BaseException], None]
) -> Iterator[str | None]:
    """Answer scrapes meanwhile; where, as `host:port`, or None where `status.endpoint` is null.

    Raises:
        StreamerError: the address is taken.
    """
    if status.endpoint is None:
        yield None
        return
    host, _, port = status.endpoint.rpartition(":")
    registry = CollectorRegistry()
    registry.register(figures)
    try:
        server = Scrapes(make_wsgi_app(registry), host.strip("[]"), int(port), None, failed)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StreamerError(f"status.endpoint: cannot bind {status.endpoint} ({reason})") from None
    server.start()
    try:
        yield f"{host}:{server.port}"
    finally:
        server.stop()
