"""Text files that people and other programs wrote: which encoding they are in is seen, or said."""

import codecs
from pathlib import Path

_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16's, with which it begins
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read(path: Path) -> str:
    """A file's text, in UTF-8, or in what its byte order mark says; lines end in LF.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not in that encoding; one line that says where, and what it looks like.
    """
    raw = path.read_bytes()
    encoding = next((name for mark, name in _MARKS.items() if raw.startswith(mark)), "utf-8")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(_unlike(raw, encoding, error)) from None
    if "\0" in text:
        raise ValueError("holds NUL characters (UTF-16 without a mark?); save it as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _unlike(raw: bytes, encoding: str, error: UnicodeDecodeError) -> str:
    if encoding != "utf-8":
        return f"is marked as {encoding.removesuffix('-sig').upper()} but is not; save it as UTF-8"
    line = raw[: error.start].count(b"\n") + 1
    try:
        guess = f", which is {raw[error.start : error.start + 1].decode('cp1252')!r} in Windows-1252"
    except UnicodeDecodeError:
        guess = ""
    return f"is not UTF-8: line {line} has the byte 0x{raw[error.start]:02x}{guess}; save it as UTF-8"
