"""Grey and deep frames on every port are scored as the colour frames they are; what is odd is told."""

import subprocess
import sys
import warnings

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from streamer_support import (
    ANY_PORT,
    PATIENCE_S,
    Camera,
    Screen,
    backbone,
    control,
    header,
    picture,
    png,
    serving,
    small_config,
    watched,
)
from tiff_support import tiff

from streamer.errors import WireError
from streamer.publish import Publisher
from streamer.publish import main as publish_main
from streamer.reliable import ReliablePublisher
from streamer.sources import open_source

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import imagezmq

__all__ = ["backbone"]

N = 3


def grey(seed):
    return picture(seed)[..., 0]


def deep(seed):
    """Twelve of sixteen bits."""
    return grey(seed).astype(np.uint16) << 4


def raw_scores(screen, n_streams):
    """Each stream's raw scores, in the order of its frames."""
    found: dict[str, list] = {}
    for fields in screen.until(N * n_streams, "score"):
        found.setdefault(fields["stream"], []).append(fields["raw_score"])
    return found


def test_grey_and_deep_frames_score_as_colour_on_every_port(backbone):
    config = small_config(
        transport={"imagezmq": ANY_PORT, "batch": 1},
        bit_depth=16,
        streams=[{"match": "twelve*", "bit_depth": 12}, {"match": "float", "bit_depth": "float"}],
    )
    with serving(config, backbone) as service, Screen(service) as screen:
        for stream, kind, more, make in (
            ("colour", Publisher, {}, lambda seed: cv2.cvtColor(grey(seed), cv2.COLOR_GRAY2BGR)),
            ("grey", Publisher, {"encoding": "raw"}, grey),
            ("alpha", Publisher, {}, lambda seed: np.dstack([*[grey(seed)] * 3, grey(0)])),
            ("reliable", ReliablePublisher, {}, lambda seed: grey(seed)[..., None]),
            ("twelve raw", Publisher, {"encoding": "raw"}, deep),
            ("twelve png", Publisher, {}, deep),
            # What the header says counts, whatever is configured.
            ("said", Publisher, {"bit_depth": 12}, deep),
            ("twelve sixteen", Publisher, {"bit_depth": 16}, lambda seed: deep(seed) << 4),
            ("file", Publisher, {"bit_depth": 12}, lambda seed: png(deep(seed))),
            ("float", Publisher, {}, lambda seed: grey(seed) / 255),
        ):
            port = "reliable" if kind is ReliablePublisher else "frames"
            with kind(service.endpoints[port], stream, **more) as camera:
                for seed in range(N):
                    camera.send(make(seed), seed)
        with imagezmq.ImageSender(connect_to=service.endpoints["imagezmq"]) as sender:
            for seed in range(N):
                assert sender.send_image("imagezmq", grey(seed)) == b"OK"
                assert sender.send_image("twelve imagezmq", deep(seed)) == b"OK"
        found = raw_scores(screen, 12)
        assert found["colour"][1:] == pytest.approx(found["grey"][1:], abs=1e-6)
        assert all(scores == pytest.approx(found["colour"], abs=1e-6) for scores in found.values())
        assert control(service, "status")["warned"] == {}


def test_an_imagezmq_sender_hears_that_its_frame_is_not_taken(backbone):
    with serving(small_config(transport={"imagezmq": ANY_PORT}), backbone) as service:
        with imagezmq.ImageSender(connect_to=service.endpoints["imagezmq"]) as sender:
            assert sender.send_image("line", grey(0)) == b"OK"
            assert sender.send_image("line", grey(0).astype(np.int32)) == b"refused"
            assert sender.send_image("line", picture(0)[..., [0] * 5]) == b"refused"
        assert control(service, "status")["refused"] == {"bad_dtype": 1, "bad_shape": 1}


def test_what_is_odd_about_pixels_is_counted_and_not_told_with_every_frame(backbone):
    flat, plain = np.zeros((48, 64, 3), np.uint8), picture(9)
    with watched(backbone) as (service, screen, camera):
        for index, frame in enumerate((deep(0), deep(1), flat, flat, flat, plain, flat, plain)):
            camera.send(header(index, seq=index), png(frame))
        told = screen.until(3 + 8, "error", "score")
        errors = [(fields["code"], fields["frame_id"]) for fields in told if fields["kind"] == "error"]
        assert errors == [("bit_depth_unsure", 0), ("constant_image", 2), ("constant_image", 6)]
        status = control(service, "status")
        assert status["scored"] == 8
        assert status["warned"] == {"bit_depth_unsure": 1, "constant_image": 4}
        camera.send(header(8, seq=8, bit_depth=10), png(deep(2)))
        camera.send(header(9, seq=9, bit_depth=10), png(deep(3)))
        told = screen.until(3, "error", "score")
        assert [fields.get("code") for fields in told if fields["kind"] == "error"] == ["above_bit_depth"]


