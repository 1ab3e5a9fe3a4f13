"""The receiving thread: every message becomes a waiting frame, an `error`, or a drop; nothing stops it."""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import zmq

from streamer.errors import WireError
from streamer.server import header_warnings, imagezmq_ingest
from streamer.server.intake import Intake
from streamer.server.logs import RateLimitedLog
from streamer.server.outcomes import Outcomes
from streamer.server.rate import Rates
from streamer.server.sources import Sources
from streamer.server.stream import Claim, QueuedFrame
from streamer.server.streams import Streams
from streamer.server.threads import Worker
from streamer.sockets import MessageReader, Socket, socket_endpoint
from streamer.wire.frame import Ack, FrameMessage, Limits, ack, pack, unpack_frame
from streamer.wire.source import is_source, unpack_source

_POLL_MS = 50
_HELD_MS = 5
_AFTER_STOP = 64
# Frames that were on their way when the service was asked to stop, at most so many a socket: a sender that
# never pauses must not keep it from ending.
_MAX_PARTS = 16
# Far more than a frame has; a message of more is refused like one of so many.


Checked = TypeVar("Checked")
Reply = Callable[[bytes], object]
"""Told `OK`, `dropped` or `refused`: what an imagezmq sender is answered."""


@dataclass(eq=False)
class Ports:
    """The sockets frames come in by; `acks` carries what the publishing thread wants acknowledged."""

    frames: Socket
    acks: Socket
    reliable: Socket | None = None
    imagezmq: Socket | None = None
    imagezmq_subscribe: Socket | None = None

    def all(self) -> list[Socket]:
        """Every socket there is."""
        ports = (self.frames, self.acks, self.reliable, self.imagezmq, self.imagezmq_subscribe)
        return [port for port in ports if port is not None]


