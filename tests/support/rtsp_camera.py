"""A camera as a process: GStreamer's RTSP server. Run by the system's Python, which has its bindings.

Prints `port N` once it answers. Each picture shows when it was made (`drawn_time`), above noise that no codec
makes small: like a camera's, it does not fit into one packet of the network. Or it is the next of the PNG
files in the folder `--pictures`, in the order of their names, again and again.
"""

import argparse
import random
import threading
import time
from itertools import cycle
from pathlib import Path

import drawn_time
import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

ENCODERS = {
    # Two slices a frame, as cameras send them.
    "h264": "x264enc tune=zerolatency sliced-threads=true threads=2 speed-preset=ultrafast key-int-max={gop} "
    "! rtph264pay name=pay0 pt=96 config-interval=1",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast key-int-max={gop} option-string=slices=2 "
    "! rtph265pay name=pay0 pt=96 config-interval=1",
    "jpeg": "jpegenc ! rtpjpegpay name=pay0 pt=26",
    "vp8": "vp8enc deadline=1 keyframe-max-dist={gop} ! rtpvp8pay name=pay0 pt=96",
}
NOISE = 64
"""Rows of it."""
DRAWN = f"video/x-raw,format=GRAY8,width={drawn_time.WIDTH},height={drawn_time.HEIGHT + NOISE}"


def launch(caps, codec, fps):
    decode = "pngdec ! " if caps == "image/png" else ""
    return (
        "( appsrc name=source is-live=true format=time do-timestamp=true "
        f"caps={caps},framerate={fps}/1 ! {decode}videoconvert ! video/x-raw,format=I420 "
        f"! {ENCODERS[codec].format(gop=2 * fps)} )"
    )


def drawn():
    while True:
        yield drawn_time.draw(time.time_ns()) + random.randbytes(NOISE * drawn_time.WIDTH)


def feed(source, pictures, fps, over):
    due = time.monotonic()
    while not over.is_set():
        data = next(pictures)
        if source.emit("push-buffer", Gst.Buffer.new_wrapped(data)) != Gst.FlowReturn.OK:
            return
        due += 1 / fps
        time.sleep(max(0.0, due - time.monotonic()))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", default="0")
    parser.add_argument("--codec", choices=sorted(ENCODERS), default="h264")
    parser.add_argument("--fps", type=int, default=10)
    parser.add_argument("--login", default="", help="user:password")
    parser.add_argument("--pictures", type=Path, help="folder of PNG files of one size")
    options = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(options.port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_shared(True)
    files = sorted(options.pictures.glob("*.png")) if options.pictures else []
    pictures = cycle([path.read_bytes() for path in files]) if files else drawn()
    factory.set_launch(launch("image/png" if files else DRAWN, options.codec, options.fps))

    def configured(_factory, media):
        over = threading.Event()
        media.connect("unprepared", lambda _media: over.set())
        source = media.get_element().get_by_name("source")
        threading.Thread(target=feed, args=(source, pictures, options.fps, over), daemon=True).start()

    factory.connect("media-configure", configured)
    if options.login:
        user, _, password = options.login.partition(":")
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
        server.set_auth(auth)
        factory.add_role_from_structure(
            Gst.Structure.from_string(
                "viewer, media.factory.access=(bool)true, media.factory.construct=(bool)true"
            )[0]
        )
    server.get_mount_points().add_factory("/line", factory)
    if not server.attach(None):
        raise SystemExit(f"port {options.port} cannot be had")
    print(f"port {server.get_bound_port()}", flush=True)
    GLib.MainLoop().run()


main()
