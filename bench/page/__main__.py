"""Run as `python -m bench.page`."""

from streamer.commands import start

start("bench.page.command")
