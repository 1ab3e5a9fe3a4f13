"""What a backbone of the engine on Ray makes of frames: the same as one process, in whatever company."""

import os
import signal
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from streamer_support import Held, backbone, picture, png, small_config, until

from musc_online import backbones, frames
from streamer import images
from streamer.cluster.exchange import Job
from streamer.cluster.extracting import Extractor
from streamer.server.decode_pool import DecodePool
from streamer.server.intake import Intake
from streamer.server.outcomes import Ledger, Outcomes
from streamer.server.pipeline import Pipeline
from streamer.server.preparing import wire_limits
from streamer.server.stream import QueuedFrame, Stream
from streamer.server.streams import Streams
from streamer.wire.frame import FrameMessage

__all__ = ["backbone"]

STREAMS = [
    {"match": "tiled", "tiles": {"rows": 2, "cols": 3}},
    {"match": "pictured", "output": {"picture": {"of": "all", "side": 32}}},
    {"match": "deep", "bit_depth": 10},
]


@contextmanager
def extracting(backbone, failed=pytest.fail, **sections):
    config = small_config(**sections)
    decoders = DecodePool(wire_limits(config), config.limits.decode_s)
    decoders.start()
    extractor = Extractor(config, backbone, decoders, failed)
    yield extractor, decoders
    extractor.close()
    decoders.stop()


def frame(number, stream="line", payload=None, **more):
    payload = png(picture(number)) if payload is None else payload
    return FrameMessage(stream, number, images.sniff(payload) or "png", payload, **more)


def one_colour(number, value=128):
    return frame(number, payload=png(np.full((20, 20, 3), value, np.uint8)))


def assorted():
    """Frames of four streams, good, odd and bad."""
    deep = picture(3).astype(np.uint16) << 2
    raw = picture(5)
    yield from (frame(number, name) for name in ("line", "tiled", "pictured") for number in range(5))
    yield FrameMessage("deep", 0, "png", images.encode(deep, "png"))
    yield FrameMessage("line", 10, "raw", raw.tobytes(), shape=raw.shape)
    yield one_colour(11)
    yield frame(12, payload=png(picture(12))[:-30])
    yield frame(13, payload=b"no picture")
    yield frame(14, "deep", payload=png(picture(14)), shape=(1, 1, 3))
    yield frame(15, "pictured", payload=images.encode(picture(15), "jpeg"))


def in_one_process(messages, backbone, config):
    """What the pipeline of one process makes of them: tokens, refusals and warnings by stream and id."""
    intake, done, told = Intake(10**9), {}, []
    outcomes = Outcomes(Ledger())
    outcomes.outbox = SimpleNamespace(put=told.append)
    streams = Streams(config, None, lambda _: None)
    kept = defaultdict(lambda: None)
    for message in messages:
        kept[message.stream] = kept[message.stream] or Stream(
            message.stream, streams.config_of(message.stream)
        )
        queued = QueuedFrame(message, kept[message.stream], 0)
        assert intake.offer(queued, length=100, when_full="block")[0]
    intake.close()
    decoders = DecodePool(wire_limits(config), config.limits.decode_s)
    decoders.start()

    def score(tokens):
        done[tokens.queued.message.stream, tokens.queued.message.frame_id] = tokens

    pipeline = Pipeline(intake, backbone, score, outcomes, decoders, config.transport.batch, pytest.fail)
    pipeline.start()
    pipeline.join()
    decoders.stop()
    codes = defaultdict(set)
    for one in told:
        codes[one.stream, one.header["frame_id"]].add((one.header["code"], one.header["text"]))
    return done, codes


