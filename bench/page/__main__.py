"""Run as `python -m bench.page`."""

from bench.page.command import main

main()
