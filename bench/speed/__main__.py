"""Run as `python -m bench.speed`."""

from streamer.commands import start

start("bench.speed.command")
