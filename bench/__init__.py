"""Replay, metrics and measurements: the proof that the stream ends in the batch result."""
