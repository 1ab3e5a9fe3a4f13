"""GenICam cameras, by GigE Vision or USB3 Vision, through Aravis: `genicam:NAME?exposure_us=2000`."""

from streamer.sources.genicam.camera import GenicamCamera
from streamer.sources.genicam.settings import PREFIX

__all__ = ["PREFIX", "GenicamCamera"]
