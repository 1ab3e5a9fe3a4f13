"""The moment at which a test camera made a picture, drawn into it: black and white blocks.

They survive H.264 and JPEG, so how old a frame is can be told from the frame itself, whatever its header
says. Of the standard library only: the RTSP camera runs in the system's Python, which has no numpy.
"""

BLOCK = 16
COLUMNS, ROWS = 12, 8
WIDTH, HEIGHT = COLUMNS * BLOCK, ROWS * BLOCK
_BITS = 64
_CHECK = 16


def draw(moment_ns):
    """A grey picture, `HEIGHT` rows of `WIDTH` bytes: microseconds, then a sum that finds a wrong block."""
    value = moment_ns // 1000
    value = value << _CHECK | value % 65521
    bits = [value >> shift & 1 for shift in reversed(range(_BITS + _CHECK))]
    bits += [index % 2 for index in range(COLUMNS * ROWS - len(bits))]
    rows = [
        b"".join(bytes([235 if bit else 16]) * BLOCK for bit in bits[start : start + COLUMNS])
        for start in range(0, len(bits), COLUMNS)
    ]
    return b"".join(row * BLOCK for row in rows)


def read(frame):
    """The moment drawn into a picture, in ns since 1970, to the microsecond; an array or its rows."""
    centre = BLOCK // 2
    value = 0
    for index in range(_BITS + _CHECK):
        row, column = divmod(index, COLUMNS)
        pixel = frame[row * BLOCK + centre][column * BLOCK + centre]
        value = value << 1 | (int(pixel if isinstance(pixel, int) else pixel.max()) > 125)
    moment, check = value >> _CHECK, value & (1 << _CHECK) - 1
    assert moment % 65521 == check, "the picture shows no moment"
    return 1000 * moment
