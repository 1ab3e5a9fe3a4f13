"""Worker processes that decode: what one picture costs, no other pays, and nothing of them is left behind."""

import gc
import os
import resource
import signal
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from streamer_support import (
    backbone,
    control,
    identity_holds,
    one_thread,
    picture,
    png,
    server_process,
    until,
    watched,
)

from musc_online.config import load
from streamer import images
from streamer.errors import StreamerError, WireError
from streamer.server import decode_pool
from streamer.server.decode_pool import DecodePool, Decoder, DecodeTimeoutError
from streamer.server.intake import Intake
from streamer.server.outcomes import Ledger, Outcomes
from streamer.server.pipeline import Pipeline
from streamer.server.stream import QueuedFrame, Stream
from streamer.wire.frame import FrameMessage, Limits

__all__ = ["backbone", "one_thread"]

LIMITS = Limits()
PATIENT_S = 60.0
EACH = 5


@pytest.fixture
def make():
    made = []

    def one(limits=LIMITS, decode_s=PATIENT_S):
        made.append(Decoder(limits, decode_s))
        return made[-1]

    yield one
    for decoder in made:
        decoder.close()


@pytest.fixture
def decoder(make):
    return make()


def message(payload, **more):
    return FrameMessage("line", 1, images.sniff(payload) or "png", payload, **more)


def held_up(one):
    """Stop a worker as a picture would that takes for ever: the clock runs, the worker does not."""
    os.kill(one.wait_ready().process.pid, signal.SIGSTOP)


@pytest.mark.parametrize("encoding", ["jpeg", "png", "raw"])
@pytest.mark.parametrize("size", [(1, 1), (37, 53), (2100, 1900)])
def test_the_workers_pixels_are_those_of_this_process(decoder, encoding, size):
    frame = picture(1, *size)
    sent = FrameMessage("line", 1, encoding, images.encode(frame, encoding), shape=(*size, 3))
    for _ in range(2):  # what a larger frame left in the file is not the next one's
        np.testing.assert_array_equal(decoder.decode(sent).frame, images.decode(sent, LIMITS))
        assert decoder.decode(message(png(picture(2, 3, 3)))).frame.shape == (3, 3, 3)


def test_a_bad_picture_is_refused_as_in_this_process_and_costs_no_worker(decoder):
    decoder.decode(message(png(picture(0))))
    pid = decoder.pid
    whole = images.encode(picture(3), "jpeg")
    for bad in (b"", b"no image", whole[:-40], message(whole, shape=(1, 1, 3)), b"\x89PNG\r\n\x1a\n"):
        sent = bad if isinstance(bad, FrameMessage) else message(bad)
        with pytest.raises(WireError) as here:
            images.decode(sent, LIMITS)
        with pytest.raises(WireError) as there:
            decoder.decode(sent)
        assert (there.value.code, there.value.text) == (here.value.code, here.value.text)
    assert decoder.pid == pid


def test_a_picture_that_takes_too_long_is_given_up_and_its_worker_replaced(make):
    decoder = make(decode_s=0.2)
    worker = decoder.wait_ready()
    held_up(decoder)
    with pytest.raises(DecodeTimeoutError, match=r"not decoded within 0.2 s \(limits.decode_s\)") as caught:
        decoder.decode(message(png(picture(0))))
    assert caught.value.code == "decode_timeout"
    assert worker.process.returncode == -signal.SIGKILL
    decoder.wait_ready()
    assert decoder.pid != worker.process.pid


def test_a_worker_that_dies_costs_its_picture_alone(decoder):
    for _ in range(2):
        decoder.wait_ready().process.send_signal(signal.SIGSEGV)
        with pytest.raises(WireError, match="died of it") as caught:
            decoder.decode(message(png(picture(0))))
        assert caught.value.code == "undecodable"
        np.testing.assert_array_equal(decoder.decode(message(png(picture(1)))).frame, picture(1))


def test_a_worker_that_was_killed_costs_no_picture(decoder):
    """The system was short of memory, or somebody was: the next picture was refused, for good, as damaged."""
    for _ in range(2):
        killed = decoder.wait_ready()
        killed.process.kill()
        np.testing.assert_array_equal(decoder.decode(message(png(picture(0)))).frame, picture(0))
        assert decoder.pid != killed.process.pid


def test_a_picture_whose_workers_are_killed_is_refused(decoder, monkeypatch):
    spawn = decoder.spawn

    def killed():
        worker = spawn()
        worker.is_ready()
        worker.process.kill()
        return worker

    monkeypatch.setattr(decoder, "spawn", killed)
    with pytest.raises(WireError, match="died of it"):
        decoder.decode(message(png(picture(0))))


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_memory_that_a_picture_takes_is_bounded_and_costs_that_picture_alone(make):
    decoder = make(Limits(pixels=20_000_000, payload_bytes=1 << 20))
    pid = decoder.wait_ready().process.pid
    size = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    limit, _ = resource.prlimit(pid, resource.RLIMIT_AS)
    assert size < limit < size + (1 << 30)
    resource.prlimit(pid, resource.RLIMIT_AS, (size + (20 << 20), limit))
    for encoding in ("png", "jpeg"):
        flat = images.encode(np.zeros((4000, 4000, 3), np.uint8), encoding)
        with pytest.raises(WireError) as caught:
            decoder.decode(message(flat))
        assert caught.value.code == "undecodable"
        assert decoder.decode(message(images.encode(picture(0), encoding))).frame.shape == (48, 64, 3)


