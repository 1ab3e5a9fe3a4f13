"""Run as `python -m bench.verdict`."""

from streamer.commands import start

start("bench.verdict.command")