class Receiver(Worker):
    """Owns the ports. With `when_full: block` one frame is held and its senders' sockets are not read."""

    def __init__(
        self,
        ports: Ports,
        intake: Intake,
        streams: Streams,
        outcomes: Outcomes,
        limits: Limits,
        rate: float | None,
        sources: Sources,
        failed: Callable[[BaseException], None],
    ) -> None:
        super().__init__("receive", failed)
        self._ports, self._intake, self._streams, self._outcomes = ports, intake, streams, outcomes
        self._limits, self._sources = limits, sources
        self._readers = {port: MessageReader(port, _MAX_PARTS) for port in ports.all()}
        self._rates = Rates(rate)
        self._log = RateLimitedLog()
        self._held: tuple[QueuedFrame, Reply] | None = None
        self._stopping = threading.Event()
        self._drained = threading.Event()
        self._finished = threading.Event()

    def stop(self) -> None:
        """Take what was sent already, then no more; returns when that is queued. Acks go on."""
        self._stopping.set()
        while self.is_alive() and not self._drained.wait(0.1):
            pass

    def finish(self) -> None:
        """Send the acks still to be sent, close the ports and end."""
        self._finished.set()
        self.join()

    def work(self) -> None:
        """Receive until stopped, then only acknowledge until finished."""
        try:
            while not self._stopping.is_set():
                self._once(_POLL_MS)
            self._drain()
            self._drained.set()
            while not self._finished.is_set():
                self._turn_away(_POLL_MS)
            while self._ports.acks.poll(0):  # whoever sent them has ended
                self._acknowledge()
            for _ in range(_AFTER_STOP):
                if not self._turn_away(0):
                    break
        finally:
            self._intake.close()
            self._drained.set()
            for port in self._ports.all():
                port.close()

    def _once(self, wait_ms: int) -> bool:
        """Handle at most one message a socket; whether there was any."""
        if self._held is not None and self._offer(*self._held):
            self._held = None
        poller = zmq.Poller()
        poller.register(self._ports.acks, zmq.POLLIN)
        if self._ports.reliable is not None:
            poller.register(self._ports.reliable, zmq.POLLIN)
        if self._held is None:
            for port in (self._ports.frames, self._ports.imagezmq, self._ports.imagezmq_subscribe):
                if port is not None:
                    poller.register(port, zmq.POLLIN)
        ready = dict(poller.poll(_HELD_MS if self._held is not None else wait_ms))
        with self.progress.step("receive"):
            for port in ready:
                if port is self._ports.acks:
                    self._acknowledge()
                elif port is self._ports.reliable or self._held is None:
                    self._read(port)
        return bool(ready)

    def _drain(self) -> None:
        """Take what was sent before, and let go of all senders but those who wait for acks.

        A plain sender keeps what it has not sent yet for the next service. The ROUTER stays bound: `unbind`
        would cut off its peers, and no frame of theirs could be acknowledged any more.
        """
        self._read_what_came(0)
        frames, imagezmq, subscribed = (
            self._ports.frames,
            self._ports.imagezmq,
            self._ports.imagezmq_subscribe,
        )
        frames.unbind(socket_endpoint(frames))
        self._read_what_came(_POLL_MS)  # what libzmq had taken in before it let go
        # Closed at once: a connection still being taken down takes in frames that nobody would read.
        frames.close()
        if imagezmq is not None:
            imagezmq.close()  # lingers for its answers
            self._ports.imagezmq = None
        if subscribed is not None:
            subscribed.close()
            self._ports.imagezmq_subscribe = None

    def _read_what_came(self, wait_ms: int) -> None:
        for _ in range(_AFTER_STOP):
            if not self._once(wait_ms) and self._held is None:
                break
        while self._held is not None:
            self._once(_HELD_MS)

    def _turn_away(self, wait_ms: int) -> bool:
        """Send acks; answer reliable frames that come while the service ends. Whether there was anything.

        Nothing is queued or published for them any more. Who sends a frame again that has its score, whose
        ack was lost perhaps, is told; other frames are to be sent again, to the next service.
        """
        reliable = self._ports.reliable
        poller = zmq.Poller()
        poller.register(self._ports.acks, zmq.POLLIN)
        if reliable is not None:
            poller.register(reliable, zmq.POLLIN)
        ready = dict(poller.poll(wait_ms))
        if self._ports.acks in ready:
            self._acknowledge()
        if reliable is not None and reliable in ready:
            with contextlib.suppress(zmq.Again):
                if (frames := self._readers[reliable].read()) is not None:
                    self._turn_away_frame([frame.bytes for frame in frames])
        return bool(ready)

    def _turn_away_frame(self, parts: list[bytes]) -> None:
        try:
            message = self._read_safely(lambda: unpack_frame(parts[1:], self._limits))
        except WireError:
            return  # its error could not be told; it is when it is sent again
        stream = self._streams.get(message.stream)
        found = Claim.NEW
        if stream is not None:
            found = stream.look(QueuedFrame(message, stream, 0, parts[0]))
        status, code = {
            Claim.NEW: ("busy", "busy"),
            Claim.IN_FLIGHT: ("", "duplicate"),
            Claim.SCORED: ("scored", "duplicate"),
            Claim.REUSED: ("refused", "id_reused"),
        }[found]
        self._outcomes.turn_away(stream, code)
        if status:
            self._answer(ack(parts[0], message.stream, message.frame_id, message.seq, status, code))

    def _read(self, port: Socket) -> None:
        try:
            # A REP socket says it is readable and then throws away a request without an envelope: waiting
            # for the next one here would stop every other port.
            frames = self._readers[port].read()
        except zmq.Again:
            return
        if frames is None:
            return
        parts = [frame.bytes for frame in frames]
        peer = _peer(frames[-1])
        if port is self._ports.reliable:
            if is_source(parts[1:], self._limits):
                self._source(parts[1:], peer)
            else:
                self._reliable(parts, peer)
        elif port is self._ports.frames and is_source(parts, self._limits):
            self._source(parts, peer)
        elif port is self._ports.frames:
            self._frame(lambda: unpack_frame(parts, self._limits), peer, _nothing)
        else:
            reply = _reply_to(port) if port is self._ports.imagezmq else _nothing
            self._frame(lambda: imagezmq_ingest.unpack(parts, self._limits), peer, reply)

    def _source(self, parts: list[bytes], peer: str) -> None:
        """Pass on what a publisher says of its camera. It is no frame: never acknowledged, refused or not."""
        try:
            message = self._read_safely(lambda: unpack_source(parts))
            self._outcomes.source(self._sources.heard(message, peer))
        except WireError as error:
            known = self._streams.get(error.stream or "")
            self._outcomes.receive(known)
            self._outcomes.refuse_message(error, known, None, peer)

    def _frame(self, read: Callable[[], FrameMessage], peer: str, done: Reply) -> None:
        queued = self._admit(read, peer, None)
        if queued is None:
            done(b"refused")
        elif not self._offer(queued, done):
            self._held = (queued, done)

    def _reliable(self, parts: list[bytes], peer: str) -> None:
        queued = self._admit(lambda: unpack_frame(parts[1:], self._limits), peer, parts[0])
        if queued is None:
            return
        # A full queue never costs a reliable frame: its sender is told, and sends it again.
        length = queued.stream.config.transport.queue
        taken, _ = self._intake.offer(queued, length=length, when_full="drop_newest")
        if not taken:
            queued.stream.release(queued)
            self._answer(self._outcomes.answer_now(queued, "busy", "busy"))

    def _offer(self, queued: QueuedFrame, done: Reply) -> bool:
        transport = queued.stream.config.transport
        taken, dropped = self._intake.offer(queued, length=transport.queue, when_full=transport.when_full)
        for old in dropped:
            self._outcomes.drop(old, "drop_oldest")
        if not taken and transport.when_full == "block":
            return False
        if not taken:
            self._outcomes.drop(queued, transport.when_full)
        done(b"OK" if taken else b"dropped")
        return True

    def _admit(self, read: Callable[[], FrameMessage], peer: str, sender: bytes | None) -> QueuedFrame | None:
        """Check a message and enter it in the ledger; None where it was refused."""
        message: FrameMessage | None = None
        try:
            if not self._rates.allow(peer):
                raise WireError("rate_limited", f"peer {peer}: more than limits.rate frames a second")
            message = self._read_safely(read)
            stream = self._streams.admit(message.stream)
        except WireError as error:
            if message is not None:
                error.stream, error.frame_id, error.seq = message.stream, message.frame_id, message.seq
            known = self._streams.get(error.stream or "")
            self._outcomes.receive(known)
            self._outcomes.refuse_message(error, known, sender, peer)
            return None
        now = time.time_ns()
        capture_ns = message.capture_ns if message.capture_ns is not None else now
        queued = QueuedFrame(message, stream, capture_ns, sender, peer, arrived_ns=now)
        # Claimed, then counted: whoever saw the count finds the frame in flight.
        found = stream.claim(queued)
        self._outcomes.receive(stream)
        if found is Claim.NEW:
            header_warnings.tell(self._outcomes, queued)
            return queued
        if found is Claim.REUSED or sender is None:
            self._refuse_known(queued, found)
        elif found is Claim.IN_FLIGHT:
            self._outcomes.repeated(queued)
        else:
            self._answer(self._outcomes.answer_now(queued, "scored", "duplicate"))
        return None

    def _read_safely(self, read: Callable[[], Checked]) -> Checked:
        try:
            return read()
        except WireError:
            raise
        except Exception as error:  # a fault of ours, but no message may end the service
            self._log.warning("message_failed", "internal", exc_info=True)
            raise WireError("internal", f"message: could not be read ({type(error).__name__})") from None

    def _refuse_known(self, queued: QueuedFrame, found: Claim) -> None:
        message, stream = queued.message, queued.stream
        what = f"frame_id: {message.frame_id!r} of stream '{stream.name}'"
        if found is Claim.REUSED:
            code, text = (
                "id_reused",
                f"{what} is another picture's already; expected a new id for each picture",
            )
        else:
            known = max(stream.config.limits.known_ids, stream.config.ring.capacity)
            code, text = "duplicate", f"{what} is queued, in the ring or among the last {known} scored"
        error = WireError(code, text, stream=stream.name, frame_id=message.frame_id, seq=message.seq)
        self._outcomes.refuse_message(error, stream, queued.sender, queued.peer)

    def _acknowledge(self) -> None:
        sender, answer = self._ports.acks.recv_multipart()
        self._send(sender, answer)

    def _answer(self, answer: Ack | None) -> None:
        if answer is not None:
            self._send(answer[0], pack(answer[1]))

    def _send(self, sender: bytes, answer: bytes) -> None:
        # A sender that is gone, or reads nothing, loses its ack and will ask again.
        if self._ports.reliable is not None:
            with contextlib.suppress(zmq.ZMQError):
                self._ports.reliable.send_multipart([sender, answer], zmq.DONTWAIT)


def _peer(frame: zmq.Frame) -> str:
    for name in ("User-Id", "Peer-Address"):
        try:
            return str(frame.get(name))
        except zmq.ZMQError:
            continue
    return "unknown"


def _reply_to(port: Socket) -> Reply:
    return port.send


def _nothing(answer: bytes) -> None:
    del answer
