"""The subscriber of the release before pictures and grids, commit 467f756: what it did, and no more.

A copy of what `streamer/subscribe.py` and `streamer/wire/published.py` of that commit had: which messages a
program gets, and how it reads them. It stays as it is: newer detectors are held to it.
"""

import cv2
import msgpack
import numpy as np
import zmq

KINDS = ("score", "revision", "event", "operator", "dropped", "error", "status")
VERSION = 1
_MAX_HEADER = 4 * 1024 * 1024


class WireError(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


class Message(dict):
    def __init__(self, header, topic="", payload=None):
        super().__init__(header)
        self.topic = topic
        self.payload = payload

    @property
    def kind(self):
        return str(self.get("kind", ""))

    @property
    def anomaly_map(self):
        entry = self.get("anomaly_map")
        if entry is None or self.payload is None:
            return None
        return decode_map(entry, self.payload)


def unpack(buffer, max_bytes):
    if len(buffer) > max_bytes:
        raise WireError("header_too_large", f"header: got {len(buffer)} bytes, expected at most {max_bytes}")
    try:
        header = msgpack.unpackb(buffer, raw=False, strict_map_key=True, max_ext_len=0)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        raise WireError("bad_header", f"header: is not msgpack ({detail})") from None
    if not isinstance(header, dict) or not all(isinstance(key, str) for key in header):
        raise WireError(
            "bad_header", f"header: got a {type(header).__name__}, expected a map with string keys"
        )
    return header


def unpack_message(parts):
    if len(parts) not in {2, 3}:
        raise WireError(
            "bad_parts", f"message: got {len(parts)} parts, expected topic, header and maybe a map"
        )
    header = unpack(parts[1], _MAX_HEADER)
    if header.get("v") != VERSION:
        raise WireError("unsupported_version", f"v: got {header.get('v')!r}, expected {VERSION}")
    payload = parts[2] if len(parts) == 3 else None
    return Message(header, parts[0].decode("utf-8", "replace"), payload)


def decode_map(entry, payload):
    try:
        height, width = entry["shape"]
        if entry["encoding"] == "float32":
            return np.frombuffer(payload, "<f4").reshape(height, width).astype(np.float32)
        if entry["encoding"] != "png16":
            raise WireError("bad_encoding", f"anomaly_map: unknown encoding {entry['encoding']!r}")
        levels = cv2.imdecode(np.frombuffer(payload, np.uint8), cv2.IMREAD_UNCHANGED)
        if levels is None or levels.dtype != np.uint16 or levels.shape != (height, width):
            raise WireError("undecodable", f"anomaly_map: the PNG is not {height} x {width}, 16 bit")
        values = entry["min"] + levels.astype(np.float64) / 65535.0 * (entry["max"] - entry["min"])
    except (KeyError, TypeError, ValueError, cv2.error) as error:
        raise WireError("undecodable", f"anomaly_map: {' '.join(str(error).split())}") from None
    return np.asarray(values, np.float32)


class Subscriber:
    """Options other than these were not about which messages it gives."""

    def __init__(self, endpoint, stream=None, *, kinds=None, timeout_s=None, queue=10_000):
        self._context = zmq.Context()
        self._kinds = frozenset(KINDS if kinds is None else kinds)
        self._socket = self._context.socket(zmq.SUB)
        self._socket.sndhwm = self._socket.rcvhwm = queue
        self._socket.linger = 0
        self._socket.rcvtimeo = -1 if timeout_s is None else round(1000 * timeout_s)
        self._socket.connect(endpoint)
        self._socket.subscribe(b"" if stream is None else f"{stream}/".encode())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()
        self._context.term()

    def receive(self):
        while True:
            try:
                message = unpack_message(self._socket.recv_multipart())
            except zmq.Again:
                return None
            except WireError:
                continue
            if message.kind in self._kinds:
                return message
