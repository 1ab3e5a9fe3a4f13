"""The errors of transport and service; each message is one line."""

from streamer.printable import printable

FrameId = str | int
"""A frame's id; named here too, since a camera host does not have musc_online."""


class StreamerError(Exception):
    """Base of what goes wrong on the way in or out; command lines print it as `error: ...`."""

    def __str__(self) -> str:
        # It names files, streams and ids, and these may hold a line break or a terminal's sequence.
        return printable(super().__str__())


class NoRoom(StreamerError):  # noqa: N818  (says what is; it passes)
    """A frame finds no room within its time, and was not taken; the same one can be sent later."""


class WireError(StreamerError):
    """One message cannot be used; the service says so on the wire and goes on.

    Attributes:
        code: a word for machines, listed in `streamer.wire.frame.CODES`.
        text: what is wrong, one line.
        stream: of the message, as far as it could be read.
        frame_id: of the message, as far as it could be read.
        seq: of the message, as far as it could be read.
    """

    def __init__(
        self,
        code: str,
        text: str,
        *,
        stream: str | None = None,
        frame_id: FrameId | None = None,
        seq: int | None = None,
    ) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.stream = stream
        self.frame_id = frame_id
        self.seq = seq
