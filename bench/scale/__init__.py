"""`python -m bench.scale`: cameras on a cluster, simulated event by event with costs that were measured."""
