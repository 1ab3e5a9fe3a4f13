"""A service that is killed and has a journal, in this process: its folder as it is between two frames."""

import shutil

import pytest
from snapshot_support import config, files, play, show
from streamer_support import backbone, control, identity_holds, serving

from streamer.server.journals import SUFFIX

pytestmark = pytest.mark.engines

__all__ = ["backbone"]


def test_a_killed_service_says_what_an_uninterrupted_one_says(backbone, tmp_path):
    """Frames since the last snapshot were missing from the ring: scores differed."""
    with serving(config(), backbone) as service:
        play(service, range(8))
        expected = show(service, range(8, 16))
    folder, killed = tmp_path / "rings", tmp_path / "killed"
    with serving(config(folder, journal=True), backbone) as service:
        play(service, range(3))
        control(service, "snapshot")
        play(service, range(3, 8))
        shutil.copytree(folder, killed)
        assert control(service, "status")["snapshot"]["journal_bytes"] > 0
    assert [path.name for path in files(folder) if path.name.endswith(SUFFIX)] == []
    with serving(config(killed, journal=True), backbone) as service:
        status = control(service, "status")
        assert status["snapshot"]["replayed"] == 5
        assert (status["streams"]["line"]["images"], status["scored"]) == (8, 8)
        assert identity_holds(status)
        assert show(service, range(8, 16)) == expected


@pytest.mark.parametrize("durable", [False, True])
def test_several_streams_a_reset_and_no_snapshot_at_all(backbone, tmp_path, durable):
    folder, killed = tmp_path / "rings", tmp_path / "killed"
    with serving(config(folder, journal=True, history={"durable": durable}), backbone) as service:
        play(service, range(3), "a")
        play(service, range(4), "b")
        control(service, "reset", stream="a")
        play(service, [7, 8], "a")
        control(service, "pin", stream="b", frame_id="b-1")
        shutil.copytree(folder, killed)
    with serving(config(killed, journal=True), backbone) as service:
        streams = control(service, "status")["streams"]
        assert {name: (one["images"], one["pinned"]) for name, one in streams.items()} == {
            "a": (2, 0),
            "b": (4, 1),
        }
        assert play(service, [9], "a")[0]["n_references"] == 2
