"""`--output DIR`: what a replay leaves for people to read."""
