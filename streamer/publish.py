"""Push frames to a detector: `Publisher` for programs, `python -m streamer.publish` for a camera host."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import zmq

from streamer import images
from streamer.auth import ClientKeys, client_keys
from streamer.commands import Command, examples
from streamer.errors import FrameId, NoRoom
from streamer.live import QUEUE
from streamer.push import LeftOut, counts_before, send_all, warn
from streamer.reliable import RELIABLE, ReliablePublisher
from streamer.sender import Sender
from streamer.sockets import CONTROL, FRAMES
from streamer.sources import LOST_AFTER_S, open_source
from streamer.stalled import Stalled
from streamer.wire.checks import BIT_DEPTHS, BitDepth, parse_bit_depth
from streamer.wire.frame import Limits

_DEFAULTS = Limits()
_ON_THE_WAY = 128 * 1024
_STALLED_MS = 5_000
# Of a live camera: bytes that the kernel keeps on their way to a detector that takes none, and for how long.


class Publisher(Sender):
    """Pushes frames of one stream; numbers them, and waits while the detector takes no more.

    Args:
        endpoint: the detector's `transport.frames`.
        stream: its name.
        encoding: of arrays: `jpeg`, `png` (lossless) or `raw`. JPEG and PNG files go out unchanged.
        keys: CURVE keys where the detector asks for them.
        wait_s: how long the detector may take to answer the connection.
        linger_s: how long `close` waits for the detector to take the frames still queued here.
        queue: frames kept here while the detector is busy.
        live: they are of a live camera, and what is late is worth less than what is new: no frame is kept for
            a detector that is not connected (`send` finds no room), and little is on the way to one that
            takes none; after 5 s of that the connection is made anew, and what was on the way is lost. Each
            further one may stall for twice as long, until the detector takes frames again.
        bit_depth: of frames of more than 8 bits: the bits that the camera uses (8, 10, 12, 14, 16), or
            `float` for numbers of 0 to 1; `auto` leaves it to the detector's configuration.
        limits: the detector's `limits`, where its configuration has others than the defaults.

    Raises:
        StreamerError: nobody answers, or our key is refused.
        WireError: the stream's name cannot be used.
    """

    def __init__(
        self,
        endpoint: str = FRAMES,
        stream: str = "camera",
        *,
        encoding: str = "png",
        keys: ClientKeys | None = None,
        wait_s: float = 10.0,
        linger_s: float = 300.0,
        queue: int = 8,
        live: bool = False,
        bit_depth: BitDepth = "auto",
        limits: Limits = _DEFAULTS,
    ) -> None:
        super().__init__(
            zmq.PUSH,
            endpoint,
            stream,
            encoding=encoding,
            keys=keys,
            wait_s=wait_s,
            bit_depth=bit_depth,
            limits=limits,
            hwm=queue,
            linger_ms=round(1000 * linger_s),
            **(
                {"connected_only": True, "send_buffer": _ON_THE_WAY, "stalled_ms": _STALLED_MS}
                if live
                else {}
            ),
        )
        self._stalled = Stalled(self._socket, endpoint, _STALLED_MS) if live else None

    def has_room(self, timeout_s: float) -> bool:
        """Whether a frame can be sent without waiting.

        Args:
            timeout_s: how long to wait for room, seconds.

        Returns:
            Whether there is room now.
        """
        if self._stalled is not None:
            self._stalled.look()
        return super().has_room(timeout_s)

    def send(
        self,
        frame: images.Pixels | bytes,
        frame_id: FrameId | None = None,
        meta: Mapping[str, Any] | None = None,
        *,
        capture_ns: int | None = None,
        timeout_s: float | None = None,
    ) -> FrameId:
        """Send one frame; waits while the detector's queue is full.

        Args:
            frame: `[H, W, 3]` BGR or `[H, W]` grey, uint8, uint16 or floating-point (which travels `raw`); or
                the bytes of a JPEG or PNG file. Alpha, a 2nd or 4th channel, is dropped.
            frame_id: unique in the stream; None numbers frames by their capture time.
            meta: echoed in the score.
            capture_ns: when it was taken, since 1970; None is now.
            timeout_s: how long to wait for room; None for ever.

        Returns:
            The frame's id.

        Raises:
            WireError: the detector would refuse the frame, its id, time or `meta`; the text names which.
            NoRoom: not within `timeout_s`; the frame was not taken.
        """
        taken, parts = self._message(frame, frame_id, meta, capture_ns)
        if self._stalled is not None:
            self._stalled.look()
        self._socket.sndtimeo = -1 if timeout_s is None else round(1000 * timeout_s)
        try:
            self._socket.send_multipart(parts)
        except zmq.Again:
            raise NoRoom(f"{self._endpoint}: the detector takes no frame within {timeout_s} s") from None
        self._seq += 1
        return taken

    def close(self) -> None:
        """Hand what is still queued here to the detector, for up to `linger_s`, then close."""
        self._source.close()
        if self._stalled is not None:
            self._stalled.close()
        self._socket.close()
        self._context.term()

    def abandon(self) -> None:
        """Close at once."""
        if self._stalled is not None:
            self._stalled.close()
        super().abandon()


@click.command(
    cls=Command,
    epilog=examples(
        "musc-online publish --source parts/ --stream line-1 --reliable",
        "musc-online publish --source rtsp://USER:PASSWORD@10.0.0.5/ --stream line",
        "musc-online publish --source genicam:22345678 --stream line-1",
        "musc-online publish --source camera:0 --stream line-1 --fps 5 --max-age 1",
    ),
)
@click.option(
    "--source", required=True,
    help="A folder, an image or video file, or a camera: rtsp://..., http://..., camera:0, genicam:SERIAL.",
)  # fmt: skip
@click.option("--stream", required=True, help="Name of the stream; one ring each.")
@click.option(
    "--fps", type=click.FloatRange(min=0, min_open=True),
    help="At most so many frames a second; of a camera the newest.  [as fast as they are taken]",
)  # fmt: skip
@click.option(
    "--reliable", is_flag=True,
    help=f"Wait for acks, to {RELIABLE}, and send again what is not acknowledged.",
)  # fmt: skip
@click.option("--endpoint", help=f"The detector's transport.frames, or .reliable.  [{FRAMES}]")
@click.option(
    "--control",
    help="The detector's transport.control, asked what became of the frames.  "
    f"[{CONTROL} beside the default --endpoint]",
)
@click.option(
    "--max-age", "max_age_s", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
    help="Leave out pictures of a camera that are older.",
)  # fmt: skip
@click.option(
    "--lost-after", "lost_after_s", type=click.FloatRange(min=0.5), default=LOST_AFTER_S, metavar="SECONDS",
    help="Connect anew to a camera that is silent for so long.",
)  # fmt: skip
@click.option("--loop", is_flag=True, help="Start again at the end of a folder or a video.")
@click.option(
    "--shuffle", type=int, metavar="SEED",
    help="Send a folder's images mixed: the same order everywhere for the same seed.",
)  # fmt: skip
@click.option(
    "--skip-bad", is_flag=True, help="Go on past images that cannot be read, are damaged or too large."
)
@click.option(
    "--encoding", type=click.Choice(("jpeg", "png", "raw")), default="png",
    help="Of frames that are not JPEG or PNG files already.",
)  # fmt: skip
@click.option(
    "--bit-depth", type=click.Choice([*map(str, BIT_DEPTHS)]), default="auto",
    help="Bits in use of images of more than 8, or float: 0 to 1; auto looks which.",
)  # fmt: skip
@click.option(
    "--camera-ca", type=click.Path(path_type=Path), metavar="FILE",
    help="Certificates that an rtsps:// or https:// camera's must be signed by.  [any is taken]",
)  # fmt: skip
@click.option(
    "--payload-bytes", type=click.IntRange(min=1), default=_DEFAULTS.payload_bytes,
    help="The detector's limits.payload_bytes.",
)  # fmt: skip
@click.option("--wait", "wait_s", type=float, default=10.0, help="Seconds to wait for a detector.")
@click.option("--key", type=click.Path(path_type=Path), help="This peer's .key_secret (CURVE).")
@click.option("--server-key", type=click.Path(path_type=Path), help="The detector's server.key.")
def main(
    source: str,
    stream: str,
    fps: float | None,
    max_age_s: float | None,
    lost_after_s: float,
    camera_ca: Path | None,
    loop: bool,
    shuffle: int | None,
    skip_bad: bool,
    encoding: str,
    bit_depth: str,
    endpoint: str | None,
    control: str | None,
    reliable: bool,
    payload_bytes: int,
    wait_s: float,
    key: Path | None,
    server_key: Path | None,
) -> int:
    """Send images of a folder, a video or a camera to a detector.

    What became of them is said at the end. A camera is sent until Ctrl-C; one that is not there yet, or not
    now, is waited for.

    Of a data set's folder the masks (ground_truth, mask, masks) are left out, and said to be.

    Exit status: 0 all scored (or not known: no --reliable and no answer at --control), 1 sent, but not all
    were scored, 2 the source or the detector cannot be used.
    """
    left_out = LeftOut() if skip_bad else None
    captured = open_source(
        source,
        loop=loop,
        shuffle=shuffle,
        bit_depth=parse_bit_depth(bit_depth),
        tell=warn,
        skipped=left_out,
        fps=fps,
        max_age_s=max_age_s,
        lost_after_s=lost_after_s,
        camera_ca=camera_ca,
    )
    keys = client_keys(key, server_key)
    options: dict[str, Any] = {"encoding": encoding, "keys": keys, "wait_s": wait_s}
    options["bit_depth"] = captured.bit_depth
    options["limits"] = replace(_DEFAULTS, payload_bytes=payload_bytes)
    sender: Publisher | ReliablePublisher
    if captured.live is not None:
        options |= {"live": True}
        options |= {"max_age_s": max_age_s} if reliable else {"queue": QUEUE}
    if reliable:
        sender = ReliablePublisher(endpoint or RELIABLE, stream, **options)
    else:
        sender = Publisher(endpoint or FRAMES, stream, **options)
    counts = None if reliable else counts_before(control or (None if endpoint else CONTROL), stream, keys)
    return send_all(sender, captured, fps, left_out, counts)


if __name__ == "__main__":
    main()
