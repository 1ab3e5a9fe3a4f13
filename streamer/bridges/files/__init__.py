"""Items as files by day: a table, JSON lines, and pictures of what is anomalous."""

from streamer.bridges.files.config import Files
from streamer.bridges.files.sink import FilesSink

__all__ = ["Files", "FilesSink"]
