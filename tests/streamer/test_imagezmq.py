"""imagezmq's own senders, unchanged, get the scores that our publisher gets."""

import warnings

import cv2
import pytest
from streamer_support import Screen, backbone, control, picture, serving, small_config

from streamer.publish import Publisher

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import imagezmq

__all__ = ["backbone"]


def test_req_senders_raw_and_jpeg_score_as_ours(backbone):
    # One frame a backbone batch: the numbers then do not depend on which frames happened to share one.
    config = small_config(transport={"imagezmq": "tcp://127.0.0.1:*", "batch": 1})
    frames = [picture(seed) for seed in range(4)]
    jpegs = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames]
    with serving(config, backbone) as service, Screen(service) as screen:
        with imagezmq.ImageSender(connect_to=service.endpoints["imagezmq"]) as sender:
            for frame in frames:
                assert sender.send_image("theirs raw", frame) == b"OK"
            for jpeg in jpegs:
                assert sender.send_jpg("theirs jpeg", jpeg) == b"OK"
        for stream, payloads in (("ours raw", frames), ("ours jpeg", jpegs)):
            with Publisher(service.endpoints["frames"], stream, encoding="raw") as publisher:
                for index, payload in enumerate(payloads):
                    publisher.send(payload, index)
        scores: dict[str, list] = {}
        for fields in screen.until(16, "score"):
            scores.setdefault(fields["stream"], []).append(fields["raw_score"])
        assert len(scores) == 4
        for kind in ("raw", "jpeg"):
            assert scores[f"theirs {kind}"][0] is None
            assert scores[f"theirs {kind}"][1:] == pytest.approx(scores[f"ours {kind}"][1:], abs=1e-5)
            assert all(score > 0 for score in scores[f"theirs {kind}"][1:])


def test_bad_images_are_answered_and_refused(backbone):
    config = small_config(transport={"imagezmq": "tcp://127.0.0.1:*"})
    with serving(config, backbone) as service, Screen(service) as screen:
        with imagezmq.ImageSender(connect_to=service.endpoints["imagezmq"]) as sender:
            # Queued, and refused only when it is decoded: the error message tells.
            assert sender.send_jpg("line", b"no jpeg") == b"OK"
            assert sender.send_image("line", picture(0).astype("float64")) == b"refused"
            assert sender.send_image("line/part", picture(0)) == b"refused"
            assert sender.send_image("line", picture(0)[..., [0] * 5]) == b"refused"
            assert sender.send_image("line", picture(1)) == b"OK"
        codes = {fields["code"] for fields in screen.until(4, "error")}
        assert codes == {"undecodable", "bad_dtype", "bad_value", "bad_shape"}
        assert screen.until(1, "score")[0]["stream"] == "line"
        assert control(service, "status")["scored"] == 1


def test_pub_senders_are_subscribed_to(backbone):
    with imagezmq.ImageSender(connect_to="tcp://127.0.0.1:*", REQ_REP=False) as sender:
        endpoint = sender.zmq_socket.last_endpoint.decode()
        config = small_config(transport={"imagezmq_subscribe": [endpoint]})
        with serving(config, backbone) as service, Screen(service) as screen:
            # A PUB sender drops frames until our subscription has reached it.
            while not screen.socket.poll(100, 1) or screen.next()[1]["kind"] != "score":
                sender.send_image("theirs", picture(3))
            assert control(service, "status")["streams"]["theirs"]["scored"] >= 1
