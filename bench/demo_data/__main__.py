"""Run as `python -m bench.demo_data`."""

from bench.demo_data import main

main()
