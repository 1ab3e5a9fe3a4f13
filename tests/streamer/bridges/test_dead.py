"""Dead letters on the command line, without a bridge that runs."""

import json

import pytest
from click.testing import CliRunner
from item_support import AT_NS

from streamer.bridge import main
from streamer.bridges.queue import Draft, Queue
from streamer.wire.frame import pack

NAME = "tcp_bridge"


@pytest.fixture
def listed(tmp_path):
    """What `--dead` prints of a queue whose only letter has this header."""

    def dead(header, reason="no"):
        queue = Queue(tmp_path / "q", NAME, max_items=1000, max_bytes=2**24)
        with queue.writing() as writing:
            writing.put(Draft("verdict", pack(header), "line/score", 1, "line"))
        queue.refused(queue.first()[0], reason)
        queue.close()
        path = tmp_path / "bridge.yaml"
        path.write_text(f"queue: {{path: {tmp_path}/q}}\ntcp_bridge: {{port: 7}}\n", encoding="utf-8")
        ended = CliRunner().invoke(main, [NAME, "--config", str(path), "--dead"])
        assert ended.exit_code == 0, ended.output
        return ended.output

    (tmp_path / "q").mkdir()
    return dead


def test_nothing_that_a_terminal_obeys_is_printed_as_it_is(listed):
    hostile = "\u009b2J\u202e\x1b[31m\x7fä"
    printed = listed({"frame_id": hostile}, reason=hostile)
    assert printed.isascii()
    assert printed.count("\n") == 1
    assert not any(ord(one) < 0x20 for one in printed.rstrip("\n"))
    letter = json.loads(printed)
    assert (letter["header"]["frame_id"], letter["reason"]) == (hostile, hostile)


def test_whatever_a_detector_has_sent_is_listed(listed):
    header = {"frame_id": 1, "meta": {"raw": b"\x00", "nan": float("nan")}, "scored_ns": AT_NS}
    letter = json.loads(listed(header), parse_constant=pytest.fail)
    assert letter["header"] == {**header, "meta": {"raw": None, "nan": None}}
