"""A frame's id, number or text, as text of one kind: for URLs, JSON, topics and databases."""

from streamer.errors import FrameId


def key_of(frame_id: FrameId) -> str:
    """`i:17` of a number, `s:part-0017` of a text."""
    return f"{'i' if isinstance(frame_id, int) else 's'}:{frame_id}"
