"""Sleepers across restarts, kills and damage to their files."""

import pytest
from sleep_support import (
    config,
    nap,
    ring_bytes,
    state,
    told,
    undisturbed,
)
from snapshot_support import config as base_config
from snapshot_support import cut, forget_ids, play, tampered
from streamer_support import (
    Camera,
    Screen,
    backbone,
    control,
    identity_holds,
    server_process,
    serving,
    until,
)

from streamer.ask import ask
from streamer.server.snapshot_files import file_name

pytestmark = pytest.mark.engines

__all__ = ["backbone", "undisturbed"]


def test_a_restart_leaves_sleepers_asleep(backbone, tmp_path, undisturbed):
    with serving(config(tmp_path), backbone) as service:
        play(service, range(4))
        play(service, range(2), "awake")
        assert nap(service)
        before = state(service)
    with serving(config(tmp_path), backbone) as service, Screen(service, "line/") as screen:
        after = state(service)
        new = {"max_bytes", "latency_ms"}  # room, and what was since the start
        assert {name: after[name] for name in before.keys() - new} == {
            name: before[name] for name in before.keys() - new
        }
        assert (after["state"], after["images"], state(service, "awake")["state"]) == ("asleep", 4, "warmup")
        with Camera(service.endpoints["frames"]) as camera:
            camera.picture(2)
            assert screen.until(1, "error")[0]["code"] == "duplicate"
            camera.picture(4)
            (score,) = screen.until(1, "score")
        expected = next(fields for fields in undisturbed if fields["seq"] == 4)
        assert (score["raw_score"], score["n_references"]) == (expected["raw_score"], 4)
        assert identity_holds(control(service, "status"))
    with serving(base_config(tmp_path, limits={"sleep_after_s": None}), backbone) as service:
        assert control(service, "status")["asleep"] == 0
        assert state(service)["images"] == 5


def test_what_does_not_fit_at_a_restart_sleeps(backbone, tmp_path):
    with serving(config(tmp_path), backbone) as service:
        play(service, range(3), "a")
        play(service, range(3), "b")
        total = int(0.75 * ring_bytes(service))
    with serving(config(tmp_path, limits={"total_bytes": total}), backbone) as service:
        status = control(service, "status")
        assert (status["asleep"], status["scored"], status["streams"].keys()) == (1, 6, {"a", "b"})
        sleeper = next(name for name, stream in status["streams"].items() if stream["state"] == "asleep")
        assert nap(service, "ab".replace(sleeper, ""))
        assert play(service, [3], sleeper)[0]["n_references"] == 3


@pytest.mark.parametrize(
    ("damage", "code"), [(cut, "snapshot_refused"), (lambda path: path.unlink(), "snapshot_lost")]
)
def test_a_ring_that_came_to_harm_asleep_is_told(backbone, tmp_path, damage, code):
    with serving(config(tmp_path), backbone) as service:
        play(service, range(3))
        assert nap(service)
        damage(tmp_path / file_name("line"))
        assert [fields["n_references"] for fields in play(service, range(3, 5))] == [0, 1]
        assert told(service, 1) == [code]
        assert play(service, [0])[0]["n_references"] == 2  # its id went with the ring


def test_a_header_that_came_to_harm_is_told_at_the_restart(backbone, tmp_path):
    with serving(config(tmp_path), backbone) as service:
        play(service, range(3))
        assert nap(service)
    tampered(tmp_path / file_name("line"), lambda state: state.pop("slots"))
    with serving(config(tmp_path), backbone) as service:
        assert (told(service, 1), control(service, "status")["asleep"]) == (["snapshot_refused"], 0)
        assert play(service, [3])[0]["n_references"] == 0


def test_a_score_nobody_saw_survives_a_nap_and_a_restart(backbone, tmp_path):
    def unpublish(state):
        state["extra"]["unpublished"] = [state["extra"]["scored"].pop()]

    with serving(config(tmp_path), backbone) as service:
        first = play(service, range(4))[3]
    tampered(tmp_path / file_name("line"), unpublish)
    forget_ids(tmp_path)
    for _ in range(2):
        with serving(config(tmp_path), backbone) as service:
            control(service, "pin", stream="line", frame_id="line-0")
            assert nap(service)
    with serving(config(tmp_path), backbone) as service:
        assert play(service, [3])[0]["raw_score"] == first["raw_score"]
        assert state(service)["images"] == 4


@pytest.mark.slow
def test_a_process_killed_while_a_stream_sleeps(tmp_path, backbone):
    sections = {
        "snapshot": {"path": str(tmp_path / "rings"), "every_s": 3600},
        "limits": {"sleep_after_s": 0.3},
        "history": {"path": str(tmp_path / "history.sqlite")},
    }
    with server_process(tmp_path, **sections) as server:

        def stream():
            status = ask({"kind": "status"}, server.endpoints["control"], timeout_s=60)
            return status["streams"].get("line", {})

        def sleeps_after(count):
            shown = stream()
            return (shown.get("state"), shown.get("scored"), shown.get("images")) == ("asleep", count, count)

        def send(seeds):
            with Camera(server.endpoints["frames"]) as camera:
                for seed in seeds:
                    camera.picture(seed)

        send(range(3))
        until(lambda: sleeps_after(3))
        server.kill()
        server.start()
        assert sleeps_after(3)
        send(range(3, 6))
        until(lambda: sleeps_after(6))
        assert server.terminate() == 0
