"""Run as `python -m bench.scale`."""

from streamer.commands import start

start("bench.scale.command")
