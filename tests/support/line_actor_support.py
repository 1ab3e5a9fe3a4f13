"""A line by itself, and a gate that asks it: what is told, and what a kill between any two steps leaves."""

from musc_online.config import load
from streamer.cluster.exchange import BackboneIdentity, Frame, Settled
from streamer.cluster.line import Line
from streamer.maps import encode_map
from streamer.server.ledger import LastFrame, Ledger
from streamer.wire.requests import check_word

IDENTITY = BackboneIdentity("made-up", "float32")
TIMES = ("scored_ns", "event_ns", "operator_ns", "latency_ms")
ROOM = 2**40
SECTIONS = {
    "ring": {"capacity": 12, "matcher": "gemm"},
    "revise": {"every": 3},
    "warmup": 2,
    "output": {"map_size": 16},
    "method": {"degrees": [1]},
}


def config(folder=None, *, journal=True, **sections):
    values = {**SECTIONS, **sections}
    if folder is not None:
        values["snapshot"] = {"path": str(folder), "journal": journal, "every_s": 3600}
    return load(values)


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


class Gate:
    """Asks a line as the gate does: one thing at a time, and again what had no reply.

    Args:
        folder: of snapshots and journals; None for none.
        parts: tokens and class token of each frame.
        sections: of the configuration.
    """

    def __init__(self, folder, parts, *, journal=True, history=(), **sections):
        self.parts, self.config = parts, config(folder, journal=journal, **sections)
        self.ledger = Ledger()
        self.said, self.errors = [], []
        self.next = None
        """Number of the change that comes next, as the last reply said."""
        self.out = dict.fromkeys(history)
        """Ids whose score is out."""
        self.unheard = []
        """Of these what no line may have heard of."""
        self.line = None
        self.deaths = 0
        self.open()

    def open(self, *, asleep=False, told=None):
        """Make a line, and tell what no line had told."""
        self.line = Line("line", self.config, IDENTITY, 2, patience_s=60)
        self.opened = self.line.open(ROOM, told, self.unheard, asleep=asleep)
        self.apply(self.opened.reply)
        if self.opened.tally is not None:
            self.ledger.resume("line", self.opened.tally)
        self.unheard = []
        return self.opened

    def kill(self, *, gate=False):
        """The line is gone, and with it whatever is not on disk; with `gate` so is what the gate knew."""
        self.deaths += 1
        let_go(self.line)
        told, self.line = None if gate else self.next, None
        opened = self.open(told=told)
        by_hand = [one for redone in opened.redone for one in redone.told]
        return opened, by_hand

    def apply(self, reply):
        self.next, self.state, self.wants_snapshot = reply.change, reply.state, reply.wants_snapshot
        self.hear(reply.told)
        return reply

    def hear(self, told):
        for one in told:
            self.said.append(plain(one.kind, one.header, one.payload))
            if one.kind == "error":
                self.errors.append(one.header)

    def frame_of(self, number):
        return Frame(
            f"f{number}", number, 1000 + number, {"part": number}, 5.0, 4.0, (48, 64), 12.5, {"decode": 1.0}
        )

    def ask(self, number):
        """A frame's reply; its score is not out yet."""
        part, token = (array.copy() for array in self.parts[number])
        part.flags.writeable = token.flags.writeable = False  # as they are that come by the object store
        return self.line.score(self.frame_of(number), (part, token))

    def frame(self, number):
        """Have a frame scored, publish that, and settle."""
        reply = self.apply(self.ask(number))
        assert reply.error is None, reply.error
        self.settle(reply.told[0])
        return reply

    def settle(self, told):
        header = told.header
        frame = LastFrame(header["frame_id"], header["scored_ns"], header["pred_label"])
        self.out[frame.frame_id] = None
        self.ledger.receive("line")
        self.ledger.score("line", frame, late=header["late"])
        self.line.settle([Settled(frame, header["late"])], self.ledger.streams()["line"])

    def word(self, what, **fields):
        return self.apply(self.line.operate(check_word(what, {"stream": "line", **fields})))

    def flush(self):
        return self.apply(self.line.flush())

    def reset(self):
        reply = self.apply(self.line.reset())
        self.line.forget()
        return reply

    def save(self, *, asleep=False):
        return self.line.write() if self.line.copy(asleep) else None


def let_go(line):
    """As the end of its process does; its files are as they are."""
    if line._fence is not None:
        line._fence.release()
