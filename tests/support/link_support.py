"""A TCP link whose connections break as those of a cable: one stops for ever, or is cut; new ones carry."""

import select
import socket
import threading

from streamer_support import PATIENCE_S


class Link:
    """A connection to a port that stops carrying anything, or is cut; new connections carry again."""

    def __init__(self, port):
        self._port, self.held = port, threading.Event()
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._near = []
        self._threads = [threading.Thread(target=self._listen)]
        self._threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._ended.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self._listener.close()

    def cut(self):
        """Both sides see their connection closed."""
        for near in self._near:
            near.shutdown(socket.SHUT_RDWR)
        self._near.clear()

    def _listen(self):
        while not self._ended.is_set():
            try:
                near = self._listener.accept()[0]
            except TimeoutError:
                continue
            self._near.append(near)
            self._threads.append(threading.Thread(target=self._carry, args=(near,)))
            self._threads[-1].start()

    def _carry(self, near):
        with near, socket.create_connection(("127.0.0.1", self._port)) as far:
            other = {near: far, far: near}
            while not self._ended.is_set():
                for side in select.select([near, far], [], [], 0.05)[0]:
                    if self.held.is_set():
                        self._ended.wait()  # neither read nor closed: as a cable that is cut
                        return
                    try:
                        data = side.recv(65536)
                        if not data:
                            return
                        other[side].sendall(data)
                    except OSError:
                        return
