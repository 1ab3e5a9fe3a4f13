"""Items as files by day: a table, JSON lines, and pictures of what is anomalous."""

from streamer.bridges.files.config import Files, needs
from streamer.bridges.files.sink import FilesSink
from streamer.bridges.registry import Bridge

__all__ = ["BRIDGE", "Files", "FilesSink"]

BRIDGE = Bridge(Files, lambda section, common: FilesSink(section, common.queue.path), needs)
