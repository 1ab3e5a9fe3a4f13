"""Hands on to an MQTT broker, and takes operators' words from it."""

from streamer.bridges.mqtt.config import Mqtt
from streamer.bridges.mqtt.sink import MqttSink
from streamer.bridges.registry import Bridge

BRIDGE = Bridge(section=Mqtt, make=MqttSink)
