"""Run as `python -m bench.replay`."""

from streamer.commands import start

start("bench.replay.command", "command")
