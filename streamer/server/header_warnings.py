"""What is odd about a frame's header, counted and told; the frame is used all the same."""

from streamer.server.outcomes import Outcomes
from streamer.server.stream import QueuedFrame


def tell(outcomes: Outcomes, queued: QueuedFrame) -> None:
    """Enter the warnings of a frame that is taken in; for the receiving thread, in order of arrival."""
    _order(outcomes, queued)
    _clock(outcomes, queued)


def _order(outcomes: Outcomes, queued: QueuedFrame) -> None:
    """`seq` went backwards."""
    message, stream = queued.message, queued.stream
    if message.seq is None:
        return
    # A reliable sender's resends are late by nature.
    if stream.last_seq is not None and message.seq < stream.last_seq and queued.sender is None:
        text = f"seq: got {message.seq} after {stream.last_seq}; scored all the same"
        outcomes.warn(queued, "out_of_order", text)
    stream.last_seq = message.seq


def _clock(outcomes: Outcomes, queued: QueuedFrame) -> None:
    """The capture time cannot be: each such frame is counted, the first of several in a row told."""
    stream, was_off = queued.stream, queued.stream.clock_was_off
    stream.clock_was_off = queued.clock_is_off
    if queued.clock_is_off and was_off:
        outcomes.ledger.warn(stream.name, "capture_off")
    elif queued.clock_is_off:
        apart = (queued.capture_ns - queued.arrived_ns) / 1e9
        side = "after" if apart > 0 else "before"
        text = (
            f"capture_ns: is {abs(apart):.0f} s {side} its arrival, from which its time counts then; "
            "set the sender's clock"
        )
        outcomes.warn(queued, "capture_off", text)
