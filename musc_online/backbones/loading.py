"""From a name to a backbone that runs. Importing this imports torch and the model libraries."""

from musc_online import preprocess
from musc_online.backbones.clip import ClipNetwork
from musc_online.backbones.dino import DinoNetwork
from musc_online.backbones.precision import choose_device, choose_precision
from musc_online.backbones.specs import spec
from musc_online.backbones.vit import Network, VitBackbone
from musc_online.backbones.weights import resolve


def load_backbone(
    name: str,
    weights: str,
    image_size: int | None,
    stages: tuple[int, ...] | None,
    device: str,
    precision: str,
) -> VitBackbone:
    """See `musc_online.backbones.load`; everything that can be wrong is checked before weights are read."""
    known = spec(name)
    size = known.default_size if image_size is None else image_size
    known.check_size(size)
    taken = known.check_stages(known.default_stages if stages is None else stages)
    place = choose_device(device)
    chosen = choose_precision(precision, place)
    found = resolve(known, weights)
    network: Network
    if known.family == "clip":
        network = ClipNetwork(known, size, found.state, found.quick_gelu)
        prepare = preprocess.clip(size)
    else:
        network = DinoNetwork(known, size, found.state)
        prepare = preprocess.imagenet(size)
    return VitBackbone(
        known,
        network,
        prepare,
        image_size=size,
        stages=taken,
        device=place,
        precision=chosen,
        weights=found.source,
        weights_digest=found.digest,
    )
