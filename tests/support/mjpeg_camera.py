"""A camera as a process: JPEG after JPEG over HTTP, `multipart/x-mixed-replace`, as web cameras serve it.

Prints `port N` once it answers. Each picture shows when it was made (`drawn_time`). A watcher that is slow
gets the newest picture next, as of real cameras.
"""

import argparse
import base64
import ssl
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import drawn_time
import numpy as np


class Camera(BaseHTTPRequestHandler):
    fps = 10
    login = ""
    said_length = True

    def do_GET(self):
        if self.login and self.headers.get("Authorization") != f"Basic {self.login}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
        self.end_headers()
        due = time.monotonic()
        try:
            while True:
                self.send_picture()
                due = max(due + 1 / self.fps, time.monotonic())
                time.sleep(max(0.0, due - time.monotonic()))
        except OSError:  # nobody watches any more
            return

    def send_picture(self):
        flat = np.frombuffer(drawn_time.draw(time.time_ns()), np.uint8)
        payload = cv2.imencode(".jpg", flat.reshape(drawn_time.HEIGHT, drawn_time.WIDTH))[1].tobytes()
        length = f"Content-Length: {len(payload)}\r\n" if self.said_length else ""
        head = f"--picture\r\nContent-Type: image/jpeg\r\n{length}\r\n"
        self.wfile.write(head.encode() + payload + b"\r\n")
        self.wfile.flush()

    def log_message(self, *_):
        return


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--fps", type=int, default=10)
    parser.add_argument("--login", default="", help="user:password")
    parser.add_argument("--no-length", action="store_true", help="parts without Content-Length")
    parser.add_argument("--certificate", default="", help="PEM of a certificate and its key: https")
    options = parser.parse_args()
    Camera.fps, Camera.said_length = options.fps, not options.no_length
    Camera.login = base64.b64encode(options.login.encode()).decode()
    ThreadingHTTPServer.daemon_threads = True
    with ThreadingHTTPServer(("127.0.0.1", options.port), Camera) as server:
        if options.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(options.certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        print(f"port {server.server_port}", flush=True)
        server.serve_forever()


main()
