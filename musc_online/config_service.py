"""The parts of the configuration that only the service reads: sockets, queues, limits, streams, watching."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    ByteSize,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from musc_online.config_values import LARGEST, Bytes, ConfigPath, Positive, Seconds, Section

WhenFull = Literal["drop_oldest", "drop_newest", "block"]
BitDepth = Literal["auto", 8, 10, 12, 14, 16, "float"]


class Transport(Section):
    """Where frames come in and scores go out; loopback unless configured.

    `queue` and `when_full` are a stream's waiting room. `reliable` is the port of acknowledged frames,
    `imagezmq` that of imagezmq's REQ senders, `imagezmq_subscribe` lists its PUB senders. `revision_maps`
    says which revisions carry an anomaly map. `heartbeat_s` is the time between `status` messages.
    """

    frames: str = "tcp://127.0.0.1:5555"
    scores: str = "tcp://127.0.0.1:5556"
    control: str = "tcp://127.0.0.1:5557"
    reliable: str | None = None
    imagezmq: str | None = None
    imagezmq_subscribe: tuple[str, ...] = ()
    queue: Positive = 64
    when_full: WhenFull = "drop_oldest"
    insecure: bool = False
    batch: Positive = 4
    map_encoding: Literal["png16", "float32", "grid"] = "png16"
    revision_maps: Literal["final", "all", "none"] = "final"
    subscriber_queue: Positive = 1000
    heartbeat_s: Seconds = 5.0


class Security(Section):
    """CURVE: `keys` is the folder `musc-online keys` made; null leaves the sockets in plaintext."""

    keys: ConfigPath | None = None


class Limits(Section):
    """What peers may make the service spend; more is refused with an `error` message.

    `queue_bytes` is all waiting frames together, `total_bytes` all rings together, `rate` frames a second
    of one sender (its CURVE key, or its address). A stream without a frame for `sleep_after_s` seconds gives
    its memory and its place among `streams` to others, and its snapshot waits on disk for its next frame;
    null or 0 for never, `auto` for an hour where `snapshot.path` is set. At most `sleeping` streams do.
    A picture that is not decoded within `decode_s` seconds is refused. Of each stream the `known_ids` frames
    scored last stay known: sent again, they are not scored again.
    """

    header_bytes: Bytes = ByteSize(64 * 2**10)
    payload_bytes: Bytes = ByteSize(64 * 2**20)
    width: Positive = 16384
    height: Positive = 16384
    pixels: Positive = 64_000_000
    streams: Positive = 16
    sleep_after_s: Annotated[float, Field(ge=0, le=LARGEST)] | Literal["auto"] | None = "auto"
    sleeping: Positive = 64
    decode_s: Seconds = 2.0
    known_ids: Positive = 100_000
    queue_bytes: Bytes = ByteSize(512 * 2**20)
    total_bytes: Bytes = ByteSize(8 * 2**30)
    rate: Annotated[float, Field(gt=0, le=LARGEST)] | None = None


class History(Section):
    """The bounded log of published messages; `path: null` keeps it in memory, gone with the process.

    `durable: true` waits for the disk after every write, so that a power cut loses nothing either.
    """

    path: ConfigPath | None = None
    max_messages: Positive = 10_000
    max_bytes: Bytes = ByteSize(64 * 2**20)
    durable: bool = False


class Snapshots(Section):
    """Rings on disk: one file a stream in the folder `path`, restored at start; `path: null` keeps none.

    Written every `every_s` seconds where something changed, on a `snapshot` request, and at a SIGTERM. With
    `journal` what came since is on disk as well, so that a killed service goes on as if it had not been.
    """

    path: ConfigPath | None = None
    every_s: Seconds = 300.0
    journal: bool = False


class Engine(Section):
    """Who decodes, extracts and matches: `local`, the threads of one process, or `ray`, actors of a cluster.

    `address` is the head of a cluster that runs, `host:port`, and `token` the file with its token; null
    starts a cluster of our own, on this machine and its loopback. There are `backbones` actors with a
    backbone, one line a stream, and of a line `shards` actors that hold a part of its ring's features each.
    `_cpus` and `_gpus` are what each asks of a node of a cluster that runs. The keys count with `ray` alone.
    """

    name: Literal["local", "ray"] = "local"
    address: str | None = None
    token: ConfigPath | None = None
    backbones: Annotated[int, Field(ge=1, le=1024)] = 1
    backbone_cpus: Annotated[float, Field(ge=0, le=1024)] = 1.0
    backbone_gpus: Annotated[float, Field(ge=0, le=1024)] = 0.0
    line_cpus: Annotated[float, Field(ge=0, le=1024)] = 1.0
    line_gpus: Annotated[float, Field(ge=0, le=1024)] = 0.0
    shards: Annotated[int, Field(ge=0, le=64)] = 0
    shard_cpus: Annotated[float, Field(ge=0, le=1024)] = 1.0

    @field_validator("backbone_gpus", "line_gpus")
    @classmethod
    def _shared_or_whole(cls, gpus: float) -> float:
        if gpus > 1 and gpus % 1:
            raise ValueError("expected a share up to 1 or a whole number: Ray divides no more than one GPU")
        return gpus

    @model_validator(mode="after")
    def _shards_match_on_processors(self) -> Self:
        if self.shards and self.line_gpus:
            raise ValueError(
                f"shards: got {self.shards} with line_gpus: {self.line_gpus:g}, expected one of the two: "
                "shards match on processors; set line_gpus to 0"
            )
        return self


class Metrics(Section):
    """Prometheus: `endpoint` is `host:port`, null for none."""

    endpoint: str | None = None


class Log(Section):
    """The service's own log, on stderr; `auto` writes JSON lines unless stderr is a terminal."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    progress_s: Seconds = 10.0


class StreamOverride(Section):
    """What differs for streams whose name matches a shell pattern; the first match counts.

    What is set here, null included, is laid over the rest of the configuration; what is not set stays as it
    is there, so that no default of this section is ever used.
    """

    match: str
    method: dict[str, Any] = Field(default={})
    tiles: dict[str, Any] = Field(default={})
    ignore: Any = None
    ring: dict[str, Any] = Field(default={})
    rscin: dict[str, Any] = Field(default={})
    revise: dict[str, Any] = Field(default={})
    threshold: dict[str, Any] = Field(default={})
    output: dict[str, Any] = Field(default={})
    engine: dict[Literal["shards"], Any] = Field(default={})
    warmup: Positive = 8
    deadline_ms: Annotated[float, Field(gt=0, le=LARGEST)] | None = None
    bit_depth: BitDepth = "auto"
    queue: Positive = 64
    when_full: WhenFull = "drop_oldest"

    @model_serializer(mode="wrap")
    def _as_given(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Only what was given, null included: what was not does not override anything."""
        return {name: value for name, value in serialize(self).items() if name in self.model_fields_set}
