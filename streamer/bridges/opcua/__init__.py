"""The OPC UA bridge: a server in the terms of OPC 40100-1 (Machine Vision), one vision system a stream."""

from streamer.bridges.opcua.config import OpcuaSection
from streamer.bridges.opcua.sink import OpcuaSink
from streamer.bridges.registry import Bridge

BRIDGE = Bridge(section=OpcuaSection, make=OpcuaSink)
