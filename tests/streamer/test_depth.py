"""Grey, alpha, 16 bits and floats: whatever a camera or a file calls a picture becomes the same 8 bits."""

import struct
import zlib

import cv2
import msgpack
import numpy as np
import pytest
from streamer_support import picture
from tiff_support import tiff

from streamer import images
from streamer.errors import WireError
from streamer.images.depth import bits_for, to_frame
from streamer.images.oddities import Oddities
from streamer.images.survey import survey
from streamer.sender import make_message
from streamer.wire.checks import BIT_DEPTHS
from streamer.wire.frame import FrameMessage, Limits, pack_frame, unpack_frame

GREY = picture(1)[..., 0]
THREE = np.repeat(GREY[..., None], 3, axis=2)
DEPTHS = [depth for depth in BIT_DEPTHS if isinstance(depth, int)]


def codes(decoded):
    return [code for code, _ in decoded.warnings]


def deep(depth, grey=GREY):
    """Eight bits as a camera of more bits would send them."""
    return grey.astype(np.uint16) << (depth - 8)


def png(pixels, *chunks):
    """A PNG file, with chunks put in before its pixels."""
    whole = cv2.imencode(".png", pixels)[1].tobytes()
    more = b""
    for kind, data in chunks:
        more += struct.pack(">I", len(data)) + kind + data
        more += struct.pack(">I", zlib.crc32(kind + data))
    return whole[:33] + more + whole[33:]


def through_the_wire(frame, **more):
    message = make_message("line", 1, frame, 1, None, capture_ns=1, **more)
    return images.read(unpack_frame(pack_frame(message), Limits()), Limits())


@pytest.mark.parametrize("encoding", ["raw", "png"])
@pytest.mark.parametrize(
    "frame",
    [
        GREY,
        GREY[..., None],
        np.dstack([GREY, 255 - GREY]),
        THREE,
        np.dstack([THREE, 255 - GREY]),
        np.asfortranarray(GREY),
        THREE[::-1, ::-1][::-1, ::-1],
    ],
    ids=["HxW", "HxWx1", "grey and alpha", "BGR", "BGRA", "columns first", "strided"],
)
def test_grey_is_three_equal_channels_and_alpha_is_dropped(frame, encoding):
    np.testing.assert_array_equal(through_the_wire(frame, encoding=encoding).frame, THREE)
    scaled = frame.astype(np.uint16) << 4
    np.testing.assert_array_equal(through_the_wire(scaled, encoding=encoding, bit_depth=12).frame, THREE)
    for dtype in (np.float32, np.float64):
        found = through_the_wire(frame.astype(dtype) / 255, encoding=encoding)
        np.testing.assert_array_equal(found.frame, THREE)


def test_grey_jpeg_is_as_near_as_a_jpeg_is():
    frame = through_the_wire(GREY, encoding="jpeg").frame
    assert np.abs(frame.astype(int) - THREE).max() < 12
    assert (frame == frame[..., :1]).all()


@pytest.mark.parametrize("shape", [[4, 4], [4, 4, 1], [4, 4, 2], [4, 4, 3], [4, 4, 4]])
@pytest.mark.parametrize(("dtype", "size"), [("uint8", 1), ("uint16", 2), ("float32", 4)])
def test_a_raw_payload_has_the_bytes_of_its_shape(shape, dtype, size):
    n = int(np.prod(shape)) * size
    fields = {"v": 1, "kind": "frame", "stream": "s", "frame_id": 1, "encoding": "raw"}
    fields |= {"shape": shape, "dtype": dtype}
    assert unpack_frame([msgpack.packb(fields), bytes(n)], Limits()).shape == tuple(shape)
    for wrong in (n - 1, n + 1):
        with pytest.raises(WireError, match=f"expected {n} for") as caught:
            unpack_frame([msgpack.packb(fields), bytes(wrong)], Limits())
        assert caught.value.code == "payload_size"


@pytest.mark.parametrize("said", [12, "float", "auto", None, 7, "12", True, 12.0, [12]])
def test_bit_depth_in_a_header_is_one_of_the_known(said):
    fields = {"v": 1, "kind": "frame", "stream": "s", "frame_id": 1, "encoding": "png", "bit_depth": said}
    if said in (12, "float", "auto", None) and type(said) in (int, str, type(None)):
        assert unpack_frame([msgpack.packb(fields), b""], Limits()).bit_depth == said
    else:
        with pytest.raises(WireError, match=r"bit_depth: got .*, expected one of auto, 8, 10") as caught:
            unpack_frame([msgpack.packb(fields), b""], Limits())
        assert caught.value.code == "bad_value"


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_upper_eight_of_the_bits_in_use_are_kept(depth):
    values = deep(depth)
    np.testing.assert_array_equal(to_frame(values, depth).frame, THREE)
    brightest = np.array([[0, 2**depth - 1]], np.uint16)
    assert to_frame(brightest, depth).frame[0, :, 0].tolist() == [0, 255]
    # A file, and the header of a frame, say the same of the same numbers; so do floats of these integers.
    np.testing.assert_array_equal(images.decode_file(png(values), depth), THREE)
    np.testing.assert_array_equal(images.decode_file(tiff(values, 16), depth), THREE)
    np.testing.assert_array_equal(to_frame(values.astype(np.float32), depth).frame, THREE)
    message = FrameMessage("s", 1, "png", png(values), bit_depth=depth)
    np.testing.assert_array_equal(images.decode(message, Limits(), 16 if depth < 16 else 8), THREE)


