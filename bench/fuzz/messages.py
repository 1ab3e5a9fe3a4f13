"""Malformed messages of every kind a port may be sent, drawn from a seed."""

import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np

from bench.load.publisher import pictures
from streamer import images

Parts = list[bytes]
_NASTY: list[Any] = [
    None, True, -1, 0, 2**31, 2**63, 2**64 - 1, 1.5, float("nan"), float("inf"), "", "-", "a/b", "\0",
    "x" * 300, "\u202e", b"", b"\xff", [], [[]], {}, {"a": 1}, [1, 2, 3, 4], [0, 0, 3], [-1, 4, 3],
    [10**9, 10**9, 3],
]  # fmt: skip
_BAD_JSON = [
    b'{"msg": "\\ud800", "dtype": "uint8", "shape": [2, 2, 3]}',
    b'{"msg": "a", "shape": ' + b"[" * 900 + b"]" * 900 + b"}",
    b'{"msg": "a", "dtype": 1e999, "shape": [1e999]}',
    b"[" * 5000, b'{"msg": "a"', b'{"msg": 5}', b"NaN", b"\xff\xfe",
    b'{"msg": "a", "shape": [' + b"9" * 5000 + b", 1, 3]}",
]  # fmt: skip
_FIELDS = (
    "v", "kind", "stream", "frame_id", "seq", "capture_ns", "encoding", "shape", "dtype", "bit_depth", "meta",
)  # fmt: skip
_CONTROL = (
    "status",
    "history",
    "flush",
    "reset",
    "snapshot",
    "pin",
    "unpin",
    "forget",
    "false_alarm",
    "dance",
)


