"""Whether what was printed is what a page shows."""

import re

TOLERANCE = 0.03
"""Of a number with a point, as a share of what the page shows: processors differ in how they round bfloat16,
which moves scores of a few images, and what is counted of them, by less. Also enough: `NEAR`."""
NEAR = 1e-4
"""What parity allows: differences below it are as good as none, and another one each time."""
_FREE = re.compile(r"\d+\.\d+(?:e-?\d+)?|\d{10,}")
"""Numbers that are a little different on another machine, or quite another on another day."""
_RULE = re.compile("\N{BOX DRAWINGS LIGHT HORIZONTAL}+")
"""Below a table's head, as wide as the names in it."""
_DECIMAL = r"(\d+\.\d+(?:e-?\d+)?)"
_ANYTHING = ".*?"


def matches(shown: str, printed: str, tolerance: float = TOLERANCE) -> bool:
    """Whether what was printed is what the page shows: every line, and numbers within `tolerance`."""
    shown, printed = (_RULE.sub("\N{BOX DRAWINGS LIGHT HORIZONTAL}", text) for text in (shown, printed))
    seen = [line for line in printed.splitlines() if line.strip()]
    so_far = {0}  # how many of the printed lines what was looked at so far may be
    for line in shown.splitlines():
        if line.strip() == "...":
            so_far = set(range(min(so_far), len(seen) + 1)) if so_far else so_far
        elif line.strip():
            so_far = {at + 1 for at in so_far if at < len(seen) and _is_same(line, seen[at], tolerance)}
    return len(seen) in so_far


def _is_same(shown: str, printed: str, tolerance: float) -> bool:
    pattern, numbers = _pattern(shown)
    found = re.fullmatch(rf"\s*{pattern}\s*", printed)
    if found is None:
        return False
    given = (float(number) for number in found.groups())
    return all(abs(a - b) <= max(tolerance * max(b, NEAR), NEAR) for a, b in zip(given, numbers, strict=True))


def _pattern(line: str) -> tuple[str, list[float]]:
    """The regular expression of a line, with a group for each number that is compared; these numbers."""
    found, numbers = "", list[float]()
    for word in line.split():
        any_gap = word == "..." or found.endswith(_ANYTHING)
        found += (r"[ \t]*" if any_gap else r"[ \t]+") if found else ""
        for at, piece in enumerate(word.split("...")):
            found += _ANYTHING if at else ""
            last = 0
            for number in _FREE.finditer(piece):
                is_time = number[0].isdigit()
                numbers += [] if is_time else [float(number[0])]
                found += re.escape(piece[last : number.start()]) + (r"\d{10,}" if is_time else _DECIMAL)
                last = number.end()
            found += re.escape(piece[last:])
    return found, numbers
