"""Run as `python -m bench.fuzz`."""

from streamer.commands import start

start("bench.fuzz.command")
