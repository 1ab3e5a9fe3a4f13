"""How Home Assistant finds the streams: one retained message for each of a stream's entities."""

import hashlib
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from streamer.bridges.mqtt.payloads import encode
from streamer.bridges.mqtt.topics import Topics

_NO_WORD = re.compile(r"[^A-Za-z0-9]+")


class Discovery:
    """Entities of one detector, which is one device.

    Args:
        topics: of the bridge.
        prefix: below which Home Assistant looks.
        device: its name there.
        pictures: whether pictures of frames are handed on.
    """

    def __init__(self, topics: Topics, prefix: str, device: str, *, pictures: bool) -> None:
        self._topics, self._prefix, self._device = topics, prefix, device
        self._pictures = pictures
        self._node = f"musc_{_digest(topics.base)}"

    def messages(self, stream: str) -> dict[str, bytes]:
        """What to retain for a stream, by topic."""
        made = {
            "problem": ("binary_sensor", self._problem(stream)),
            "score": ("sensor", self._score(stream)),
        }
        if self._pictures:
            made["picture"] = ("image", self._picture(stream))
        return {
            self._topic(component, stream, part): encode(self._common(stream, part) | entity)
            for part, (component, entity) in made.items()
        }

    def _topic(self, component: str, stream: str, part: str) -> str:
        return f"{self._prefix}/{component}/{self._node}/{_slug(stream)}_{part}/config"

    def _common(self, stream: str, part: str) -> dict[str, Any]:
        return {
            "name": f"{stream} {part}",
            "unique_id": f"{self._node}_{_digest(stream)}_{part}",
            "availability": [{"topic": self._topics.availability}, {"topic": self._topics.detector}],
            "availability_mode": "all",
            "device": {
                "identifiers": [self._node],
                "name": self._device,
                "manufacturer": "musc-online",
                "model": "online anomaly detection by mutual scoring",
            },
            "origin": {"name": "musc-online", **_version()},
        }

    def _problem(self, stream: str) -> dict[str, Any]:
        state = self._topics.of(stream, "state")
        return {
            "device_class": "problem",
            "state_topic": state,
            "value_template": "{{ {true: 'ON', false: 'OFF'}.get(value_json.pred_label, 'None') }}",
            "json_attributes_topic": state,
        }

    def _score(self, stream: str) -> dict[str, Any]:
        return {
            "state_class": "measurement",
            "state_topic": self._topics.of(stream, "state"),
            "value_template": "{{ value_json.raw_score }}",
            "suggested_display_precision": 3,
        }

    def _picture(self, stream: str) -> dict[str, Any]:
        return {"image_topic": self._topics.of(stream, "picture"), "content_type": "image/jpeg"}


def stale(kept: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Topics that still hold an entity that nobody wants any more."""
    return sorted(set(kept) - set(wanted))


def _slug(stream: str) -> str:
    """As Home Assistant takes it in a topic; the digest keeps apart what reads alike."""
    words = _NO_WORD.sub("_", stream)[:32].strip("_")
    return f"{words}_{_digest(stream)}" if words else _digest(stream)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:10]


def _version() -> dict[str, str]:
    try:
        return {"sw_version": version("musc-online")}
    except PackageNotFoundError:  # it runs without having been installed
        return {}
