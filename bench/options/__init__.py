"""`python -m bench.options`: options of the method side by side: what they find and what they cost."""
