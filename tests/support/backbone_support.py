"""What the tests of backbones share: networks put together from made-up tensors."""

import backbone_states
import open_clip
import pytest
import timm
import torch

from musc_online.backbones import loading, registry
from musc_online.backbones.vit import VitBackbone
from musc_online.backbones.weights import Weights

TINY = backbone_states.TINY_DINO


def assemble(spec, image_size, stages, state, *, quick_gelu=False, chosen="float32"):
    """A backbone from tensors in memory, as `load` puts it together from a file."""
    found = Weights(state, "made up", quick_gelu)
    network, prepare = loading.build(spec, image_size, found)
    return VitBackbone(
        spec,
        network,
        prepare,
        image_size=image_size,
        stages=stages,
        device=torch.device("cpu"),
        precision=chosen,
        weights=found.source,
        weights_digest=found.digest,
    )


def shapes_of(spec, image_size):
    """Names and shapes of the network's tensors, from the model library itself."""
    with torch.device("meta"):
        if spec.family == "clip":
            model = open_clip.create_model(
                spec.architecture, force_image_size=image_size, device="meta"
            ).visual
        else:
            model = timm.create_model(spec.architecture, img_size=image_size, num_classes=0)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def tiny(image_size=32, stages=(1, 5), seed=0, **options):
    state = backbone_states.timm_state(TINY, grid=2, hidden=192, seed=seed)
    return assemble(TINY, image_size, stages, state, **options)


def inputs_for(backbone, count, seed=1):
    size = backbone.image_size
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def tiny_clip(monkeypatch):
    """A CLIP small enough for loops: 3 blocks of width 128, 2 heads, registered with open_clip."""
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 24, "layers": 3, "width": 128, "patch_size": 8},
        "text_cfg": {"context_length": 8, "vocab_size": 16, "width": 8, "heads": 1, "layers": 1},
    }
    known = open_clip.get_model_config
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: config if name == "tiny" else known(name))
    return registry.BackboneSpec("tiny", "clip", "tiny", 8, 128, 24, 3, 24, ())