def test_all_is_said_of_a_frame_that_one_process_says(backbone):
    config = small_config(streams=STREAMS)
    messages = list(assorted())
    here, codes = in_one_process(messages, backbone, config)
    with extracting(backbone, streams=STREAMS) as (extractor, _), ThreadPoolExecutor(8) as pool:
        there = list(pool.map(lambda message: extractor.extract(Job(message, message.stream)), messages))
    refused = 0
    for message, (said, tokens) in zip(messages, there, strict=True):
        key = (message.stream, message.frame_id)
        told = {*said.warnings, *([] if said.error is None else [said.error])}
        assert told == codes[key]
        assert said.in_time
        assert (tokens is None) == (said.error is not None) == (key not in here)
        if tokens is None:
            refused += 1
            continue
        assert (said.shape, said.contrast) == (here[key].shape, here[key].contrast)
        assert_same(tokens, (here[key].patch_tokens, here[key].class_token))
        ours = here[key].picture
        assert (said.picture is None) == (ours is None) == (message.stream != "pictured")
        assert ours is None or (said.picture.jpeg, said.picture.size) == (ours.jpeg, ours.size)
        assert said.latency_ms.keys() == {"queue", "decode", "wait", "backbone"}
    assert refused == 3
    assert {code for code, _ in codes["line", 11]} == {"constant_image"}


@pytest.mark.parametrize("batch", [1, 3, 4])
def test_tokens_are_the_same_bytes_in_whatever_company(backbone, batch):
    alone = [backbone.extract(backbone.prepare(picture(number))[None]) for number in range(12)]
    order = np.random.default_rng(batch).permutation(12)
    with extracting(backbone, transport={"batch": batch}) as (extractor, _), ThreadPoolExecutor(8) as pool:
        for number, (_, tokens) in zip(
            order,
            pool.map(lambda number: extractor.extract(Job(frame(int(number)), "line")), order),
            strict=True,
        ):
            patch_tokens, class_tokens = alone[number]
            assert_same(tokens, (patch_tokens[:, 0], class_tokens[0]))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "auto", "int8"])
@pytest.mark.parametrize(("size", "stages"), [(56, (2, 5, 8, 11)), (56, (2, 5, 8)), (224, (5, 8))])
def test_no_byte_depends_on_batch_or_threads(precision, size, stages):
    """What lets actors of any number, on machines of any number of cores, stand for one process."""
    loaded = backbones.load("dinov2_vits14", "auto", size, stages, "cpu", precision)
    inputs = torch.stack([loaded.prepare(picture(number, 240, 320)) for number in range(4)])
    usual = torch.get_num_threads()
    alone = [loaded.extract(inputs[number : number + 1]) for number in range(4)]
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            for batch in ([0], [1, 0], [3, 1, 2], [0, 1, 2, 3]):
                patch_tokens, class_tokens = loaded.extract(inputs[batch])
                for place, number in enumerate(batch):
                    assert torch.equal(patch_tokens[:, place], alone[number][0][:, 0])
                    assert torch.equal(class_tokens[place], alone[number][1][0])
    finally:
        torch.set_num_threads(usual)


class Moody(Held):
    """The real backbone behind a gate, which raises `error` for a batch with a frame of one colour."""

    def __init__(self, backbone, error):
        super().__init__(backbone)
        self.error, self.sizes = error, []

    def extract(self, inputs):
        self.sizes.append(len(inputs))
        if any(float(one.std(dim=(1, 2)).max()) < 1e-4 for one in inputs):
            raise self.error
        return super().extract(inputs)


