"""Keys: a frame's id, number or text, as text of one kind, for URLs, JSON and the database."""

from streamer.errors import FrameId, StreamerError
from streamer.following.identity import key_of
from streamer.wire.checks import check_frame_id, shown

__all__ = ["frame_id_of", "key_of"]


def frame_id_of(key: str) -> FrameId:
    """The id that a key is of.

    Raises:
        StreamerError: it is no key (of the ids that are, `WireError`).
    """
    kind, colon, text = key.partition(":")
    if kind == "s" and colon:
        return check_frame_id(text)
    digits = text.removeprefix("-")
    if kind == "i" and len(text) <= 20 and digits.isascii() and digits.isdecimal():
        frame_id = check_frame_id(int(text))
        if key_of(frame_id) == key:
            return frame_id
    raise StreamerError(f"key: got {shown(key)}, expected i:NUMBER or s:TEXT")
