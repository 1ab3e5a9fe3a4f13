"""`python -m bench.load`: several cameras against a real server, and the verdict on its ledger."""
