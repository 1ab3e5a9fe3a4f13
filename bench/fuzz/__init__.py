"""`python -m bench.fuzz`: malformed messages at every port of a real server."""
