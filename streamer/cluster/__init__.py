"""The engine on Ray: a gate, a pool of backbones, a line a stream, shards of a ring (docs/scale.md).

Nothing outside this package imports ray, and nothing imports this package before `engine.name` is `ray`.
"""