def test_a_frame_that_the_backbone_chokes_on_costs_none_that_shared_its_batch(backbone):
    moody = Moody(backbone, MemoryError("cannot\nallocate"))
    messages = [frame(0), frame(1), one_colour(2), frame(3)]
    with extracting(moody) as (extractor, _), ThreadPoolExecutor(4) as pool:
        first = pool.submit(extractor.extract, Job(messages[0], "line"))
        until(lambda: moody.sizes == [1])  # the others wait for it, and then for nobody
        rest = [pool.submit(extractor.extract, Job(message, "line")) for message in messages[1:]]
        until(lambda: extractor._batches._prepared.qsize() == 3)
        moody.release()
        answers = [one.result() for one in (first, *rest)]
    assert moody.sizes == [1, 3, 1, 1, 1]
    assert [said.error for said, _ in answers] == [
        None,
        None,
        ("backbone_failed", "MemoryError: cannot allocate"),
        None,
    ]
    for message, (_, tokens) in zip(messages, answers, strict=True):
        if tokens is not None:
            patch_tokens, class_tokens = backbone.extract(backbone.prepare(picture(message.frame_id))[None])
            assert_same(tokens, (patch_tokens[:, 0], class_tokens[0]))
    assert answers[2][1] is None


def test_a_frame_that_cannot_be_prepared_is_told_as_what_it_is(backbone, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("nobody\tknows")

    with extracting(backbone) as (extractor, _):
        monkeypatch.setattr(frames, "inputs", broken)
        said, tokens = extractor.extract(Job(one_colour(0), "line"))
        monkeypatch.undo()
        assert (said.error, tokens) == (("internal", "ZeroDivisionError: nobody knows"), None)
        assert [code for code, _ in said.warnings] == ["constant_image"]  # seen before, and told all the same
        assert extractor.extract(Job(frame(1), "line"))[0].error is None  # no decoder is lost by it


def test_a_picture_that_takes_too_long_costs_its_own_decoder_alone(backbone):
    with (
        extracting(backbone, limits={"decode_s": 5.0}) as (extractor, decoders),
        ThreadPoolExecutor(2) as pool,
    ):
        held = decoders.decoders[0].wait_ready().process
        os.kill(held.pid, signal.SIGSTOP)
        first = pool.submit(extractor.extract, Job(frame(0), "slow"))
        until(lambda: extractor._free.qsize() == 1)
        for number in range(5):  # by the other decoder, beside it
            assert extractor.extract(Job(frame(number), "line"))[0].error is None
        said, tokens = first.result()
        assert (said.error[0], said.in_time, tokens) == ("decode_timeout", False, None)
        assert "limits.decode_s" in said.error[1]
        assert held.returncode == -signal.SIGKILL
        for number in range(2):  # and both decode again
            said, _ = extractor.extract(Job(frame(number), "slow"))
            assert (said.error, said.in_time) == (None, True)


def test_frames_of_many_tiles_wait_in_turn(backbone):
    """No more inputs wait than are extracted at a time: those of a frame of more tiles wait alone."""
    held = Held(backbone)
    with extracting(held, streams=STREAMS) as (extractor, _), ThreadPoolExecutor(6) as pool:
        answers = [
            pool.submit(extractor.extract, Job(frame(number, "tiled"), "tiled")) for number in range(6)
        ]
        # One is at the backbone, one waits for it, and each decoder holds one that there is no room for.
        until(lambda: held.prepared == 4 * 6 and extractor._batches._prepared.qsize() == 1)
        assert extractor._free.qsize() == 0
        held.release()
        assert [one.result()[1][0].shape for one in answers] == [(6, 4, 16, 384)] * 6


def test_an_extracting_thread_that_dies_is_told(backbone):
    class Fatal(Held):
        def extract(self, inputs):
            raise SystemExit("no processor left")

    told = threading.Event()
    config = small_config()
    decoders = DecodePool(wire_limits(config), config.limits.decode_s)
    decoders.start()
    extractor = Extractor(config, Fatal(backbone), decoders, lambda _: told.set())
    # Who waits for it would for ever, and ends with the process: an actor ends its own.
    threading.Thread(target=extractor.extract, args=[Job(frame(0), "line")], daemon=True).start()
    assert told.wait(60)
    decoders.stop()


def assert_same(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        assert isinstance(ours, np.ndarray)
        assert (ours.dtype, ours.shape) == (np.float32, tuple(theirs.shape))
        assert ours.tobytes() == theirs.numpy().tobytes()
