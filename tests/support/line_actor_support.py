"""A line by itself, and a gate that asks it: what is told, and what a kill between any two steps leaves."""

import numpy as np
from journal_support import Line as OneProcess

from musc_online.config import load
from streamer.cluster.exchange import BackboneIdentity, Frame, Settled
from streamer.cluster.line import Line
from streamer.maps import encode_map
from streamer.server.ledger import LastFrame, Ledger
from streamer.wire.requests import check_word

IDENTITY = BackboneIdentity("made-up", "float32")
TIMES = ("scored_ns", "event_ns", "operator_ns", "latency_ms")
ROOM = 2**40
QUARANTINE = {"capacity": 12, "matcher": "gemm", "admit": "quarantine", "quarantine": 4}
KINDS = {
    "all": {},
    "quarantine and nearest": {"ring": {**QUARANTINE, "nearest": 3, "keep": 4}},
    "subsets": {"ring": {"capacity": 12, "matcher": "gemm", "subsets": 3, "score_against": 2}},
    "accepting": {
        "ring": {"capacity": 30, "admit": "quarantine", "quarantine": 20, "accept_after": 10},
        "transport": {"revision_maps": "all"},
    },
    "tiles": {"tiles": {"rows": 1, "cols": 2}, "transport": {"map_encoding": "grid", "revision_maps": "all"}},
    "no maps": {"output": {"anomaly_map": False}, "transport": {"map_encoding": "float32"}},
}
"""Crossed options, by what they are about."""


def sections_of(kind):
    """What a configuration says, of both engines."""
    base = {
        "ring": {"capacity": 12, "matcher": "gemm"},
        "revise": {"every": 3},
        "warmup": 2,
        "method": {"degrees": [1]},
        "output": {},
    }
    found = {**base, **KINDS[kind]}
    return {**found, "output": {"map_size": 16, **found["output"]}}


def config(folder=None, *, journal=True, kind="all", **sections):
    values = {**sections_of(kind), **sections}
    if folder is not None:
        values["snapshot"] = {"path": str(folder), "journal": journal, "every_s": 3600}
    return load(values)


def tiled(parts):
    """The same parts as the first of two tiles, beside another."""
    return [(np.stack([part, part[:, ::-1]]), np.concatenate([token, token])) for part, token in parts]


def plain(kind, header, payload):
    """A message but for when it was made, its map to the last bit."""
    said = {name: value for name, value in sorted(header.items()) if name not in TIMES}
    return kind, repr(said), payload


def published(line, encoding="png16"):
    """What the service of one process put into its outbox, as `plain` has it."""
    found = []
    for message in line.outlet.messages:
        header, payload = message.header, message.payload
        if message.anomaly_map is not None:
            entry, payload = encode_map(message.anomaly_map, encoding, message.grid)
            header = {**header, "anomaly_map": entry}
        found.append(plain(message.kind, header, payload))
    return found


def in_one_process(steps, parts, kind, folder=None, **sections):
    """The service's matching thread after these steps, and what it answered."""
    line = OneProcess(folder, parts, **{**sections_of(kind), **sections})
    answers = []
    for what, *about in steps:
        if what == "frame":
            line.frame(*about)
        elif what == "flush":
            answers.append(line.scoring.flush(line.stream))
        elif what == "reset":
            line.scoring.reset(line.stream)
            line.snapshots.forget(line.stream)
        else:
            answers.append(line.word(what, **about[0]))
    return line, answers