def test_floats_that_nobody_can_read_are_refused_and_cost_nothing(backbone):
    with (
        serving(small_config(), backbone) as service,
        Screen(service) as screen,
        Publisher(service.endpoints["frames"], "line") as camera,
        Camera(service.endpoints["frames"]) as other,
    ):
        with pytest.raises(WireError, match="a pixel is NaN") as caught:
            camera.send(np.full((9, 9), np.nan))
        assert caught.value.code == "not_finite"
        camera.send(grey(0) * 1.0, 0)
        fields = header(1, encoding="raw", shape=[9, 9], dtype="float32")
        other.send(fields, np.full((9, 9), np.nan, "<f4").tobytes())
        assert {fields["code"] for fields in screen.until(2, "error")} == {"bad_value", "not_finite"}
        camera.send(grey(0) / 255, 2)
        screen.until(1, "score")
        status = control(service, "status")
        assert (status["refused"], status["scored"]) == ({"bad_value": 1, "not_finite": 1}, 1)


def folder_of(root, make, suffix):
    root.mkdir()
    for seed in range(N):
        content = make(seed)
        (root / f"{seed}{suffix}").write_bytes(content)
    return root


@pytest.mark.parametrize(
    ("make", "suffix", "options", "line"),
    [
        (lambda seed: png(deep(seed)), ".png", [], "use 12 of 16 bits"),
        (lambda seed: tiff(deep(seed), 16), ".tif", [], "use 12 of 16 bits"),
        (lambda seed: tiff(deep(seed), 16), ".tif", ["--bit-depth", "12"], ""),
        (lambda seed: tiff((grey(seed) / 255).astype(np.float32), 32), ".tif", [], ""),
    ],
    ids=["png", "tiff", "said", "float"],
)
def test_a_folder_of_deep_images_is_published_as_its_8_bits(make, suffix, options, line, backbone, tmp_path):
    folder_of(tmp_path / "deep", make, suffix)
    folder_of(tmp_path / "plain", lambda seed: png(grey(seed)), ".png")
    with serving(small_config(transport={"batch": 1}), backbone) as service, Screen(service) as screen:
        for name in ("plain", "deep"):
            more = options if name == "deep" else []
            asked = ["--source", tmp_path / name, "--stream", name, "--endpoint", service.endpoints["frames"]]
            done = CliRunner().invoke(publish_main, [*map(str, asked), *more])
            assert done.exit_code == 0, done.stderr
        assert line in done.stderr
        assert bool(line) == ("bit_depth" in done.stderr)
        found = raw_scores(screen, 2)
        assert found["deep"] == pytest.approx(found["plain"], abs=1e-6)
        assert control(service, "status")["warned"] == {}


def test_publish_names_images_that_are_one_colour_and_floats_that_nobody_can_read(tmp_path, backbone):
    black = tiff(np.zeros((9, 9), np.float32), 32)
    folder_of(tmp_path / "black", lambda seed: black, ".tif")
    with serving(small_config(), backbone) as service:
        asked = ["--stream", "line", "--endpoint", service.endpoints["frames"], "--source"]
        done = CliRunner().invoke(publish_main, [*asked, str(tmp_path / "black")])
        assert done.exit_code == 0
        assert "constant_image: 3 images, among them 0.tif, 1.tif, 2.tif: every pixel" in done.stderr
        folder_of(tmp_path / "bright", lambda seed: tiff(grey(seed).astype(np.float32), 32), ".tif")
        done = CliRunner().invoke(publish_main, [*asked, str(tmp_path / "bright")])
        assert done.exit_code == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"error: source: {tmp_path / 'bright' / '0.tif'}: bit_depth: ")
        assert "--bit-depth" in line


def test_a_later_image_of_more_bits_is_clipped_and_told(tmp_path):
    """Of a hundred images the survey looks at some; what the others hold besides is not hidden."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(100):
        (folder / f"{index:03d}.tif").write_bytes(tiff(deep(index), 16))
    (folder / "001.tif").write_bytes(tiff(deep(1) << 4, 16))
    captured = open_source(str(folder))
    frames = dict(captured)
    assert captured.bit_depth == 12
    np.testing.assert_array_equal(frames["000.tif"][..., 0], grey(0))
    (line,) = captured.oddities.lines()
    assert line.startswith("above_bit_depth: 1 images, among them 001.tif: pixels of")


def test_a_camera_host_needs_no_pil_for_deep_images(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(deep(0), 16))
    code = (
        "import sys; from streamer.sources import open_source; "
        f"assert len(dict(open_source({str(tmp_path)!r}))) == 1; assert 'PIL' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE_S)
