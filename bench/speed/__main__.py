"""Run as `python -m bench.speed`."""

from bench.speed.command import main

main()
