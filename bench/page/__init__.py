"""`python -m bench.page`: the live page in a real browser under load, held to the bars it was built for."""
