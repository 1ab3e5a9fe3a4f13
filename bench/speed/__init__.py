"""`python -m bench.speed`: speed as a ratio against the published recipe, in one run."""
