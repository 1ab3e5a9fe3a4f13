"""A reliable sender of bare pyzmq and msgpack."""

import msgpack
import zmq
from streamer_support import PATIENCE_MS, header, picture, png


class Dealer:
    """A reliable sender by hand."""

    def __init__(self, service, identity=None):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger, self.socket.rcvtimeo = 0, PATIENCE_MS
        if identity is not None:
            self.socket.identity = identity
        self.socket.connect(service.endpoints["reliable"])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.destroy(linger=0)

    def send(self, seed, frame_id=None, **more):
        fields = header(f"line-{seed}" if frame_id is None else frame_id, **more)
        self.socket.send_multipart([msgpack.packb(fields), png(picture(seed))])

    def acks(self, count):
        answers = [msgpack.unpackb(self.socket.recv()) for _ in range(count)]
        return [(answer["frame_id"], answer["status"], answer["code"]) for answer in answers]
