"""`precision: int8`: what OpenVINO makes of a network, and what is said where it cannot."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import backbone_states
import numpy as np
import pytest
import torch
from backbone_support import assemble, inputs_for, tiny, tiny_clip

from musc_online import backbones
from musc_online.backbones import checkpoint, loading, openvino
from musc_online.errors import ConfigError

__all__ = ["tiny_clip"]


def eight_bit(backbone, *, bfloat16=False, vnni=True):
    """The same backbone in 8-bit integers."""
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    frames = torch.stack([backbone.prepare(frame) for frame in openvino.calibration_frames(4, 64)])
    backbone.network = openvino.Int8Network(
        backbone.network, frames, backbone.stages, name=backbone.name, bfloat16=bfloat16, vnni=vnni
    )
    return backbone


def alikeness(ours, theirs):
    """The smallest cosine of tokens."""
    return torch.nn.functional.cosine_similarity(ours, theirs, dim=-1).min().item()


def drawn(backbone, count):
    frames = openvino.calibration_frames(count, 48)
    return torch.stack([backbone.prepare(frame) for frame in frames])


@pytest.mark.parametrize("vnni", [True, False])
@pytest.mark.parametrize("stages", [(5, 1), (3,)])
def test_tokens_stay_near_those_of_float32(stages, vnni):
    plain, rounded = tiny(stages=stages), eight_bit(tiny(stages=stages), vnni=vnni)
    inputs = drawn(plain, 3)
    (tokens, class_token), (expected, expected_class) = rounded.extract(inputs), plain.extract(inputs)
    assert tokens.shape == expected.shape
    assert tokens.dtype == class_token.dtype == torch.float32
    assert not torch.equal(tokens, expected)
    assert alikeness(tokens, expected) > 0.98
    assert alikeness(class_token, expected_class) > 0.98


@pytest.mark.parametrize("stages", [(2, 0), (1,)])
def test_clip_is_translated_too(tiny_clip, stages):
    state = checkpoint.to_open_clip(backbone_states.timm_state(tiny_clip, grid=3, hidden=512, clip=True))
    plain, rounded = (assemble(tiny_clip, 24, stages, state) for _ in range(2))
    inputs = drawn(plain, 2)
    (tokens, class_token), (expected, expected_class) = (
        eight_bit(rounded).extract(inputs),
        plain.extract(inputs),
    )
    assert alikeness(tokens, expected) > 0.98
    assert alikeness(class_token, expected_class) > 0.98


def test_a_batch_gives_the_very_bytes_of_single_frames_in_any_thread():
    rounded = eight_bit(tiny())
    inputs = drawn(rounded, 6)
    tokens, class_tokens = rounded.extract(inputs)
    with ThreadPoolExecutor(3) as pool:
        for index, (alone, class_token) in enumerate(pool.map(rounded.extract, inputs[:, None])):
            assert torch.equal(alone[:, 0], tokens[:, index])
            assert torch.equal(class_token[0], class_tokens[index])


@pytest.mark.slow
def test_real_weights_give_the_same_bytes_in_every_process():
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    paths = os.pathsep.join([str(Path(__file__).parent), *(path for path in sys.path if path)])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "from test_backbone_int8 import digests; print(*digests())"],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == digests()  # of a process that has done other things before


def digests():
    """Of the backbone with real weights, and of what it says of a frame."""
    rounded = backbones.load("dinov2_vits14", image_size=112, stages=(8,), precision="int8")
    said = rounded.extract(rounded.prepare(openvino.calibration_frames(1)[0])[None])
    return [rounded.fingerprint, *(hashlib.sha256(tokens.numpy().tobytes()).hexdigest() for tokens in said)]


@pytest.mark.slow
def test_real_weights_stay_near_those_of_float32():
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    plain, rounded = (
        backbones.load("dinov2_vits14", image_size=112, precision=precision)
        for precision in ("float32", "int8")
    )
    assert rounded.precision == "int8"
    inputs = torch.stack([plain.prepare(frame) for frame in openvino.calibration_frames(3)])
    (tokens, class_token), (expected, expected_class) = rounded.extract(inputs), plain.extract(inputs)
    cosines = torch.nn.functional.cosine_similarity(tokens, expected, dim=-1)
    assert cosines.mean() > 0.998
    assert alikeness(class_token, expected_class) > 0.99


def test_calibration_frames_are_the_same_ones_and_show_much():
    frames = openvino.calibration_frames()
    assert all(np.array_equal(*pair) for pair in zip(frames, openvino.calibration_frames(), strict=True))
    assert {frame.shape for frame in frames} == {(256, 256, 3)}
    assert min(frame.min() for frame in frames) == 0
    assert max(frame.max() for frame in frames) == 255


def test_without_openvino_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(
        ConfigError, match=r'got .int8.*not installed; install it with: pip install "openvino=='
    ) as caught:
        backbones.load("dinov2_vits14", precision="int8")
    assert "\n" not in str(caught.value)


def test_an_accelerator_has_no_int8():
    with pytest.raises(
        ConfigError, match=r"got 'int8', which runs on the CPU only, but backbone.device is cuda:0"
    ):
        loading.choose_precision("int8", torch.device("cuda:0"))


def test_a_network_that_openvino_cannot_translate_is_one_line():
    class Odd(torch.nn.Module):
        blocks = torch.nn.ModuleList()

        def forward(self, inputs, stages):
            return [torch.linalg.svdvals(inputs)], torch.linalg.eigvals(inputs[0]).real

    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    with pytest.raises(
        ConfigError, match=r"OpenVINO cannot translate odd \(.*; set auto, bfloat16 or float32$"
    ) as caught:
        openvino.Int8Network(Odd(), torch.zeros(1, 3, 16, 16), (0,), name="odd", bfloat16=False, vnni=True)
    assert "\n" not in str(caught.value)


def test_other_precisions_have_other_fingerprints():
    prints = {tiny(chosen=chosen).fingerprint for chosen in ("float32", "bfloat16", "int8")}
    assert len(prints) == 3


def test_the_telemetry_of_openvino_is_never_imported():
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    code = (
        "import sys; from musc_online.backbones import openvino; openvino.require();"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry') and sys.modules[name]])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("family", ["dino", "clip"])
def test_the_last_block_is_cut_to_the_class_token_where_nothing_else_is_wanted(family, tiny_clip):
    if family == "clip":
        state = checkpoint.to_open_clip(backbone_states.timm_state(tiny_clip, grid=3, hidden=512, clip=True))
        whole, cut = (assemble(tiny_clip, 24, stages, state) for stages in ((1, 2), (1,)))
    else:
        whole, cut = tiny(stages=(1, 5)), tiny(stages=(1,))
    inputs = inputs_for(whole, 3)
    (expected, expected_class), (tokens, class_token) = whole.extract(inputs), cut.extract(inputs)
    assert torch.equal(tokens[0], expected[0])
    torch.testing.assert_close(class_token, expected_class, atol=1e-5, rtol=1e-5)
    calls = []
    for backbone in (whole, cut):
        backbone.network.blocks[-1].register_forward_hook(lambda *_: calls.append(1))
    cut.extract(inputs[:1])
    assert not calls
    whole.extract(inputs[:1])
    assert calls
