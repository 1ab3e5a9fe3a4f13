"""Image files: what libjpeg or zlib call damaged is refused, what costs more than a picture does as well."""

import io
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image
from streamer_support import picture, png

from bench.datasets.images import read_frame
from bench.fuzz import costly
from streamer import images, sources
from streamer.errors import WireError
from streamer.images.whole import MAGIC, whole_file

PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
AS_IT_IS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


def jpeg(frame=None, mode="RGB", **options):
    buffer = io.BytesIO()
    image = Image.fromarray(picture(1, 60, 80) if frame is None else frame).convert(mode)
    image.save(buffer, "JPEG", **{"quality": 90, **options})
    return buffer.getvalue()


def by_opencv(payload):
    return cv2.imdecode(np.frombuffer(payload, np.uint8), AS_IT_IS)


def refused(payload, match):
    with pytest.raises(WireError, match=match) as caught:
        images.decode_file(payload)
    assert caught.value.code == "undecodable"
    assert "\n" not in caught.value.text


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (37, 53), (64, 64)])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_pixels_are_opencvs_to_the_last_bit(size, progressive, mode, subsampling):
    frame = picture(4, *size)
    for quality in (40, 95):
        payload = jpeg(frame, mode, progressive=progressive, subsampling=subsampling, quality=quality)
        np.testing.assert_array_equal(images.decode_file(payload), by_opencv(payload))


def test_what_turbojpeg_does_not_know_is_read_by_opencv():
    payload = jpeg(mode="CMYK")
    np.testing.assert_array_equal(images.decode_file(payload), by_opencv(payload))
    refused(payload[: len(payload) // 2], "it has no end")


def test_what_libjpeg_only_remarks_on_is_no_damage():
    payload = jpeg()
    at = payload.index(b"JFIF\0") + 5
    odd = payload[:at] + b"\x02" + payload[at + 1 :]
    np.testing.assert_array_equal(images.decode_file(odd), images.decode_file(payload))


def odd_first(payload, at, value):
    return payload[:at] + bytes([value]) + payload[at + 1 :]


def test_what_libjpeg_remarks_on_hides_no_damage():
    payload = jpeg(picture(1, 240, 320))
    half = payload[: len(payload) // 2] + b"\xff\xd9"
    behind_scan_header = payload.index(b"\xff\xda") + 4 + 1 + 6
    for at, value in ((payload.index(b"JFIF\0") + 5, 2), (behind_scan_header + 1, 5)):
        images.decode_file(odd_first(payload, at, value))
        refused(odd_first(half, at, value), "premature end of data segment")
    payload = jpeg(picture(1, 240, 320), "CMYK")
    at = payload.index(b"Adobe") + 11
    odd = odd_first(payload, at, 7)
    np.testing.assert_array_equal(images.decode_file(odd), by_opencv(odd))
    refused(odd[: len(odd) // 2] + b"\xff\xd9", "premature end of data segment")


def test_what_turbojpeg_does_not_know_is_refused_where_libjpeg_calls_it_damaged(capfd):
    payload = bytearray(jpeg(picture(1, 240, 320), subsampling=0))
    payload[payload.index(b"\xff\xc0") + 11] = 0x31  # three across to one of colour: other blocks
    refused(bytes(payload), "Corrupt JPEG data")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "behind",
    [b"BRCM" + bytes(100) + b"\xff\xda" + bytes(100), b"\xff\xd8\xff\xe1\x00", b"\0", jpeg(), b"\xff"],
)
def test_a_whole_jpeg_may_have_a_cameras_raw_data_behind_it(behind):
    payload = jpeg()
    np.testing.assert_array_equal(images.decode_file(payload + behind), images.decode_file(payload))
    assert whole_file(payload + behind, "jpeg") == payload


def test_a_whole_png_may_have_something_behind_it():
    np.testing.assert_array_equal(images.decode_file(png(picture(1)) + b"more"), picture(1))


def test_a_jpeg_with_a_picture_of_itself_in_it_is_whole_or_not_by_its_own_end():
    small = jpeg(picture(1, 8, 8))
    payload = jpeg()
    held = b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small
    both = payload[:2] + held + payload[2:]
    np.testing.assert_array_equal(images.decode_file(both), images.decode_file(payload))
    refused(both[:-2], "it has no end")


def test_half_a_jpeg_with_an_end_marker_is_refused():
    payload = jpeg(picture(1, 240, 320))
    for part in (0.3, 0.5, 0.9):
        refused(payload[: int(len(payload) * part)] + b"\xff\xd9", "premature end of data segment")


def test_noise_instead_of_a_jpegs_pixels_is_refused():
    payload = jpeg(picture(1, 240, 320))
    at = len(payload) // 2
    noise = np.random.default_rng(0).integers(0, 255, len(payload) - at - 2, np.uint8).tobytes()
    refused(payload[:at] + noise + b"\xff\xd9", "Corrupt JPEG data")


def test_every_flipped_byte_of_a_png_is_refused():
    payload = png(picture(1))
    for at in range(8, len(payload)):
        damaged = bytearray(payload)
        damaged[at] ^= 255
        with pytest.raises(WireError):
            images.decode_file(bytes(damaged))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "incorrect data check"),
        (lambda data: data[: len(data) // 2], "its pixels are [0-9]+ bytes, expected 3104"),
        (lambda data: data[:-4], "its pixels are 3104 bytes, expected 3104"),
        (lambda data: data[:20] + b"\xff\xff\xff" + data[23:], "invalid"),
        (lambda _: zlib.compress(bytes(3103)), "its pixels are 3103 bytes, expected 3104"),
        (lambda _: zlib.compress(bytes(1 << 21)), "its pixels are more than the 3104 bytes"),
        (lambda _: b"", "its pixels are 0 bytes"),
    ],
)
def test_what_zlib_calls_damaged_is_refused_though_checksums_fit(changed, says):
    rows = b"".join(b"\0" + bytes(range(i, i + 96)) for i in range(32))
    data = zlib.compress(rows)
    head = b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)
    made = [costly._chunk(*head), costly._chunk(b"IDAT", changed(data)), costly._chunk(b"IEND", b"")]
    refused(MAGIC["png"] + b"".join(made), says)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (8, 8), (37, 53)])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_kind_of_png_is_whole(size, mode):
    frame = Image.fromarray(picture(2, *size))
    image = (
        Image.fromarray(picture(2, *size)[..., 0].astype(np.uint16) * 257)
        if mode == "I;16"
        else frame.convert(mode)
    )
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    payload = buffer.getvalue()
    np.testing.assert_array_equal(images.decode_file(payload), by_opencv(payload))


