"""Run as `python -m bench.verdict`."""

from bench.verdict.command import main

main(prog_name="bench.verdict")
