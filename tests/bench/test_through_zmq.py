"""The configuration of the server that a replay sends its frames through."""

from pathlib import Path

from bench.replay.through_zmq import _serving
from musc_online.config import load


def test_what_a_line_keeps_and_asks_of_its_peers_is_not_asked_of_a_replay(tmp_path: Path):
    line = {
        "snapshot": {"path": str(tmp_path / "rings"), "journal": True},
        "history": {"path": str(tmp_path / "history")},
        "security": {"keys": str(tmp_path / "keys")},
        "metrics": {"endpoint": "127.0.0.1:9000"},
        "limits": {"rate": 5},
        "engine": {"address": "10.0.0.1:6379", "token": str(tmp_path / "token"), "shards": 2},
    }
    served = load(_serving(load(line), 10))
    assert (served.snapshot.path, served.snapshot.journal, served.history.path) == (None, False, None)
    assert (served.security.keys, served.metrics.endpoint, served.limits.rate) == (None, None, None)
    assert (served.engine.address, served.engine.token, served.engine.shards) == (None, None, 2)
