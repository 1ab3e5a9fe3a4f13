"""Push frames to a detector: `Publisher` for programs, `python -m streamer.publish` for a camera host."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import zmq

from streamer import images
from streamer.auth import ClientKeys, client_keys
from streamer.commands import Command
from streamer.errors import FrameId, StreamerError
from streamer.reliable import RELIABLE, ReliablePublisher
from streamer.sender import Sender
from streamer.sockets import FRAMES
from streamer.sources import Captured, open_source
from streamer.wire.frame import pack_frame


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
    ) -> None:
        super().__init__(
            zmq.PUSH,
            endpoint,
            stream,
            encoding=encoding,
            keys=keys,
            wait_s=wait_s,
            hwm=queue,
            linger_ms=round(1000 * linger_s),
        )

    def send(
        self,
        frame: images.Frame | bytes,
        frame_id: FrameId | None = None,
        meta: Mapping[str, Any] | None = None,
        *,
        capture_ns: int | None = None,
        timeout_s: float | None = None,
    ) -> FrameId:
        """Send one frame; waits while the detector's queue is full.

        Args:
            frame: `[H, W, 3]` uint8 BGR, or the bytes of a JPEG or PNG file.
            frame_id: unique in the stream; None numbers frames by their capture time.
            meta: echoed in the score.
            capture_ns: when it was taken, since 1970; None is now.
            timeout_s: how long to wait for room; None for ever.

        Returns:
            The frame's id.

        Raises:
            WireError: the frame or its id cannot be sent.
            StreamerError: no room within `timeout_s`.
        """
        message = self._message(frame, frame_id, meta, capture_ns)
        self._socket.sndtimeo = -1 if timeout_s is None else round(1000 * timeout_s)
        try:
            self._socket.send_multipart(pack_frame(message))
        except zmq.Again:
            raise StreamerError(
                f"{self._endpoint}: the detector takes no frame within {timeout_s} s"
            ) from None
        self._seq += 1
        return message.frame_id

    def close(self) -> None:
        """Hand what is still queued here to the detector, for up to `linger_s`, then close."""
        self._socket.close()
        self._context.term()


@click.command(cls=Command)
@click.option(
    "--source", required=True, help="A folder, an image or video file, a URL (rtsp, http), or camera:0."
)
@click.option("--stream", required=True, help="Name of the stream; one ring each.")
@click.option(
    "--fps", type=click.FloatRange(min=0, min_open=True), default=None, help="At most so many a second."
)
@click.option("--loop", is_flag=True, help="Start again at the end of a folder or a video.")
@click.option("--shuffle", type=int, default=None, metavar="SEED",
              help="Send a folder's images mixed: the same order everywhere for the same seed.")  # fmt: skip
@click.option("--encoding", type=click.Choice(("jpeg", "png", "raw")), default="png", show_default=True,
              help="Of frames that are not JPEG or PNG files already.")  # fmt: skip
@click.option("--endpoint", default=None, help=f"The detector's transport.frames, or .reliable.  [{FRAMES}]")
@click.option(
    "--reliable", is_flag=True, help=f"Wait for acks and send again what is not acknowledged.  [{RELIABLE}]"
)
@click.option(
    "--wait", "wait_s", type=float, default=10.0, show_default=True, help="Seconds to wait for a detector."
)
@click.option("--key", type=click.Path(path_type=Path), default=None, help="This peer's .key_secret (CURVE).")
@click.option(
    "--server-key", type=click.Path(path_type=Path), default=None, help="The detector's server.key."
)
def main(
    source: str,
    stream: str,
    fps: float | None,
    loop: bool,
    shuffle: int | None,
    encoding: str,
    endpoint: str | None,
    reliable: bool,
    wait_s: float,
    key: Path | None,
    server_key: Path | None,
) -> None:
    """Push the frames of a source to a detector.

    Of a data set's folder the masks (ground_truth, mask, masks) are left out, and said to be.
    """
    try:
        captured = open_source(
            source, loop=loop, shuffle=shuffle, tell=lambda line: click.echo(f"warning: {line}", err=True)
        )
        keys = client_keys(key, server_key)
        sender: Publisher | ReliablePublisher
        if reliable:
            sender = ReliablePublisher(
                endpoint or RELIABLE, stream, encoding=encoding, keys=keys, wait_s=wait_s
            )
        else:
            sender = Publisher(endpoint or FRAMES, stream, encoding=encoding, keys=keys, wait_s=wait_s)
        try:
            sent = _push(sender, captured, fps)
            sender.close()
        except (KeyboardInterrupt, SystemExit):  # Ctrl-C, SIGTERM
            sender.abandon()
            raise
        except StreamerError:
            # What was sent before the source failed still counts.
            sender.close()
            raise
        click.echo(f"{sent} frames sent to {stream}", err=True)
    except StreamerError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _push(sender: Publisher | ReliablePublisher, captured: Captured, fps: float | None) -> int:
    sent = 0
    due = time.monotonic()
    for frame_id, frame in captured:
        if fps is not None:
            time.sleep(max(0.0, due - time.monotonic()))
            due = max(due, time.monotonic() - 1.0 / fps) + 1.0 / fps
        sender.send(frame, frame_id)
        sent += 1
    return sent


if __name__ == "__main__":
    main()
