"""Bridges: what a detector says, handed on to a plant's own systems, each in a process of its own."""
