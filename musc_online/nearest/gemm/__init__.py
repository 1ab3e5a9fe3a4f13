"""The fast matcher: one exact product of 16-bit integers serves all degrees and both directions."""
