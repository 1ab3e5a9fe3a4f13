"""Words on cameras, as a foreign publisher may say them."""

from streamer.wire.source import MAX_BYTES, MAX_COUNTS, SourceMessage, pack_source, unpack_source


def word(stream="line", state="live", **fields):
    """A header with what a word must have."""
    return {"v": 1, "kind": "source", "stream": stream, "state": state, "since_ns": 1, "at_ns": 2, **fields}


def largest(stream):
    """As much as a word may hold."""
    said = SourceMessage(
        stream,
        "lost",
        2**63 - 1,
        2**63 - 1,
        "ß" * 256,
        1e13,
        1e6,
        {f"{number:02d}" + "c" * 62: 2**63 - 1 for number in range(MAX_COUNTS)},
        "ü" * 400,
    )
    assert MAX_BYTES - 500 < len(pack_source(said)[0]) <= MAX_BYTES
    return unpack_source(pack_source(said))
