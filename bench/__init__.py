"""Replay, metrics and measurements: the proof that the stream ends in the batch result."""

from musc_online.installed import refuse_clash

# `python -m bench.replay` comes here first; another's `streamer` would end it in a traceback.
refuse_clash()