class Malformed:
    """Draws messages; each call of `frame`, `imagezmq` or `control` is another one.

    Args:
        seed: the same one draws the same messages.
        stream: the name most of them claim.
    """

    def __init__(self, seed: int, stream: str) -> None:
        self._rng = np.random.default_rng(seed)
        self._stream = stream
        self._pngs = pictures(32, seed, 4)
        self._jpegs = [_jpeg(png) for png in self._pngs]
        self._zeros = zlib.compress(bytes(8 << 20), 9)
        self._count = 0
        self._kinds: list[Callable[[], Parts]] = [
            self._random, self._part_count, self._huge_header, self._nasty_field, self._missing, self._extra,
            self._flipped_header, self._cut_header, self._nested, self._lying_shape, self._lying_encoding,
            self._cut_payload, self._flipped_payload, self._bomb, self._text_bomb, self._wrong_size,
        ]  # fmt: skip

    def frame(self) -> Parts:
        """For the ports of frames."""
        self._count += 1
        return self._kinds[self._below(len(self._kinds))]()

    def imagezmq(self) -> Parts:
        """For imagezmq's ports: its own envelope with something wrong, or a message of ours."""
        if self._below(3) == 0:
            return self.frame()
        payload = self._payload(self._below(8))[: self._below(200)]
        if self._below(3) == 0:
            return [self._pick(_BAD_JSON), payload]
        shape = self._pick([[4, 4], [10**6, 10**6, 3], [10**30, 2, 3], [-1, 2, 3], "x", [2, 2, 3], None])
        dtype = self._pick(["uint8", "uint16", "float32", "float64", "object", "|O", "", None])
        return [
            json.dumps({"dtype": dtype, "shape": shape, "msg": self._nasty()}, default=repr).encode(),
            payload,
        ]

    def control(self) -> bytes:
        """For the control port."""
        choice = self._below(4)
        if choice == 0:
            return self._bytes(self._below(300))
        request = {
            "kind": self._pick([*_CONTROL, *_NASTY]),
            "stream": self._nasty(),
            "frame_id": self._nasty(),
        }
        if choice == 1:
            request |= {"topic": self._nasty(), "first": self._nasty(), "last": self._nasty()}
        packed: bytes = _packed(request)
        return packed if choice < 3 else packed[: self._below(len(packed))]

    def _header(self, **more: Any) -> dict[str, Any]:
        fields = {
            "v": 1,
            "kind": "frame",
            "stream": self._stream,
            "frame_id": f"bad-{self._count}",
            "encoding": "png",
        }
        return {**fields, "meta": {"n": self._count}, **more}

    def _random(self) -> Parts:
        return [self._bytes(self._below(200)) for _ in range(1 + self._below(4))]

    def _part_count(self) -> Parts:
        header = _packed(self._header())
        messages: list[Parts] = [[header], [header, self._pngs[0], b""], [b""], [b"", b""], [header] * 9]
        return messages[self._below(len(messages))]

    def _huge_header(self) -> Parts:
        return [_packed(self._header(meta={"x": "y" * (70_000 + self._below(50_000))})), self._pngs[0]]

    def _nasty_field(self) -> Parts:
        return [_packed(self._header(**{self._pick(_FIELDS): self._nasty()})), self._cut(self._pngs[1])]

    def _missing(self) -> Parts:
        header = self._header()
        del header[self._pick(["v", "kind", "stream", "frame_id", "encoding"])]
        return [_packed(header), self._pngs[0]]

    def _extra(self) -> Parts:
        return [_packed(self._header(**{f"key{self._below(99)}": self._nasty()})), self._pngs[0]]

    def _flipped_header(self) -> Parts:
        return [self._flipped(_packed(self._header())), self._cut(self._pngs[2])]

    def _cut_header(self) -> Parts:
        return [self._cut(_packed(self._header())), self._pngs[0]]

    def _nested(self) -> Parts:
        depth = 9 + self._below(3000)
        return [_packed(self._header())[:-1] + b"\x91" * depth, b""]

    def _lying_shape(self) -> Parts:
        shape = [self._below(9000), self._below(9000), *self._pick([[], [1], [2], [3], [4]])]
        more = {"encoding": "raw", "shape": shape, "dtype": self._pick(["uint8", "uint16", "float32"])}
        return [_packed(self._header(**more)), self._bytes(self._below(500) + (shape[0] * shape[1] == 0))]

    def _lying_encoding(self) -> Parts:
        return [_packed(self._header(encoding=self._pick(["jpeg", "raw", "gif", "png "]))), self._pngs[3]]

    def _cut_payload(self) -> Parts:
        encoding, payload = self._file()
        return [_packed(self._header(encoding=encoding)), self._cut(payload)]

    def _flipped_payload(self) -> Parts:
        # Only a file's head: damage further in may leave an image, and a frame that counts.
        encoding, payload = self._file()
        return [_packed(self._header(encoding=encoding)), self._flipped(payload[:24]) + payload[24:-12]]

    def _bomb(self) -> Parts:
        width, height = (20_000 + self._below(40_000) for _ in range(2))
        if self._below(2):
            return [_packed(self._header()), _png(width, height, self._zeros)]
        start = self._jpegs[0].index(b"\xff\xc0") + 5
        lying = self._jpegs[0][:start] + struct.pack(">HH", height, width) + self._jpegs[0][start + 4 :]
        return [_packed(self._header(encoding="jpeg")), lying]

    def _text_bomb(self) -> Parts:
        text = b"note\0\0" + self._zeros
        return [_packed(self._header()), _png(16, 16, b"no pixels", (b"zTXt", text))]

    def _wrong_size(self) -> Parts:
        return [_packed(self._header(shape=[33, 32, 3])), self._pngs[0]]

    def _file(self) -> tuple[str, bytes]:
        index = self._below(4)
        return ("png", self._pngs[index]) if self._below(2) else ("jpeg", self._jpegs[index])

    def _payload(self, index: int) -> bytes:
        return (self._pngs + self._jpegs)[index]

    def _nasty(self) -> Any:
        return self._pick(_NASTY)

    def _pick(self, choices: Any) -> Any:
        return choices[self._below(len(choices))]

    def _below(self, limit: int) -> int:
        return int(self._rng.integers(limit))

    def _bytes(self, length: int) -> bytes:
        return self._rng.bytes(length)

    def _cut(self, payload: bytes) -> bytes:
        # Never the last 16 bytes: a file that lacks nothing but its padding is still whole.
        return payload[: self._below(len(payload) - 16)]

    def _flipped(self, payload: bytes) -> bytes:
        damaged = bytearray(payload)
        for _ in range(1 + self._below(4)):
            damaged[self._below(len(damaged))] ^= 1 << self._below(8)
        return bytes(damaged)


def _packed(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def _jpeg(png: bytes) -> bytes:
    return images.encode(images.decode_file(png), "jpeg")


def _png(width: int, height: int, data: bytes, *more: tuple[bytes, bytes]) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), *more, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