@pytest.mark.parametrize("depth_and_colour", [(1, 0), (8, 2), (16, 6), (8, 4)])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8), (33, 17)])
def test_an_interlaced_png_is_whole(depth_and_colour, size):
    """Its bytes by hand: a pass that has no pixels has no rows either."""
    (depth, colour), (height, width) = depth_and_colour, size
    bits = depth * {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    rows = b""
    for x, y, step_x, step_y in PASSES:
        columns, lines = len(range(x, width, step_x)), len(range(y, height, step_y))
        rows += (b"\0" + bytes((columns * bits + 7) // 8)) * lines if columns else b""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 1)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    payload = MAGIC["png"] + b"".join(costly._chunk(*chunk) for chunk in chunks)
    assert not images.decode_file(payload).any()
    assert images.decode_file(payload).shape == (height, width, 3)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (costly.markers, "the jpeg has more than 4096 segments"),
        (costly.fill, "no marker where a segment should be"),
        (costly.chunks_png, "the png has more than 65536 chunks"),
        (costly.pixels_png, "its pixels are more than the 3104 bytes its header says"),
    ],
)
def test_what_costs_more_than_its_pixels_is_refused_before_it_is_decoded(made, says, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    refused(made(), says)


def test_scans_are_bounded_by_the_pixels_that_each_costs():
    """A scan of four bytes costs a pass over all pixels."""

    def repeated(side, scans):
        data = jpeg(np.full((side, side, 3), 120, np.uint8), progressive=True)
        n_scans = data.count(b"\xff\xda")
        return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * (scans - n_scans) + b"\xff\xd9"

    # What libjpeg says of a scan that refines nothing: it was decoded.
    refused(repeated(3000, 20), "Inconsistent progression")
    refused(repeated(3000, 21), "of 9000000 pixels has more than 20 scans, expected at most 20")
    refused(repeated(1000, 100), "Inconsistent progression")
    refused(repeated(1000, 101), "of 1000000 pixels has more than 100 scans, expected at most 100")


def test_a_pngs_texts_are_not_inflated_and_its_pixels_are_the_same(monkeypatch):
    payload = costly.text_png()
    seen = []
    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: seen.append(len(data)) or picture(1))
    images.decode_file(payload)
    assert len(payload) > 5_000_000
    assert seen[0] < 1000


@pytest.mark.parametrize("mode", ["RGBA", "LAB", "RGB", "L"])
def test_publisher_replay_and_service_see_the_same_tiff(tmp_path, mode):
    path = tmp_path / "x.tiff"
    array = np.dstack([picture(3), picture(4)[..., :1]])
    image = Image.fromarray(array, "RGBA") if mode == "RGBA" else Image.fromarray(picture(3))
    if mode == "LAB":
        image = Image.frombytes("LAB", image.size, image.tobytes())
    (image.convert("L") if mode == "L" else image).save(path)
    ((_, sent),) = sources.open_source(str(path))
    served = images.decode_file(images.encode(sent, "png"))
    np.testing.assert_array_equal(served, read_frame(path))


def test_a_camera_host_loads_no_decoder_and_no_pil_to_send():
    code = (
        "import sys, streamer.publish, streamer.sender, streamer.images as i, numpy as n;"
        "i.encode(n.zeros((4, 4, 3), n.uint8), 'jpeg');"
        "print([m for m in ('simplejpeg', 'PIL', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
