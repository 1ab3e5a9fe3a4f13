"""What this bridge counts beside its deliveries, under the names that its status has."""

from collections.abc import Mapping

_COMMANDS = "commands_"
_NO_REFUSALS = frozenset(_COMMANDS + name for name in ("done", "again", "lost", "response_topic_refused"))


def in_status(now: Mapping[str, int]) -> Mapping[str, tuple[str, int]]:
    """By name what it is, for a person, and how often since the start.

    Args:
        now: as on the topic `bridge`; what is 0 may be left out.
    """
    refused = sum(
        count for name, count in now.items() if name.startswith(_COMMANDS) and name not in _NO_REFUSALS
    )
    return {
        "connections": ("Connections to the broker", now.get("connections", 0)),
        "connections_lost": ("Connections to the broker that broke", now.get("lost", 0)),
        "pictures_left_out": ("Pictures that were too large", now.get("pictures_left_out", 0)),
        "topics_left_out": ("Topics that the broker forbids", now.get("topics_left_out", 0)),
        "commands": ("Commands that were done", now.get("commands_done", 0)),
        "commands_refused": ("Commands that were not done", refused),
        "commands_lost": ("Commands that came faster than they are done", now.get("commands_lost", 0)),
    }
