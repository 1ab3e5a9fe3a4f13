"""How often a bridge whose queue cannot be written tries again."""

from types import SimpleNamespace

from streamer.bridges.common import Tell
from streamer.bridges.follow import BridgeFollower
from streamer.bridges.queue import Queue
from streamer.bridges.telling import Telling


def test_a_queue_that_fails_again_and_again_costs_the_detector_ever_fewer_questions(tmp_path):
    queue = Queue(tmp_path, "tcp", max_items=10**6, max_bytes=10**9)
    where, telling = (
        SimpleNamespace(**dict.fromkeys(("scores", "control"), "tcp://127.0.0.1:9")),
        Telling(Tell(), maps=False),
    )
    follower = BridgeFollower(where, None, queue, telling, pictures=False, wake=lambda: None)
    pauses = []
    for _ in range(8):
        follower._fail()
        pauses.append(follower._pause_s)
        assert follower._look_at >= follower._mended_at + pauses[-1]
        follower._look_at = 0.0
        follower._look()  # it seems to work
        assert not follower._failing
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    follower._mended_at -= 200
    follower._fail()
    assert follower._pause_s == 1
    follower.stop()
    queue.close()
