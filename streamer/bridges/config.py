"""A bridge's configuration from YAML: what all have in common, and the section of the one that is named."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError, create_model

from musc_online import config_file
from musc_online.config_errors import one_line
from musc_online.errors import ConfigError
from streamer.bridges import registry
from streamer.bridges.common import Common
from streamer.errors import StreamerError


@dataclass(frozen=True)
class Loaded:
    """A bridge as it is to run.

    Attributes:
        name: of its section, and in its log and figures.
        section: its own keys.
    """

    name: str
    bridge: registry.Bridge
    common: Common
    section: Any

    @property
    def maps(self) -> bool:
        """Whether verdicts must have their maps."""
        return self.common.tell.maps or "maps" in self.bridge.needs(self.section)

    @property
    def pictures(self) -> bool:
        """Whether verdicts wait for their pictures."""
        return self.common.tell.pictures or "pictures" in self.bridge.needs(self.section)


def load(name: str, path: Path) -> Loaded:
    """Read the configuration of a bridge; sections of other bridges may stand in the same file.

    Args:
        name: as on the command line.
        path: of a YAML file.

    Raises:
        StreamerError: one line: no such bridge, a file that cannot be read, an unknown key, a wrong value.
    """
    bridge, own = registry.load(name), registry.section_name(name)
    if own in Common.model_fields:
        raise StreamerError(
            f"NAME: got '{name}', whose section '{own}' all bridges have; give it another name"
        )
    try:
        values: Any = config_file.read(path)
        if not isinstance(values, Mapping | None):
            raise ConfigError(f"{path}: got a {type(values).__name__}, expected keys such as 'queue:'")
        others = {key for key in registry.KNOWN if key != own}
        kept = {key: value for key, value in (values or {}).items() if key not in others}
        whole = create_model("Whole", __base__=Common, **{own: (bridge.section, ...)})  # type: ignore[call-overload]
        # A section that has nothing to be said of may be left out.
        read = whole.model_validate({own: {}, **kept})
    except ConfigError as error:
        raise StreamerError(str(error)) from None
    except ValidationError as error:
        raise StreamerError(f"{path}: {one_line(error, whole)}") from None
    common = Common.model_construct(**{key: getattr(read, key) for key in Common.model_fields})
    return Loaded(own, bridge, common, getattr(read, own))
