"""Run as `python -m bench.options`."""

from streamer.commands import start

start("bench.options.command")
