"""`python -m bench.verdict`: what labels are worth, whatever share of the frames is defective."""
