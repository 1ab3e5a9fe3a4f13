"""Small copies that pictures are compared by, and the pictures that came last."""

import cv2
import numpy as np
import pytest

from streamer.page.pictures import Newest, _means, thumb_of


@pytest.mark.parametrize("shape", [(16, 16), (45, 60), (17, 31), (1, 1), (3, 40), (16, 5), (100, 15)])
def test_a_small_copy_is_the_mean_of_each_field(shape):
    grey = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    expected = np.empty((16, 16), np.uint8)
    for row in range(16):
        for column in range(16):
            top, left = row * shape[0] // 16, column * shape[1] // 16
            bottom = max((row + 1) * shape[0] // 16, top + 1)
            right = max((column + 1) * shape[1] // 16, left + 1)
            field = grey[top:bottom, left:right].astype(int)
            expected[row, column] = field.sum() // field.size
    np.testing.assert_array_equal(_means(grey), expected)


@pytest.mark.parametrize("shape", [(480, 360), (20, 2000), (24, 40)])
def test_alike_pictures_have_alike_copies_whatever_their_size(shape):
    height, width = shape
    ramp = np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))
    jpeg = cv2.imencode(".jpg", ramp)[1].tobytes()
    copy = np.frombuffer(thumb_of(jpeg) or b"", np.uint8).reshape(16, 16).astype(int)
    fields = [
        ramp[0, max(0, i * width // 16) : max((i + 1) * width // 16, i * width // 16 + 1)] for i in range(16)
    ]
    wanted = np.array([field.mean() for field in fields])
    assert np.abs(copy - wanted).max() < 8  # a JPEG's own losses, and those of its smaller scale


def test_a_picture_that_is_none_has_no_copy():
    jpeg = cv2.imencode(".jpg", np.zeros((64, 64), np.uint8))[1].tobytes()
    header_alone = jpeg[: jpeg.index(b"\xff\xda")]
    assert thumb_of(jpeg) is not None
    assert thumb_of(header_alone) is None


def test_the_newest_pictures_are_bounded_in_number_and_bytes():
    newest = Newest()
    newest.put({("line", f"i:{number}"): bytes([number]) for number in range(100)})
    assert newest.get("line", "i:0") is None
    assert newest.get("line", "i:99") == bytes([99])
    assert newest.get("other", "i:99") is None
    newest.put({("line", "i:99"): b"again"})
    assert newest.get("line", "i:99") == b"again"
    for number in range(5):
        newest.put({("line", f"s:{number}"): bytes(3 * 2**20)})
    kept = [number for number in range(5) if newest.get("line", f"s:{number}") is not None]
    assert kept == [3, 4]
    assert newest.get("line", "i:99") is None
