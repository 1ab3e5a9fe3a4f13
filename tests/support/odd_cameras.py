"""Cameras that do what a real one does once in a year: each a function that answers one connection."""

import io
import socket
import threading
import time

import av
import numpy as np

SIZE = (64, 64)
OK = b"HTTP/1.1 200 OK\r\n"
TITLE = b"t\xe9l\xe9"
"""Of a stream, in Latin-1, which is no UTF-8."""


class Served:
    """Answers each connection in a thread of its own, with `answer(connection, number)`; `with` ends it."""

    def __init__(self, answer):
        self._answer, self._listening = answer, socket.create_server(("127.0.0.1", 0))
        self._open, self.connections = [], 0
        self.place = f"127.0.0.1:{self._listening.getsockname()[1]}/line"
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listening.close()
        for connection in self._open:
            connection.close()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:  # closed: the test is over
                return
            self._open.append(connection)
            self.connections += 1
            threading.Thread(target=self._one, args=(connection, self.connections), daemon=True).start()

    def _one(self, connection, number):
        try:
            self._answer(connection, number)
        except (OSError, av.FFmpegError):  # nobody listens any more
            pass
        finally:
            connection.close()


class Stream:
    """H.264, and sound if asked for, in a container; each call gives what can be sent by now."""

    def __init__(self, container="mpegts", fps=50, b_frames=0, sound=False):
        self._out, self._at, self._noise = io.BytesIO(), 0, np.random.default_rng(0)
        options = {"flush_packets": "1", "max_interleave_delta": "1"}
        self._mux = av.open(self._out, "w", format=container, options=options)
        self._video = self._mux.add_stream("libx264", rate=fps)
        self._video.width, self._video.height = SIZE
        self._video.pix_fmt = "yuv420p"
        coded = {"bf": str(b_frames), "b-adapt": "0", "rc-lookahead": "0", "threads": "1", "g": "1000"}
        coded["x264-params"] = "scenecut=0:mbtree=0:sync-lookahead=0"
        self._video.options = (
            coded if b_frames else {"preset": "ultrafast", "tune": "zerolatency", "g": "1000"}
        )
        self._sound = self._mux.add_stream("aac", rate=44100) if sound else None

    def picture(self, number):
        """One more picture, its grey the number; nothing is ready yet where it waits for another one."""
        grey = self._noise.integers(-8, 9, (*reversed(SIZE), 3)) + grey_of(number)
        frame = av.VideoFrame.from_ndarray(grey.astype(np.uint8), format="bgr24")
        frame.pts = number
        self._mux.mux(self._video.encode(frame))
        return self.taken()

    def sound(self, number):
        """A fiftieth of a second of silence."""
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 882), np.float32), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 44100, 882 * number
        self._mux.mux(self._sound.encode(frame))
        return self.taken()

    def taken(self):
        """What was not taken yet."""
        all_of_it = self._out.getvalue()
        new, self._at = all_of_it[self._at :], len(all_of_it)
        return new


def grey_of(number):
    """Numbers modulo 20, far enough apart to survive the coding."""
    return 20 + 10 * (number % 20)


def number_in(picture):
    """The number modulo 20 that a picture shows."""
    return round((float(np.median(picture.frame)) - 20) / 10)


def paced(fps):
    """Numbers from 0, each when it is due."""
    start, number = time.monotonic(), 0
    while True:
        yield number
        number += 1
        time.sleep(max(0.0, start + number / fps - time.monotonic()))


def video_stops_and_sound_goes_on(connection, _number):
    connection.recv(4096)
    connection.sendall(OK + b"\r\n")
    stream = Stream(sound=True)
    for number in paced(50):
        video = stream.picture(number) if number < 20 else b""
        connection.sendall(video + stream.sound(number))


def in_coding_order(connection, _number):
    connection.recv(4096)
    connection.sendall(OK + b"\r\n")
    stream = Stream(b_frames=2)
    for number in paced(50):
        connection.sendall(stream.picture(number))


def rtsp(codec):
    """Describes one video of this name, by a title that is no UTF-8, and sends none of it."""
    sdp = b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=" + TITLE + b"\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
    sdp += b"a=rtpmap:96 " + codec + b"/90000\r\na=control:track1\r\n"

    def answer(connection, _number):
        for line in (lines := connection.makefile("rb")):
            method, number = line.split()[0], b""
            while header := lines.readline().strip():
                if header.lower().startswith(b"cseq:"):
                    number = header
            says, body = {
                b"OPTIONS": (b"Public: DESCRIBE,SETUP,PLAY\r\n", b""),
                b"DESCRIBE": (b"Content-Type: application/sdp\r\nContent-Length: %d\r\n" % len(sdp), sdp),
                b"SETUP": (b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n", b""),
            }.get(method, (b"Session: 1\r\n", b""))
            connection.sendall(b"RTSP/1.0 200 OK\r\n" + number + b"\r\n" + says + b"\r\n" + body)
            if method == b"PLAY":
                return

    return answer


def http(status, headers=b"", body=b""):
    """Answers, and no more."""

    def answer(connection, _number):
        connection.recv(4096)
        length = b"Content-Length: %d\r\n\r\n" % len(body)
        connection.sendall(b"HTTP/1.1 " + status + b"\r\n" + headers + length + body)

    return answer
