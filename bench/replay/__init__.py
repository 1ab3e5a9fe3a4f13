"""`python -m bench.replay`: a data set as a stream, and the proof that it ends in the batch result."""
