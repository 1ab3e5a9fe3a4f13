"""Following a detector as a client that may miss nothing: what comes, what is missing, and what is gone."""
