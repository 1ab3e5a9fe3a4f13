"""Whether an image file is whole: what libjpeg and libpng would fill in and say nothing about is refused."""

MAGIC = {"jpeg": b"\xff\xd8\xff", "png": b"\x89PNG\r\n\x1a\n"}

_MAX_CHUNKS = 1 << 16
"""Of a PNG; encoders write 8 to 64 KiB in each, so a payload of 64 MiB has 8,192 at most."""


def is_whole(payload: bytes, encoding: str) -> bool:
    """Whether a JPEG or PNG has its end; OpenCV may fill what is missing with grey and say nothing."""
    if encoding == "png":
        return _chunks_fit(payload)
    # Neither marker can occur inside compressed data, and a thumbnail's come before the image's own.
    return encoding != "jpeg" or payload.rfind(b"\xff\xd9") > payload.rfind(b"\xff\xda")


def _chunks_fit(payload: bytes) -> bool:
    """Whether a PNG's chunks lie in it one behind another up to IEND: OpenCV clears as much memory as a
    chunk says that it is long, up to 4 GB for a few bytes, before it looks whether they are there.
    """
    at = len(MAGIC["png"])
    for _ in range(_MAX_CHUNKS):
        if at + 12 > len(payload):
            return False
        length = int.from_bytes(payload[at : at + 4], "big")
        kind = payload[at + 4 : at + 8]
        at += 12 + length
        if kind == b"IEND":
            return at <= len(payload)
    return False
