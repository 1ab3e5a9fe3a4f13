"""Run as `python -m bench.fuzz`."""

from bench.fuzz.command import main

main()
