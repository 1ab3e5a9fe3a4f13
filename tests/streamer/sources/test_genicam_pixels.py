"""Pixels of GenICam cameras, against plain loops over the bits and the mosaic that the standard draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.errors import StreamerError
from streamer.sources.genicam.pixels import FORMATS, PixelFormat, format_of, to_pixels

BY_NAME = {one.name: one for one in FORMATS.values()}
PACKED = [one for one in FORMATS.values() if one.packing and one.colours == "mono"]
BAYER = [one for one in FORMATS.values() if one.name.startswith("Bayer")]
COLOUR = {"B": 0, "G": 1, "R": 2}
SECOND_ROW = {"GR": "BG", "RG": "GB", "GB": "RG", "BG": "GR"}
CODES = {
    "Mono": {"8": 0x01080001, "10": 0x01100003, "12": 0x01100005, "14": 0x01100025, "16": 0x01100007}
    | {"10Packed": 0x010C0004, "12Packed": 0x010C0006, "10p": 0x010A0046, "12p": 0x010C0047},
    "BayerGR": {"8": 0x01080008, "10": 0x0110000C, "12": 0x01100010, "16": 0x0110002E}
    | {"10Packed": 0x010C0026, "12Packed": 0x010C002A, "10p": 0x010A0056, "12p": 0x010C0057},
    "BayerRG": {"8": 0x01080009, "10": 0x0110000D, "12": 0x01100011, "16": 0x0110002F}
    | {"10Packed": 0x010C0027, "12Packed": 0x010C002B, "10p": 0x010A0058, "12p": 0x010C0059},
    "BayerGB": {"8": 0x0108000A, "10": 0x0110000E, "12": 0x01100012, "16": 0x01100030}
    | {"10Packed": 0x010C0028, "12Packed": 0x010C002C, "10p": 0x010A0054, "12p": 0x010C0055},
    "BayerBG": {"8": 0x0108000B, "10": 0x0110000F, "12": 0x01100013, "16": 0x01100031}
    | {"10Packed": 0x010C0029, "12Packed": 0x010C002D, "10p": 0x010A0052, "12p": 0x010C0053},
    "RGB": {"8": 0x02180014},
    "BGR": {"8": 0x02180015},
}
"""As the Pixel Format Naming Convention lists them."""


def packed(values: list[int], wanted: PixelFormat) -> bytes:
    """Bit by bit, as the standards write it."""
    if not wanted.packing:
        return b"".join(value.to_bytes(1 if wanted.bits == 8 else 2, "little") for value in values)
    bits: list[int] = []
    if wanted.packing == "lsb":
        for value in values:
            bits += [value >> i & 1 for i in range(wanted.bits)]
    else:  # two in three bytes: the upper 8 of one, the lower bits of both, the upper 8 of the other
        low = wanted.bits - 8
        for first, second in zip(values[::2], [*values[1::2], *[0] * (len(values) % 2)], strict=True):
            bits += [first >> low + i & 1 for i in range(8)]
            for value in (first, second):
                bits += [value >> i & 1 if i < low else 0 for i in range(4)]
            bits += [second >> low + i & 1 for i in range(8)]
    whole = [*bits, *[0] * (-len(bits) % 8)]
    made = bytes(sum(bit << i for i, bit in enumerate(whole[k : k + 8])) for k in range(0, len(whole), 8))
    return made[: wanted.n_bytes(len(values), 1)]


def as_sent(values: np.ndarray, wanted: PixelFormat) -> np.ndarray:
    return np.frombuffer(packed(values.reshape(-1).tolist(), wanted), np.uint8)


def mosaic_of(name: str, y: int, x: int) -> str:
    """The colour of a pixel by the format's name: BayerRG8 begins with R, G."""
    first = name[5:7]
    return (SECOND_ROW[first] if y % 2 else first)[x % 2]


def debayered(values: np.ndarray, name: str) -> np.ndarray:
    """The inner pixels: each colour the mean of its nearest neighbours, a half rounded up."""
    height, width = values.shape
    frame = np.zeros((height, width, 3), np.int64)
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            for colour, channel in COLOUR.items():
                near = [(0, 0)] if mosaic_of(name, y, x) == colour else []
                for group in ([(0, -1), (0, 1), (-1, 0), (1, 0)], [(-1, -1), (-1, 1), (1, -1), (1, 1)]):
                    near = near or [(j, i) for j, i in group if mosaic_of(name, y + j, x + i) == colour]
                total = sum(int(values[y + j, x + i]) for j, i in near)
                frame[y, x, channel] = (total + len(near) // 2) // len(near)
    return frame[1:-1, 1:-1]


@pytest.mark.parametrize("wanted", PACKED, ids=lambda one: one.name)
@given(data=st.data())
def test_packed_pixels_are_what_the_bits_say(wanted: PixelFormat, data: st.DataObject) -> None:
    width, height = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 5))
    seed = data.draw(st.integers(0, 1000))
    values = np.random.default_rng(seed).integers(0, 2**wanted.bits, (height, width), dtype=np.uint16)
    got = to_pixels(as_sent(values, wanted), wanted, width, height)
    assert got.dtype == np.uint16
    assert got.tolist() == values.tolist()


@pytest.mark.parametrize("wanted", PACKED, ids=lambda one: one.name)
def test_a_packed_picture_of_many_steps_is_whole(wanted: PixelFormat) -> None:
    width, height = 331, 307
    values = np.random.default_rng(1).integers(0, 2**wanted.bits, (height, width), dtype=np.uint16)
    assert np.array_equal(to_pixels(as_sent(values, wanted), wanted, width, height), values)


