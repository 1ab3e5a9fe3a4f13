"""Every frame's last word goes out: whatever takes it from the ring, its final score is published."""

import threading

import pytest
from streamer_support import Held, backbone, control, identity_holds, until, watched

from musc_online.detector import Detector
from streamer.errors import WireError

pytestmark = pytest.mark.engines

__all__ = ["backbone"]


def finals(screen, count):
    """Ids of the next `count` final revisions, in their order."""
    found = []
    while len(found) < count:
        (fields,) = screen.until(1, "revision")
        found += [fields["frame_id"]] if fields["is_final"] else []
    return found


def test_closing_a_ring_publishes_every_final(backbone):
    """More frames than the 64 finals that are kept for one who does not ask."""
    ring = {"capacity": 72, "admit": "pinned_only"}
    with watched(backbone, ring=ring) as (service, screen, camera):
        for seed in range(70):
            camera.picture(seed, meta={"part": seed})
        screen.until(70, "score")
        control(service, "pin", stream="line", frame_id="line-3")
        assert control(service, "pin", stream="line", frame_id="line-5")["images"] == 2
        assert finals(screen, 68) == [f"line-{seed}" for seed in range(70) if seed not in {3, 5}]
        assert control(service, "flush", stream="line")["flushed"] == 2
        assert finals(screen, 2) == ["line-3", "line-5"]
        assert identity_holds(control(service, "status"))


def test_a_reset_publishes_the_last_scores_as_final(backbone):
    with watched(backbone, warmup=50) as (service, screen, camera):  # no revision is due by itself
        for seed in range(4):
            camera.picture(seed, meta={"part": seed})
        scores = screen.until(4, "score")
        control(service, "reset", stream="line")
        last = screen.until(4, "revision")
        same = ("frame_id", "raw_score", "rscin_score", "revision", "meta", "seq")
        assert [[fields[name] for name in same] for fields in last] == [
            [fields[name] for name in same] for fields in scores
        ]
        assert all(fields["is_final"] for fields in last)
        # What a flush said already is not said again.
        camera.picture(4)
        camera.picture(5)
        screen.until(2, "score")
        control(service, "flush")
        control(service, "reset")
        camera.picture(6)
        told = screen.until(3, "score", "revision")
        assert [(fields["kind"], fields["frame_id"]) for fields in told] == [
            ("revision", "line-4"),
            ("revision", "line-5"),
            ("score", "line-6"),
        ]


@pytest.mark.one_process
def test_a_flush_that_fails_loses_no_final(backbone, monkeypatch):
    def no_memory(self):
        raise MemoryError("cannot allocate")

    with watched(backbone) as (service, screen, camera):
        for seed in range(3):
            camera.picture(seed)
        screen.until(3, "score")
        service.streams.get("line").detector.operators.forget("line-1")  # nobody has taken its final yet
        with monkeypatch.context() as patch:
            patch.setattr(Detector, "flush", no_memory)
            with pytest.raises(WireError, match="not done for stream 'line'"):
                control(service, "flush")
        assert finals(screen, 1) == ["line-1"]


@pytest.mark.one_process
def test_a_pinned_frame_s_final_echoes_it_however_many_came_since(backbone):
    """Frames that were kept out pushed what is echoed of those in the ring out of memory."""
    few = {"ring": {"capacity": 3, "admit": "pinned_only"}, "limits": {"known_ids": 3}}
    with watched(backbone, **few) as (service, screen, camera):
        for seed in range(2):
            camera.picture(seed, meta={"part": seed})
        screen.until(2, "score")
        for seed in range(2):
            control(service, "pin", stream="line", frame_id=f"line-{seed}")
        for seed in range(2, 42):
            camera.picture(seed, meta={"part": seed})
        screen.until(40, "score")
        assert len(service.streams.get("line").origins) == 3 + 16
        control(service, "flush")
        last = screen.until(2, "revision")
        assert [(fields["meta"], fields["seq"]) for fields in last] == [({"part": 0}, 0), ({"part": 1}, 1)]


@pytest.mark.one_process
def test_a_revision_that_fails_refuses_no_frame(backbone, monkeypatch):
    """The frame by which it was due had its score, and was refused too: counted twice."""

    def no_memory(self):
        raise MemoryError("cannot allocate")

    monkeypatch.setattr(Detector, "revise", no_memory)
    with watched(backbone, warmup=1) as (service, screen, camera):
        for seed in range(2):
            camera.picture(seed)
        told = screen.until(3, "score", "error")
        assert [fields["frame_id"] for fields in told] == ["line-0", "line-1", None]
        assert (told[2]["code"], told[2]["stream"]) == ("internal", "line")
        status = control(service, "status")
        assert (status["scored"], status["refused"]) == (2, {})
        assert identity_holds(status)


@pytest.mark.one_process
def test_a_flush_waits_for_what_came_before_it_and_not_for_as_many_others(backbone, monkeypatch):
    """Frames refused at once while it waits were counted in place of those that are not scored yet."""
    held = Held(backbone)
    with watched(held, transport={"batch": 1, "queue": 64}) as (service, screen, camera):
        held.fill(camera)
        for seed in range(3, 8):
            camera.picture(seed)
        camera.all_offered(service)
        answer, waits, wait_for = {}, threading.Event(), service.ledger.wait_for
        monkeypatch.setattr(service.ledger, "wait_for", lambda *given: waits.set() or wait_for(*given))
        flush = threading.Thread(target=lambda: answer.update(control(service, "flush", stream="line")))
        flush.start()
        assert waits.wait(60)
        for _ in range(8):
            camera.picture(0)
        until(lambda: service.ledger.totals()["refused"].get("duplicate") == 8)
        held.release()
        flush.join()
        assert answer["flushed"] == 8
        assert finals(screen, 8) == [f"line-{seed}" for seed in range(8)]


@pytest.mark.one_process
def test_ids_are_free_after_a_reset_whatever_was_on_its_way_out(backbone, monkeypatch):
    with watched(backbone) as (service, screen, camera):
        inside, gate, add = threading.Event(), threading.Event(), service.history.add

        def slow(entries):
            if any(entry.topic.endswith("/score") for entry in entries):
                inside.set()
                gate.wait(60)
            return add(entries)

        with monkeypatch.context() as patch:
            patch.setattr(service.history, "add", slow)
            camera.picture(0)
            assert inside.wait(60)
            assert control(service, "reset", stream="line")["reset"] == 1
            gate.set()
            screen.until(1, "score")
        camera.picture(0)
        assert screen.until(1, "score", "error")[0]["kind"] == "score"


def test_a_pinned_id_is_known_however_many_were_scored_since(backbone):
    few = {"ring": {"capacity": 3, "admit": "pinned_only"}, "limits": {"known_ids": 3}}
    with watched(backbone, **few) as (service, screen, camera):
        for seed in range(2):
            camera.picture(seed)
        screen.until(2, "score")
        for seed in range(2):
            control(service, "pin", stream="line", frame_id=f"line-{seed}")
        for seed in range(2, 9):
            camera.picture(seed)
        screen.until(7, "score")
        camera.picture(0)  # in the ring
        camera.picture(8)  # scored lately
        assert [fields["code"] for fields in screen.until(2, "error")] == ["duplicate"] * 2
        camera.picture(2)  # long ago, and kept out
        assert screen.until(1, "score")[0]["frame_id"] == "line-2"
