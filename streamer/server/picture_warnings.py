"""What is odd about a frame's pixels, counted and told, and not told again with every frame."""

from collections.abc import Iterable

from streamer.images import Warned
from streamer.server.outcomes import Outcomes
from streamer.server.stream import QueuedFrame

_EACH = frozenset(("constant_image", "picture_failed"))


def tell(outcomes: Outcomes, queued: QueuedFrame, warnings: Iterable[Warned]) -> None:
    """Enter the warnings of a decoded frame; whoever decodes a stream's frames calls it, in their order.

    What says something of the camera (`bit_depth_unsure`, `above_bit_depth`) is counted and told once a
    stream. Frames of one colour, and those of which no small picture could be made, are each counted, and the
    first of several in a row is told.
    """
    stream = queued.stream
    found = dict(warnings)
    stream.warned -= _EACH - found.keys()
    for code, text in found.items():
        if code not in stream.warned:
            stream.warned.add(code)
            outcomes.warn(queued, code, text)
        elif code in _EACH:
            outcomes.ledger.warn(stream.name, code)