@pytest.mark.parametrize("name", ["Mono8", "Mono10", "Mono12", "Mono14", "Mono16"])
def test_mono_pixels_come_as_they_are_and_belong_to_nobody_else(name: str) -> None:
    wanted = BY_NAME[name]
    values = np.random.default_rng(2).integers(0, 2**wanted.bits, (5, 7), dtype=np.uint16)
    sent = as_sent(values, wanted).copy()
    got = to_pixels(sent, wanted, 7, 5)
    sent[:] = 0
    assert got.dtype == (np.uint8 if wanted.bits == 8 else np.uint16)
    assert got.tolist() == values.tolist()


@pytest.mark.parametrize("wanted", BAYER, ids=lambda one: one.name)
def test_a_mosaic_becomes_bgr_by_the_mean_of_its_neighbours(wanted: PixelFormat) -> None:
    values = np.random.default_rng(3).integers(0, 2**wanted.bits, (9, 12), dtype=np.uint16)
    got = to_pixels(as_sent(values, wanted), wanted, 12, 9)
    assert got.shape == (9, 12, 3)
    assert got.dtype == np.uint8
    expected = debayered(values >> (wanted.bits - 8), wanted.name)
    assert np.array_equal(got[1:-1, 1:-1], expected)


def test_a_mosaic_brighter_than_its_bits_is_white() -> None:
    values = np.full((6, 8), 0xFFFF, np.uint16)
    sent = values.view(np.uint8).reshape(-1)
    sent.flags.writeable = False
    assert (to_pixels(sent, BY_NAME["BayerGR12"], 8, 6) == 255).all()


@pytest.mark.parametrize("order", ["GR", "RG", "GB", "BG"])
@pytest.mark.parametrize("colour", ["B", "G", "R"])
def test_a_part_of_one_colour_keeps_it(order: str, colour: str) -> None:
    wanted = BY_NAME[f"Bayer{order}12p"]
    lit = [[4095 * (mosaic_of(wanted.name, y, x) == colour) for x in range(8)] for y in range(6)]
    got = to_pixels(as_sent(np.array(lit), wanted), wanted, 8, 6)
    expected = [255 if one == COLOUR[colour] else 0 for one in range(3)]
    assert (got == expected).all()


@pytest.mark.parametrize(("name", "order"), [("RGB8", [2, 1, 0]), ("BGR8", [0, 1, 2])])
def test_colours_come_as_bgr(name: str, order: list[int]) -> None:
    values = np.random.default_rng(4).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    got = to_pixels(values.reshape(-1), BY_NAME[name], 5, 4)
    assert np.array_equal(got, values[:, :, order])


@pytest.mark.parametrize("name", ["Mono8", "Mono16", "Mono12p", "RGB8", "BayerGB10"])
def test_padding_behind_the_rows_is_left_out(name: str) -> None:
    wanted = BY_NAME[name]
    values = np.random.default_rng(5).integers(0, 256, 4 * 6 * (3 if name == "RGB8" else 1), dtype=np.uint16)
    sent = as_sent(values, wanted)
    rows = sent.reshape(4, -1)
    padded = np.concatenate((rows, np.full((4, 5), 0xEE, np.uint8)), axis=1).reshape(-1)
    expected = to_pixels(sent, wanted, 6, 4)
    assert np.array_equal(to_pixels(padded, wanted, 6, 4, padding=5), expected)
    assert np.array_equal(to_pixels(padded[:-5], wanted, 6, 4, padding=5), expected)


def test_what_lies_behind_a_picture_is_left_out() -> None:
    values = np.arange(12, dtype=np.uint8)
    assert to_pixels(values, BY_NAME["Mono8"], 5, 2).tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


@pytest.mark.parametrize(
    ("name", "n_bytes", "width", "height", "padding", "text"),
    [
        ("Mono8", 99, 10, 10, 0, "Mono8: got 99 bytes, expected 100 of 10 x 10 pixels"),
        ("Mono12p", 100, 2**31 - 1, 2**31 - 1, 0, "Mono12p: got 100 bytes, expected"),
        ("Mono8", 100, 10, 10, 1, "Mono8: got 100 bytes, expected 10 rows of 11"),
        ("Mono12p", 100, 3, 2, 1, "rows of 3 pixels end within a byte"),
        ("BayerRG8", 100, 50, 2, 0, "expected at least 3 x 3"),
    ],
)
def test_a_picture_that_cannot_be_is_refused_by_name(
    name: str, n_bytes: int, width: int, height: int, padding: int, text: str
) -> None:
    with pytest.raises(StreamerError, match=text):
        to_pixels(np.zeros(n_bytes, np.uint8), BY_NAME[name], width, height, padding)


def test_a_format_that_cannot_be_used_is_refused_with_those_that_can() -> None:
    with pytest.raises(
        StreamerError, match=r"0x02100032, expected one of Mono8, Mono10.*RGB8, BGR8, or Bayer"
    ):
        format_of(0x02100032)


def test_the_codes_are_the_standards() -> None:
    codes = {f"{family}{bits}": code for family, some in CODES.items() for bits, code in some.items()}
    assert {one.name: code for code, one in FORMATS.items()} == codes


def test_names_and_codes_agree_about_the_bits() -> None:
    for one in FORMATS.values():
        on_the_wire = {"gige": 12, "lsb": one.bits}.get(one.packing, 8 if one.bits == 8 else 16)
        assert one.bits_per_pixel == on_the_wire * (3 if one.colours in {"RGB", "BGR"} else 1), one.name
