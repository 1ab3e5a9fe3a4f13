"""Backbones on several nodes of a real cluster: moved off one that is to go, and lost with one that went."""

import os
import signal
import tempfile
from pathlib import Path

import pytest
from streamer_support import picture, png, small_config, until

from bench.load.nodes import Nodes
from streamer.cluster import start
from streamer.cluster.pool import BackboneLostError, Pool
from streamer.server.stream import QueuedFrame, Stream
from streamer.wire.frame import FrameMessage


@pytest.mark.slow
def test_backbones_leave_a_node_that_is_to_go_and_one_that_went():
    with tempfile.TemporaryDirectory(prefix="n", dir="/tmp") as folder, Nodes(Path(folder) / "n", 2) as nodes:
        engine = {"name": "ray", "backbones": 2, "address": nodes.address, "token": str(nodes.token)}
        config = small_config(engine=engine)
        cluster = start.connect(config.engine, pytest.fail)
        pool = Pool(cluster, config, pytest.fail)
        try:
            pool.start()
            until(lambda: len(up(pool)) == 2)
            places = {node.address: node.id for node in cluster.nodes() if not node.is_head}
            (leaving_at, leaving), (staying_at, staying) = places.items()
            assert {one["node"] for one in pool.status()} == {leaving, staying}  # spread

            frames = [queued(number, config) for number in range(8)]
            extractions = [pool.submit(frame) for frame in frames]
            pool.drain(leaving)
            for extraction in extractions:  # what an actor has, it finishes
                assert extraction.wait().error is None
            until(lambda: [one["node"] for one in pool.status()] == [staying, staying])
            assert [one["restarts"] for one in pool.status()] == [0, 0]
            assert pool.submit(frames[0]).wait().error is None

            nodes.start("127.0.0.12")
            new = next(node.id for node in cluster.nodes() if node.address == "127.0.0.12")
            for member in pool.status():
                os.kill(member["pid"], signal.SIGSTOP)  # or they would be done with the frames before
            extractions = [pool.submit(frame) for frame in frames]
            nodes.kill(staying_at)
            for extraction in extractions:
                with pytest.raises(BackboneLostError):
                    extraction.wait()
            assert [pool.submit(frame).wait().error for frame in frames] == [None] * 8
            until(lambda: [one["node"] for one in pool.status()] == [new, new])  # never the one drained
            assert leaving_at in {node.address for node in cluster.nodes() if node.alive}
        finally:
            pool.stop()
            cluster.close()


def up(pool):
    return pool._members.up()


def queued(number, config):
    return QueuedFrame(FrameMessage("line", number, "png", png(picture(number))), Stream("line", config), 0)