class Gate:
    """Asks a line as the gate does: one thing at a time, and again what had no reply.

    Args:
        folder: of snapshots and journals; None for none.
        parts: tokens and class token of each frame.
        kind: of `KINDS`.
        threads, make: of the line.
        sections: of the configuration, in the place of those of `kind`.
    """

    def __init__(
        self, folder, parts, *, journal=True, kind="all", threads=2, make=None, opened=True, **sections
    ):
        self.parts, self.config = parts, config(folder, journal=journal, kind=kind, **sections)
        self.ledger = Ledger()
        self.said, self.errors, self.answers = [], [], []
        self.next = None
        """Number of the change that comes next, as the last reply said."""
        self.unheard = []
        """Scores that are out, of which no line may have heard."""
        self.deaths = 0
        self.make = {"threads": threads, **(make or {})}
        self.line = self.opened = None
        if opened:
            self.open()

    def new(self):
        return Line("line", self.config, IDENTITY, **{"patience_s": 60.0, **self.make})

    def open(self, *, told=None, **more):
        """Make a line that reads what is on disk."""
        self.line = self.new()
        tally = self.ledger.streams().get("line")
        self.opened = self.line.open(ROOM, told, self.unheard, tally, **more)
        self.hear(self.opened.reply)
        if self.opened.tally is not None and tally is None:
            self.ledger.resume("line", self.opened.tally)
        self.unheard = []
        return self.opened

    def kill(self):
        """The line is gone, and with it whatever is not on disk; another takes its place."""
        self.deaths += 1
        let_go(self.line)
        return self.open(told=self.next)

    def hear(self, reply):
        self.next, self.reply = reply.change, reply
        self.tell(reply.told)
        return reply

    def tell(self, told):
        for one in told:
            self.said.append(plain(one.kind, one.header, one.payload))
            if one.kind == "error":
                self.errors.append(one.header)

    def frame_of(self, number, **more):
        about = {"age_ms": 5.0, "waited_ms": 4.0, "latency_ms": {"queue": 1.0, "decode": 1.5}, **more}
        return Frame(
            f"f{number}", number, 1000 + number, {"part": number}, shape=(48, 64), contrast=12.5, **about
        )

    def begin(self, what, *about):
        """Have a step done; whether anybody hears of it is another matter."""
        if what == "frame":
            # As they come by way of an object store: nobody may write there.
            part, token = (array.copy() for array in self.parts[about[0]])
            part.flags.writeable = token.flags.writeable = False
            return self.line.score(self.frame_of(about[0]), (part, token))
        if what == "flush":
            return self.line.flush()
        if what == "reset":
            return self.line.reset()
        return self.line.operate(check_word(what, {"stream": "line", **about[0]}))

    def do(self, step, dies=None):
        """Have a step done, and publish what came of it.

        Args:
            step: what and about what.
            dies: when the line does: before its reply is there ("unheard"), or before it hears that a score
                is out ("unsettled").
        """
        reply, redone = self.begin(*step), []
        if dies == "unheard":
            redone = self.kill().redone
            if step[0] in {"frame", "reset"}:
                reply = self.begin(*step)
        if redone and step[0] != "frame":
            (one,) = redone
            self.tell(one.told)
            answer = one.answer
        else:
            assert reply.error is None, reply.error
            self.hear(reply)
            self.tell(told for one in redone for told in one.told)
            answer = reply.answer
        if step[0] == "reset":
            self.line.forget()
        elif step[0] != "frame":
            self.answers.append(answer)
        else:
            self.settle(reply.told[0], heard=dies != "unsettled")
        if dies == "unsettled":
            self.kill()
        return reply

    def settle(self, told, *, heard=True):
        """A score is out; perhaps its line is told."""
        assert told.kind == "score"
        header = told.header
        frame = LastFrame(header["frame_id"], header["scored_ns"], header["pred_label"])
        settled = Settled(frame, header["late"])
        self.ledger.receive("line")
        self.ledger.score("line", settled.frame, late=settled.late)
        if heard:
            self.line.settle([settled], self.ledger.streams()["line"])
        else:
            self.unheard.append(settled)

    def save(self, *, asleep=False):
        return self.line.write() if self.line.copy(asleep) else None

    @property
    def detector(self):
        return self.line._stream.detector


def let_go(line):
    """As the end of its process does; its files are as they are."""
    if line._fence is not None:
        line._fence.release()
