"""Frames extracted side by side, each by one thread: the same bytes, and nobody else's threads change."""

import os
import subprocess
import sys
import threading

import pytest
import torch
from backbone_support import inputs_for
from streamer_support import backbone

from streamer.server.lanes import Lanes

__all__ = ["backbone"]


@pytest.fixture(autouse=True)
def two_threads():
    usual = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(usual)


class Watched:
    """Gives some of its inputs as tokens, and keeps by whom it was asked, and for how many."""

    uses_torch_threads, image_size = True, 8

    def __init__(self, broken=None, *, rounds=False):
        self._broken, self._rounds = broken, rounds
        self.asked = []

    def extract(self, inputs):
        threads = torch.get_num_threads()
        self.asked.append((len(inputs), threads, threading.current_thread().name.startswith("solo")))
        if self._broken is not None and any(torch.equal(one, self._broken) for one in inputs):
            raise ZeroDivisionError
        return inputs.flatten(2)[None] * (threads if self._rounds else 1), inputs[:, 0, 0]


TOGETHER, APART, TWO_APART = (1, 2, False), (1, 1, True), (2, 1, True)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_however_many_wait_the_bytes_are_those_of_each_by_itself(backbone, count):
    inputs = inputs_for(backbone, count)
    found = Lanes(backbone, 4).extract(inputs)
    alone = [backbone.extract(one) for one in inputs.split(1)]
    assert torch.equal(found[0], torch.cat([tokens for tokens, _ in alone], dim=1))
    assert torch.equal(found[1], torch.cat([token for _, token in alone]))


def test_each_thread_has_frames_of_its_own_where_there_are_enough():
    backbone = Watched()
    lanes = Lanes(backbone, 4)
    assert not lanes.keep_apart(1)
    lanes.extract(inputs_for(backbone, 1))
    assert backbone.asked == [TOGETHER]
    assert lanes.keep_apart(2)
    assert backbone.asked[1:] == [APART, TOGETHER]  # to see that it may
    for count, expected in (
        (2, [APART] * 2),
        (3, [APART, APART, TOGETHER]),
        (4, [TWO_APART] * 2),
        (7, [APART, APART, TOGETHER, TWO_APART, TWO_APART]),
        (16, [TWO_APART] * 8),
    ):
        backbone.asked.clear()
        lanes.extract(inputs_for(backbone, count))
        assert sorted(backbone.asked) == sorted(expected)
        assert lanes.keep_apart(count) == (count % 2 == 0)


def test_more_threads_than_are_given_inputs_share_each():
    backbone = Watched()
    inputs = inputs_for(backbone, 3)
    lanes = Lanes(backbone, 1)
    lanes.extract(inputs)
    assert backbone.asked == [TOGETHER] * 3
    assert not lanes.keep_apart(2)


@pytest.mark.parametrize("own_threads", [False, True])
def test_frames_stay_together_where_a_thread_by_itself_would_show(own_threads):
    """Where one thread gives other bytes than two, or where the threads are not torch's."""
    backbone = Watched(rounds=not own_threads)
    backbone.uses_torch_threads = not own_threads
    inputs = inputs_for(backbone, 2)
    found = Lanes(backbone, 4).extract(inputs)
    assert backbone.asked[-1] == (2, 2, False)
    assert torch.equal(found[0], backbone.extract(inputs)[0])


def test_an_error_is_heard_once_nobody_computes_any_more():
    inputs = inputs_for(Watched, 4)
    backbone = Watched(broken=inputs[0])
    lanes = Lanes(backbone, 4)
    lanes.extract(inputs[1:3])
    before = len(backbone.asked)
    with pytest.raises(ZeroDivisionError):
        lanes.extract(inputs)
    assert backbone.asked[before:] == [TWO_APART] * 2
    assert torch.equal(lanes.extract(inputs[1:])[0], Watched().extract(inputs[1:])[0])


def test_everybody_else_computes_with_all_threads():
    Lanes(Watched(), 4)
    seen = [torch.get_num_threads()]
    asking = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    asking.start()
    asking.join()
    assert seen == [2, 2]


def test_threads_of_the_libraries_are_told_to_sleep_unless_the_environment_says_otherwise():
    names = ("OMP_WAIT_POLICY", "OPENBLAS_THREAD_TIMEOUT")
    code = f"import os, streamer.server; print(*map(os.environ.get, {names}))"
    bare = {name: value for name, value in os.environ.items() if name not in names}
    for set_before, expected in (({}, "PASSIVE 4"), ({names[1]: "20"}, "PASSIVE 20")):
        done = subprocess.run(
            [sys.executable, "-c", code], env=bare | set_before, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == expected
