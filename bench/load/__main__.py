"""Run as `python -m bench.load`."""

from streamer.commands import start

start("bench.load.command")
