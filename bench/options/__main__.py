"""Run as `python -m bench.options`."""

from bench.options.command import main

main()
