"""What is odd about a frame's pixels, counted and told, and not told again with every frame."""

from collections.abc import Iterable

from streamer.images import Warned
from streamer.server.outcomes import Outcomes
from streamer.server.stream import QueuedFrame

_EACH = "constant_image"


def tell(outcomes: Outcomes, queued: QueuedFrame, warnings: Iterable[Warned]) -> None:
    """Enter the warnings of a decoded frame; whoever decodes a stream's frames calls it, in their order.

    What says something of the camera (`bit_depth_unsure`, `above_bit_depth`) is counted and told once a
    stream. Frames of one colour are each counted, and the first of several in a row is told.
    """
    stream = queued.stream
    found = dict(warnings)
    if _EACH not in found:
        stream.warned.discard(_EACH)
    for code, text in found.items():
        if code not in stream.warned:
            stream.warned.add(code)
            outcomes.warn(queued, code, text)
        elif code == _EACH:
            outcomes.ledger.warn(stream.name, code)
