"""Text that came from outside, a name or a message, as a terminal, a log line or a report may show it.

Data keeps it as it is: JSON, the wire and the history have their own way of quoting.
"""


def printable(value: object) -> str:
    """`str(value)` on one line: what moves a cursor, breaks a line or turns the direction is written out.

    Line breaks, control characters, terminal sequences, bidirectional overrides, invisible characters and
    the halves of characters that a file name may hold become `\\n`, `\\x1b`, `\\u202e`, `\\udcfc`.
    """
    text = str(value)
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


def utf8(name: str) -> str:
    """A file's name, which need not be UTF-8, as text that is; two names never become one.

    Bytes that are no UTF-8 reach Python as half characters and become `\\udcfc`; for that a backslash is
    doubled. Any other name stays what it is.
    """
    return name.replace("\\", "\\\\").encode("utf-8", "backslashreplace").decode("utf-8")
