"""Every bad message is told once, by code and frame, and costs no other frame anything."""

import cv2
import msgpack
from streamer_support import backbone, control, header, identity_holds, picture, png, watched

__all__ = ["backbone"]

BAD = {
    "bad_parts": lambda: [msgpack.packb(header("a"))],
    "bad_header": lambda: [b"\xc1", b""],
    "header_too_large": lambda: [msgpack.packb({"x": "y" * 70_000}), b""],
    "unsupported_version": lambda: [msgpack.packb(header("a", v=2)), png(picture(0))],
    "unknown_kind": lambda: [msgpack.packb(header("a", kind="score")), png(picture(0))],
    "unknown_key": lambda: [msgpack.packb(header("a", colour="red")), png(picture(0))],
    "missing_key": lambda: [msgpack.packb({"v": 1, "kind": "frame", "stream": "line"}), b""],
    "bad_value": lambda: [msgpack.packb(header("a", seq=-1)), png(picture(0))],
    "not_finite": lambda: [msgpack.packb(header("a", meta={"x": [float("nan")]})), png(picture(0))],
    "bad_encoding": lambda: [msgpack.packb(header("a", seq=None, encoding="jpeg")), png(picture(0))],
    "bad_dtype": lambda: [
        msgpack.packb(header("a", encoding="raw", shape=[1, 1, 3], dtype="int8")),
        bytes(3),
    ],
    "bad_shape": lambda: [
        msgpack.packb(header("a", encoding="raw", shape=[2, 2, 5], dtype="uint8")),
        bytes(20),
    ],
    "empty_image": lambda: [msgpack.packb(header("a", encoding="raw", shape=[0, 4, 3], dtype="uint8")), b""],
    "image_too_large": lambda: [
        msgpack.packb(header("a", encoding="raw", shape=[10**6, 10**6, 3], dtype="uint8")),
        b"",
    ],
    "payload_size": lambda: [
        msgpack.packb(header("a", encoding="raw", shape=[2, 2, 3], dtype="uint8")),
        bytes(11),
    ],
    "undecodable": lambda: [msgpack.packb(header("u", seq=None)), b"no image at all"],
}


def test_every_bad_message_is_one_error_and_costs_no_other_frame(backbone):
    truncated = {
        "png": png(picture(1))[:-40],
        "jpeg": cv2.imencode(".jpg", picture(1))[1].tobytes()[:-30],
    }
    with watched(backbone) as (service, screen, camera):
        codes = [*BAD, "undecodable", "undecodable"]
        for index, code in enumerate(BAD):
            camera.picture(index)
            camera.socket.send_multipart(BAD[code]())
        for encoding, payload in truncated.items():
            camera.send(header(f"cut-{encoding}", seq=1000, encoding=encoding), payload)
        camera.picture(999, seq=1001)
        told = screen.until(len(codes) + len(BAD) + 1, "error", "score")
        errors = [fields for fields in told if fields["kind"] == "error"]
        # A payload that cannot be decoded is found out later than a header that cannot be read.
        assert sorted(fields["code"] for fields in errors) == sorted(codes)
        assert all(fields["text"] and "\n" not in fields["text"] for fields in errors)
        by_code = {fields["code"]: fields for fields in errors}
        assert (by_code["unknown_key"]["stream"], by_code["unknown_key"]["frame_id"]) == ("line", "a")
        assert by_code["bad_header"]["stream"] is None
        status = control(service, "status")
        assert status["scored"] == len(BAD) + 1
        assert sum(status["refused"].values()) == len(codes)
        assert status["queued"] == 0
        assert identity_holds(status)


def test_duplicates_are_refused_and_disorder_is_told(backbone):
    with watched(backbone, limits={"known_ids": 12}) as (service, screen, camera):
        camera.picture(5)
        camera.picture(5)
        camera.picture(3)
        camera.picture(6)
        told = screen.until(5, "error", "score")
        assert [(fields["code"], fields["frame_id"]) for fields in told if fields["kind"] == "error"] == [
            ("duplicate", "line-5"),
            ("out_of_order", "line-3"),
        ]
        status = control(service, "status")
        assert (status["scored"], status["refused"], status["warned"]) == (
            3,
            {"duplicate": 1},
            {"out_of_order": 1},
        )
        # An id may come again once its frame has left the ring and so many others were scored.
        for seed in range(10, 10 + service.config.ring.capacity):
            camera.picture(seed)
        screen.until(service.config.ring.capacity, "score")
        camera.picture(5, seq=1000)
        assert screen.until(1, "score")[0]["frame_id"] == "line-5"
