"""Every machine-readable code of an `error` message, of a refusal and of a control answer."""

CODES = {
    "bad_parts": "a frame is exactly two parts: header and payload",
    "header_too_large": "the header is longer than limits.header_bytes",
    "payload_too_large": "the payload is longer than limits.payload_bytes",
    "bad_header": "the header is not one msgpack map with string keys",
    "unsupported_version": "`v` is not 1",
    "unknown_kind": "`kind` is not 'frame'",
    "unknown_key": "a header or a request has a key that version 1 does not know",
    "missing_key": "the header lacks a required key",
    "bad_value": "a header value has the wrong type or range",
    "not_finite": "a number in `meta`, or a pixel, is NaN or infinite",
    "bad_encoding": "`encoding` is not raw, jpeg or png, or the payload is of another format",
    "bad_dtype": "`dtype` is not uint8, uint16 or float32",
    "bad_shape": "`shape` is not [H, W] or [H, W, 1 to 4], or differs from the image's own",
    "empty_image": "an image of no pixels",
    "image_too_large": "the image is larger than limits.width, height or pixels",
    "payload_size": "a raw payload has not as many bytes as `shape` and `dtype` say",
    "undecodable": "the payload is damaged or truncated",
    "decode_timeout": "the picture was not decoded within limits.decode_s",
    "duplicate": "a frame of this stream with this id is queued, in the ring or among the last scored",
    "id_reused": "a frame of this stream with this id and another picture is queued or was scored",
    "out_of_order": "`seq` went backwards; the frame is scored all the same",
    "bit_depth_unsure": "16-bit pixels use fewer bits and nobody says how many; once a stream",
    "above_bit_depth": "pixels are brighter than `bit_depth` allows, and clipped; once a stream",
    "capture_off": "`capture_ns` cannot be, the sender's clock is wrong; timing counts from the arrival",
    "constant_image": "every pixel of the frame is the same; it is scored all the same",
    "picture_failed": "no small picture could be made of the frame; it is scored all the same",
    "too_many_streams": "limits.streams streams are open already",
    "no_room": "the stream's ring does not fit in what limits.total_bytes leaves",
    "no_line": "the cluster has no place for the stream's line just now",
    "ring_lost": "the process that had the stream's ring is gone, and not all of the ring was on disk",
    "snapshot_unreadable": "the stream's ring is on disk and cannot be read just now",
    "rate_limited": "the sender is above limits.rate",
    "busy": "the stream's queue is full or its ring cannot be woken: send the frame again (reliable only)",
    "bad_frame": "the detector cannot use the frame, or not do with it what a request asks",
    "backbone_failed": "the backbone raised on this frame",
    "snapshot_refused": "a snapshot or journal is damaged or foreign: set aside, the ring starts without it",
    "snapshot_failed": "a snapshot or journal could not be written; scoring goes on",
    "snapshot_lost": "the file that a sleeping stream's ring was in is gone; the ring starts empty",
    "unknown_frame": "a request names a frame that is not in the ring",
    "unknown_group": "a request names a group that no event told of, or that is no more",
    "not_configured": "a request for what the configuration does not have",
    "internal": "an error of the service itself; its log has the details",
}
"""Every machine-readable code of an `error` message, and what it says."""

WARNINGS = frozenset(
    ("out_of_order", "capture_off", "bit_depth_unsure", "above_bit_depth", "constant_image", "picture_failed")
)
"""Codes of `error` messages about a frame that is used all the same: its score comes besides."""
