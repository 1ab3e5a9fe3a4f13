"""Transport and service: frames in over ZeroMQ, score messages out."""
