"""The same stream gives the same bytes in every run on one machine, a loaded one too."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from load_support import loaded
from stream_support import images

from bench import demo_data
from musc_online import backbones, config
from musc_online.detector import Detector

PROGRAM = """
import musc_online.backbones.dino
from test_same_bytes import digests

print(flush=True)
input()
print(*digests())
"""
"""It says that all is imported, and begins when it is told to: no busy loop need run beside imports."""


def digest_of(scores):
    """Of every field and every array of scores, to the last bit."""
    digest = hashlib.sha256()
    for score in scores:
        said = asdict(score)
        for volatile in ("latency_ms", "scored_ns"):
            del said[volatile]
        for name, value in said.items():
            digest.update(name.encode())
            digest.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return digest.hexdigest()


def streamed(settings, step, n_frames):
    """Provisional, revised and final scores of a stream."""
    detector = Detector(config.load(settings))
    said = []
    for frame in range(n_frames):
        said.append(step(detector, frame))
        if detector.revise_due:
            said += detector.revise()
        said += detector.take_finals()
    return digest_of([*said, *detector.flush()])


def digests():
    """Of tokens in coarse and in fine features, whatever matcher `auto` is, and of frames from pixels on."""
    ring = {"ring": {"capacity": 8}, "revise": {"every": 3}, "warmup": 3, "output": {"map_size": 28}}
    found = []
    for n_stages, side, degrees in ((4, 12, [1, 3, 5]), (1, 6, [1]), (1, 5, [1, 7])):
        tokens, class_tokens = images(5, 11, n_stages=n_stages, n_patches=side * side, n_channels=32)
        found.append(
            streamed(
                ring | {"method": {"degrees": degrees}},
                lambda detector, i, t=tokens, c=class_tokens: detector.step_tokens(t[:, i], c[i], i),
                11,
            )
        )
    frames = [demo_data.draw(3, index, size=128)[0] for index in range(5)]
    settings = ring | {"backbone": {"image_size": 112, "stages": [5, 11]}}
    found.append(streamed(settings, lambda detector, i: detector.step(frames[i], f"part-{i}"), len(frames)))
    return found


@contextmanager
def in_a_process():
    """What has another process find its digests, once it has imported all."""
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), paths])}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, text=True, **pipes) as process:

        def found():
            said, complaints = process.communicate("\n")
            assert process.returncode == 0, complaints
            return said.split()

        assert process.stdout.readline() == "\n", process.communicate()[1]
        try:
            yield found
        finally:
            process.kill()


@pytest.mark.slow
def test_a_loaded_machine_says_what_a_quiet_one_says():
    with in_a_process() as found:
        quiet = found()
    assert len(set(quiet)) == 4
    with in_a_process() as one, in_a_process() as other, loaded(), ThreadPoolExecutor(2) as pool:
        # Each beside the other, and half as long beside busy loops.
        assert [done.result() for done in [pool.submit(found) for found in (one, other)]] == [quiet, quiet]
    assert digests() == quiet  # and a process that has done other things before


@pytest.mark.parametrize("size", [56, pytest.param(224, marks=pytest.mark.slow)])
def test_tokens_do_not_depend_on_how_frames_are_batched(size):
    """The service extracts together the frames that happen to wait: that must not be seen in a score."""
    backbone = backbones.load("dinov2_vits14", image_size=size)
    frames = [backbone.prepare(demo_data.draw(3, index, size=96)[0]) for index in range(5)]
    inputs = torch.stack(frames)
    tokens, class_tokens = backbone.extract(inputs)
    for start, stop in ((0, 1), (1, 3), (2, 5), (0, 4)):
        part, class_part = backbone.extract(inputs[start:stop])
        np.testing.assert_array_equal(part.numpy(), tokens[:, start:stop].numpy())
        np.testing.assert_array_equal(class_part.numpy(), class_tokens[start:stop].numpy())
