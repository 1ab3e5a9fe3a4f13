"""A page that is killed at any moment leaves a store that opens, and goes on where it was."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from store_support import a_store, jpeg

from streamer.page.queries import Queries

WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from store_support import a_store, jpeg, picture_message, verdict
store = a_store(Path(sys.argv[1]), days=1)
number = store.last_pub_seq().get("line/score", -1) + 1
while True:
    batch = []
    for one in range(number, number + 7):
        batch += [verdict(one, pub_seq=one, label=one % 5 == 0), picture_message(one, jpeg(one))]
        batch += [verdict(one, "revision", pub_seq=one, label=one % 3 == 0)]
    store.take_all(batch)
    number += 7
    print(number, flush=True)
"""
SUPPORT = Path(__file__).resolve().parents[2] / "support"


@pytest.mark.parametrize("after", [1, 3, 8])
def test_a_killed_store_goes_on_where_it_was(tmp_path, after):
    told = 0
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(SUPPORT)], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
        with writer:
            for _ in range(after):
                told = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
        store = a_store(tmp_path, days=1)
        queries = Queries(store)
        numbers = store.last_pub_seq()
        assert numbers["line/score"] == numbers["line/revision"] >= told - 1
        total = numbers["line/score"] + 1
        found = queries.scores(limit=200)
        assert found["total"] == total
        assert {frame["revision"] for frame in found["frames"]} == {1}
        anomalous = sum(one % 3 == 0 for one in range(total))
        assert queries.tallies(0, 4e15) == {"line": (total, anomalous)}
        for frame in found["frames"]:  # what a row says is there
            assert queries.picture_path("line", frame["key"]).read_bytes() == jpeg(frame["frame_id"])
        assert len(list((tmp_path / "pictures").rglob("*.*"))) == total
        with store.read() as database:
            assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        store.close()
