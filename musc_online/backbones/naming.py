"""From the name in `backbone.name` to what is known of that backbone, ours or timm's."""

from musc_online.backbones import registry
from musc_online.backbones.registry import TIMM_PREFIX, BackboneSpec


def spec(name: str) -> BackboneSpec:
    """What is known of the backbone called `name`: one of `registry.names()`, or `timm:NAME`.

    Only a name of timm's imports torch and timm.

    Raises:
        ConfigError: an unknown name, lists the known ones; or a model of timm's that is no plain
            vision transformer.
    """
    if not name.startswith(TIMM_PREFIX):
        return registry.published_spec(name)
    from musc_online.backbones import timm_vit  # noqa: PLC0415  (seconds to import)

    return timm_vit.spec(name)
