"""A service's matching thread without its sockets: frames, words, snapshots, and what a kill leaves."""

import shutil
from types import SimpleNamespace

import numpy as np
from line_support import Product

from musc_online.config import load
from streamer.server.journals import SUFFIX
from streamer.server.known_ids import KnownIds
from streamer.server.outcomes import Ledger, Outcomes
from streamer.server.pipeline import Tokens
from streamer.server.scoring import Scoring
from streamer.server.snapshots import Snapshots
from streamer.server.stream import Claim, QueuedFrame
from streamer.server.streams import Streams
from streamer.wire.frame import FrameMessage
from streamer.wire.requests import check_word

BACKBONE = SimpleNamespace(fingerprint="made-up", precision="float32")
SAID = ("raw_score", "rscin_score", "pred_score", "pred_label", "threshold", "state", "n_references",
        "revision", "is_final", "regions", "known_defect", "seq", "capture_ns", "meta")  # fmt: skip


class Outlet:
    """Takes what is to be published; while it is `held`, as a service that is killed before it gets to it."""

    def __init__(self):
        self.held = False
        self.said = []
        self.messages = []

    def put(self, message):
        if self.held:
            return
        if message.settle is not None:
            message.settle()
        self.messages.append(message)
        self.said.append((message.kind, message.header, message.anomaly_map))

    def of(self, kind):
        return [header for found, header, _ in self.said if found == kind]


def frames(seed, count, another_after=None):
    """Tokens and class tokens of a line with some defects, after so many frames of another product."""
    product = Product(seed)
    rng = np.random.default_rng(seed)
    parts = []
    for number in range(count):
        if number == another_after:
            product = Product(seed + 5)
        is_damaged = another_after is None and rng.random() < 0.2
        shown = product.defect(number % 3) if is_damaged else None
        part = product.part() if shown is None else product.damaged(shown)
        parts.append((part, rng.normal(size=6).astype(np.float32)))
    return parts


class Line:
    """A service on a folder, from its start on; leave it, and it is as if it had been killed.

    Args:
        folder: of snapshots and journals; None for none.
        parts: the frames there are.
        history: ids that the history knows as scored.
        sections: of the configuration.
    """

    def __init__(self, folder, parts, *, journal=True, history=(), **sections):
        sections = {
            "ring": {"capacity": 12, "matcher": "gemm"},
            "revise": {"every": 3},
            "warmup": 2,
            **sections,
        }
        path = {} if folder is None else {"snapshot": {"path": str(folder), "journal": journal}}
        config = load({"output": {"map_size": 16}, "method": {"degrees": [1]}, **sections, **path})
        self.ledger, self.outlet, self.parts = Ledger(), Outlet(), parts
        known = KnownIds(None, per_stream=1000, streams=8)
        known.learn("line", history)
        self.streams = Streams(config, known, self.ledger.close)
        outcomes = Outcomes(self.ledger)
        outcomes.outbox = self.outlet
        self.snapshots = Snapshots(
            config.snapshot.path, 3600.0, (journal, False), self.streams, self.ledger, lambda job: job(),
            self.outlet, self.died,
        )  # fmt: skip
        self.scoring = Scoring(
            self.streams, BACKBONE, outcomes, self.snapshots.restorer, lambda _: None, lambda *_: None
        )
        self.scoring.resume()

    def died(self, error):
        raise error

    @property
    def stream(self):
        return self.streams.admit("line")

    @property
    def detector(self):
        return self.stream.detector

    def frame(self, number, name="line", picture=None):
        """What is said of a frame on arrival, and its map; None where nobody heard it."""
        stream, (part, token) = self.streams.admit(name), self.parts[number]
        message = FrameMessage(name, f"f{number}", "png", b"", number, 1000 + number, None, {"part": number})
        queued = QueuedFrame(message, stream, 1000 + number)
        self.ledger.receive(name)
        assert stream.claim(queued) is Claim.NEW, "it is known already"
        before = len(self.outlet.said)
        self.scoring.score(
            Tokens(queued, (48, 64), 12.5, patch_tokens=part, class_token=token, picture=picture)
        )
        scores = [said for said in self.outlet.said[before:] if said[0] == "score"]
        return as_bytes(*scores[0][1:]) if scores else None

    def word(self, what, **fields):
        return self.scoring.operate(self.stream, check_word(what, {"stream": "line", **fields}))

    def flush(self):
        before = len(self.outlet.said)
        self.scoring.flush(self.stream)
        return [
            as_bytes(header, map_) for kind, header, map_ in self.outlet.said[before:] if kind == "revision"
        ]


def as_bytes(header, map_):
    """Everything that is said, maps to the last bit."""
    said = {name: header[name] for name in SAID}
    return header["frame_id"], repr(said), None if map_ is None else map_.tobytes()


def copied(folder, to):
    """A folder as a kill leaves it just now."""
    shutil.copytree(folder, to, dirs_exist_ok=True)
    return to


def journals(folder):
    return sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIX))