def test_sixteen_bits_are_cut_as_opencv_cuts_them():
    values = np.random.default_rng(0).integers(0, 65536, (20, 30, 3), np.uint16)
    for pixels in (values, values[..., 0]):
        whole = cv2.imencode(".png", pixels)[1]
        np.testing.assert_array_equal(images.decode_file(whole.tobytes()), cv2.imdecode(whole, 1))
        assert images.read_file(whole.tobytes()).warnings == ()


def test_what_a_bit_depth_cannot_hold_is_white_and_told():
    decoded = to_frame(np.array([[0, 4095, 4096, 65535]], np.uint16), 12)
    assert decoded.frame[0, :, 0].tolist() == [0, 255, 255, 255]
    assert codes(decoded) == ["above_bit_depth"]
    decoded = to_frame(np.array([[-0.5, 0.0, 0.5, 1.5]], np.float32), "float")
    assert decoded.frame[0, :, 0].tolist() == [0, 0, 128, 255]
    assert codes(decoded) == ["above_bit_depth"]


def test_alpha_says_nothing_of_the_bits_in_use():
    opaque = np.dstack([deep(12), np.full(GREY.shape, 65535, np.uint16)])
    assert codes(to_frame(opaque, 12)) == []
    assert codes(to_frame(opaque)) == ["bit_depth_unsure"]