def test_a_limit_of_centuries_is_a_limit(make):
    np.testing.assert_array_equal(make(decode_s=1e10).decode(message(png(picture(1)))).frame, picture(1))


def test_a_worker_that_dies_before_it_can_work_is_started_again(decoder):
    decoder.spawn().process.kill()
    np.testing.assert_array_equal(decoder.decode(message(png(picture(1)))).frame, picture(1))


def test_what_a_terminal_or_supervisor_sends_ends_no_worker(decoder):
    worker = decoder.wait_ready()
    assert os.getsid(worker.process.pid) != os.getsid(0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(worker.process.pid, number)
    assert decoder.decode(message(png(picture(0)))).frame.shape == (48, 64, 3)
    assert worker.process.poll() is None


def test_nothing_is_left_of_a_closed_pool():
    gc.collect()  # what others have left closes its files now, and not meanwhile
    before = open_files()
    pool = DecodePool(LIMITS, PATIENT_S)
    pool.start()
    pids = [decoder.pid for decoder in pool.decoders]
    assert len(set(pids)) == 2
    pool.stop()
    pool.stop()
    assert all(gone(pid) for pid in pids)
    assert open_files() == before
    with pytest.raises(StreamerError, match="the pool is closed"):
        pool.decoders[0].decode(message(png(picture(0))))


def test_workers_that_cannot_start_are_told(monkeypatch):
    monkeypatch.setattr(decode_pool, "_MODULE", "streamer.no_such_module")
    with pytest.raises(StreamerError, match="decode worker: does not come up"):
        DecodePool(LIMITS, PATIENT_S).start()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(StreamerError, match=r"decode worker: cannot be started \(No such file"):
        DecodePool(LIMITS, PATIENT_S).start()


def test_a_stream_that_holds_up_its_worker_holds_up_no_other(backbone):
    """One worker hangs at a picture; another stream's frames are all scored before it is given up."""
    with watched(backbone, limits={"decode_s": PATIENT_S}) as (service, screen, camera):
        first, second = service.engine.decoders.decoders
        camera.picture(0, "other")
        camera.picture(0, "held")
        screen.until(2, "score")
        held_up(first)
        # Whichever thread takes it, sooner or later: of two streams, one meets the worker that hangs.
        for seed in range(1, EACH + 1):
            camera.picture(seed, "held")
            camera.picture(seed, "other")
        scored: Counter[str] = Counter()
        while EACH not in scored.values():
            scored[screen.until(1, "score")[0]["stream"]] += 1
        left = 2 * EACH - scored.total()
        assert left > 0
        os.kill(first.pid, signal.SIGKILL)
        told = screen.until(left, "error", "score")
        assert [fields["kind"] for fields in told] == ["score"] * left  # what killed it was not the picture
        assert identity_holds(control(service, "status"))
        assert second.pid is not None


def test_a_picture_given_up_is_refused_and_the_stream_goes_on(backbone):
    with watched(backbone, limits={"decode_s": 5.0}) as (service, screen, camera):
        for decoder in service.engine.decoders.decoders:
            held_up(decoder)
        camera.picture(0)
        assert screen.until(1, "error")[0]["code"] == "decode_timeout"
        os.kill(service.engine.decoders.decoders[1].pid, signal.SIGCONT)
        os.kill(service.engine.decoders.decoders[0].pid, signal.SIGCONT)
        camera.picture(1)
        assert screen.until(1, "score")[0]["frame_id"] == "line-1"
        assert control(service, "status")["refused"] == {"decode_timeout": 1}


def test_a_stop_tries_no_more_pictures_of_a_slow_stream(backbone):
    """Each may take `decode_s`: of a full queue that is minutes."""
    intake, outcomes, told = Intake(10**9), Outcomes(Ledger()), []
    outcomes.outbox = SimpleNamespace(put=told.append)
    stream = Stream("slow", load({}))
    for number in range(5):
        queued = QueuedFrame(FrameMessage("slow", number, "png", png(picture(number))), stream, 0)
        assert intake.offer(queued, length=5, when_full="block")[0]
    intake.close()
    pool = DecodePool(LIMITS, 0.3)
    pool.start()
    for decoder in pool.decoders:
        held_up(decoder)
    pipeline = Pipeline(intake, backbone, pytest.fail, outcomes, pool, 4, pytest.fail)
    pipeline.start()
    pipeline.join()
    pool.stop()
    assert [one.header.get("code", one.header.get("reason")) for one in told] == [
        "decode_timeout",
        *["stopping"] * 4,
    ]


def test_workers_end_with_a_service_that_was_killed(tmp_path, one_thread):
    with server_process(tmp_path) as server:
        workers = children(server.pid)
        assert len(workers) == 2
        server.kill()
        until(lambda: all(gone(pid) for pid in workers))


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def children(pid):
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended since
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid:
                found.append(int(entry.name))
    return found


def gone(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"