def test_unused_bits_are_told_and_full_ones_are_not():
    unsure = to_frame(deep(12))
    assert codes(unsure) == ["bit_depth_unsure"]
    assert "use 12 of 16 bits" in unsure.warnings[0][1]
    np.testing.assert_array_equal(unsure.frame, THREE >> 4)
    assert codes(to_frame(deep(16))) == []
    assert codes(to_frame(np.zeros((4, 4), np.uint16))) == ["constant_image"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_are_refused_where_nobody_can_know_what_they_are(dtype):
    for bad, code in ((np.nan, "not_finite"), (np.inf, "not_finite"), (1.01, "bad_value"), (-1, "bad_value")):
        pixels = np.full((3, 3), 0.5, dtype)
        pixels[1, 1] = bad
        with pytest.raises(WireError, match=r"payload: a pixel|say bit_depth") as caught:
            to_frame(pixels)
        assert caught.value.code == code
        assert "\n" not in caught.value.text
    with pytest.raises(WireError, match="16-bit integers"):
        to_frame(deep(12), "float")
    with pytest.raises(WireError, match="would be black; expected float"):
        to_frame((GREY / 255).astype(dtype), 12)
    assert codes(to_frame(np.array([[0, 1]], dtype), 12)) == ["constant_image"]


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_a_tiff_says_its_depth(bits):
    for file in (
        tiff(deep(bits), bits),
        tiff(deep(bits), 16, largest=2**bits - 1),
        tiff(deep(bits), 16, largest=2**bits - 1, order=">"),
    ):
        decoded = images.read_file(file)
        np.testing.assert_array_equal(decoded.frame, THREE)
        assert decoded.warnings == ()
    # A tag that the pixels do not agree with says nothing.
    np.testing.assert_array_equal(images.decode_file(tiff(deep(16), 16, largest=2**bits - 1)), THREE)


@pytest.mark.parametrize("order", "<>")
def test_tiffs_of_floats_and_of_white_zero(order):
    for dtype, bits in ((np.float32, 32), (np.float64, 64)):
        file = tiff((GREY / 255).astype(dtype), bits, order=order)
        np.testing.assert_array_equal(images.decode_file(file), THREE)
        negative = tiff((1 - GREY / 255).astype(dtype), bits, order=order, photometric=0)
        np.testing.assert_array_equal(images.decode_file(negative), THREE)
    negative = tiff(4095 - deep(12), 16, order=order, photometric=0)
    np.testing.assert_array_equal(images.decode_file(negative, 12), THREE)


def test_a_png_that_says_its_bits_is_believed_where_its_pixels_agree():
    noise = np.random.default_rng(0).integers(0, 4096, (20, 30), np.uint16)
    said = (b"sBIT", b"\x0c")
    as_they_are = images.read_file(png(noise, said))
    np.testing.assert_array_equal(as_they_are.frame[..., 0], noise >> 4)
    assert as_they_are.warnings == ()
    # As the PNG specification has it: scaled to all 16 bits, be the picture dark or not.
    for grey in (noise, noise >> 6):
        scaled = (grey << 4) | (grey >> 8)
        decoded = images.read_file(png(scaled.astype(np.uint16), said))
        np.testing.assert_array_equal(decoded.frame[..., 0], grey >> 4)
        assert decoded.warnings == ()


def test_no_bytes_of_a_header_do_more_than_raise():
    file = bytearray(tiff(deep(12), 16, largest=4095))
    for at in [*range(8), *range(8 + 2 * GREY.size, len(file))]:
        for value in (0, 1, 255):
            changed = bytes(file[:at]) + bytes([value]) + bytes(file[at + 1 :])
            images.is_deep(changed)
    for length in range(0, len(file), 7):
        images.is_deep(bytes(file[:length]))


def test_a_picture_of_one_colour_is_told():
    flat = np.full((40, 50, 3), (1, 2, 3), np.uint8)
    assert codes(to_frame(flat)) == ["constant_image"]
    flat[13, 17, 1] = 3
    assert codes(to_frame(flat)) == []
    dark = to_frame(np.array([[0.0, 0.001]], np.float32))  # different, and black all the same
    assert codes(dark) == ["constant_image"]


def written(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_bytes(content)
    return sorted(folder.iterdir())


def test_the_depth_of_a_folder_is_that_of_its_brightest_image(tmp_path):
    dark = (deep(12) // 200).astype(np.uint16)  # would be taken for 8 bits alone
    paths = written(tmp_path, a_png=png(dark), b_png=png(deep(12)), c_jpg=b"no image", d_png=png(GREY))
    found = survey(paths)
    assert found.bit_depth == 12
    assert "2 images use 12 of 16 bits" in found.line
    assert "--bit-depth 16" in found.line
    assert survey(paths[::-1]) == found
    assert survey(paths, 16).bit_depth == 16
    assert survey([paths[0]]).bit_depth == 8
    assert survey([paths[3]]) == survey([]) == survey([tmp_path / "none.png"])


def test_a_damaged_image_is_not_looked_at(tmp_path, capfd):
    """OpenCV cleared 2 GB for a chunk that says it is so long, and told the terminal of others."""
    whole = png(deep(12))
    at = whole.index(b"IDAT") - 4
    long = whole[:at] + b"\x7f\xff\xff\xf0" + whole[at + 4 :]
    paths = written(tmp_path, a_png=long, b_png=whole[:-20], c_png=whole)
    assert survey(paths).bit_depth == 12
    assert survey(paths[:2]) == survey([])
    assert capfd.readouterr().err == ""


def test_a_folder_says_nothing_where_nothing_is_to_be_said(tmp_path):
    full = survey(written(tmp_path / "full", a_png=png(deep(16))))
    assert (full.bit_depth, full.line) == (16, "")
    packed = survey(written(tmp_path / "packed", a_tif=tiff(deep(12), 12)))
    assert (packed.bit_depth, packed.line) == (12, "")
    floats = survey(written(tmp_path / "floats", a_tif=tiff((GREY / 255).astype(np.float32), 32)))
    assert (floats.bit_depth, floats.line) == ("auto", "")
    black = survey(written(tmp_path / "black", a_png=png(np.zeros((4, 4), np.uint16))))
    assert black.bit_depth == "auto"


def test_a_tag_counts_of_every_image_and_pixels_of_some(tmp_path):
    names = {f"{index:03d}_tif": tiff(deep(8), 16, largest=255) for index in range(100)}
    paths = written(tmp_path, **names)
    paths[50].write_bytes(tiff(deep(8), 16, largest=1023))
    assert survey(paths).bit_depth == 10


def test_a_folder_of_floats_beyond_one_or_of_two_kinds_is_an_error(tmp_path):
    paths = written(tmp_path, a_tif=tiff(GREY.astype(np.float32), 32))
    with pytest.raises(WireError, match=r"a\.tif: bit_depth: .*--bit-depth"):
        survey(paths)
    assert survey(paths, 8).bit_depth == 8
    with pytest.raises(WireError, match=r"b\.png holds integers"):
        survey(written(tmp_path / "integers", b_png=png(deep(12))), "float")
    with pytest.raises(WireError, match="the frame is uint16"):
        through_the_wire(deep(12), encoding="png", bit_depth="float")
    paths = written(tmp_path / "both", a_tif=tiff((GREY / 255).astype(np.float32), 32), b_png=png(deep(12)))
    with pytest.raises(WireError, match=r"a\.tif is floating-point and .*b\.png is not"):
        survey(paths)


def test_oddities_are_counted_and_the_first_named():
    oddities = Oddities()
    for index in range(5):
        oddities.add(f"{index}.png", to_frame(np.zeros((4, 4), np.uint8)).warnings)
    oddities.add("good.png", to_frame(GREY).warnings)
    (line,) = oddities.lines()
    assert line.startswith(
        "constant_image: 5 images, among them 0.png, 1.png, 2.png: every pixel is [0, 0, 0]"
    )


def test_every_value_fits_the_bits_found_for_it():
    for value in (0, 255, 256, 1023, 1024, 4095, 4096, 16383, 16384, 65535):
        bits = int(bits_for(value))
        assert value < 2**bits
        assert bits == 8 or all(value >= 2**fewer for fewer in DEPTHS if fewer < bits)
