"""The measurements as Markdown, for people and the README."""

from collections.abc import Mapping, Sequence
from typing import Any


def markdown(document: Mapping[str, Any]) -> str:
    """One page: machine, batch, online, bytes, scaling, options, service; only what was measured."""
    parts = [_machine(document["machine"], document["shape"])]
    writers = {
        "batch": _batch,
        "online": _online,
        "scaling": _scaling,
        "nearest": _nearest,
        "tiles": _tiles,
        "service": _service,
        "engine": _engine,
    }
    for name, write in writers.items():
        if name in document:
            parts.append(write(document[name]))
    return "\n".join(parts)


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [header, ("---",) + ("---:",) * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _machine(machine: Mapping[str, Any], shape: Mapping[str, Any]) -> str:
    vectors = ", ".join(machine["vector_instructions"]) or "no AVX2"
    return (
        "# Speed\n\n"
        f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads, {vectors}; "
        f"measured float32 GEMM peak {machine['float32_gemm_gflops']:.0f} GFLOP/s; "
        f"load {machine['load_before']} when begun.\n"
        f"{shape['n_patches']} patches, {shape['n_channels']} channels, {shape['n_stages']} stages, "
        f"degrees {', '.join(map(str, shape['degrees']))}. GFLOP/s-equivalent counts the published recipe's "
        "products, whoever does the work in whatever way.\n"
    )


def _batch(batch: Mapping[str, Any]) -> str:
    rows = []
    for name in ("published", "faiss", "gemm"):
        if name in batch:
            entry = batch[name]
            difference = f"{entry['max_difference']:.1e}" if "max_difference" in entry else ""
            ratio = f"{entry['ratio']:.1f}x" if "ratio" in entry else "1x"
            rows.append((name, f"{entry['seconds']:.2f}", f"{entry['gflops']:.0f}", ratio, difference))
    header = ("matcher", "seconds", "GFLOP/s-equivalent", "ratio", "largest difference of a patch score")
    return (
        f"## Batch: mutual scores of {batch['images']} images\n\n{_table(header, rows)}\n"
        f"Best against best {batch['gemm']['ratio_of_best']:.1f}x; gemm multiplied "
        f"{batch['gemm']['multiplied_gops']:.0f} GOP/s; its first call took {batch['first_call_s']:.1f} s "
        "(compiling, or loading what was compiled before).\n"
    )


def _online(online: Mapping[str, Any]) -> str:
    rows = []
    for name, what in (
        ("published", "one direction"), ("faiss", "both, matching only"), ("gemm", "both, whole step"),
    ):  # fmt: skip
        if name in online:
            entry = online[name]
            ratio = f"{entry['ratio']:.1f}x" if "ratio" in entry else "1x"
            rows.append((name, what, f"{entry['ms']:.0f}", f"{entry['gflops']:.0f}", ratio))
    phases = [(name, f"{value:.2f}") for name, value in online["phases_ms"].items()]
    held = online["bytes"]
    return (
        f"## Online: one arrival into a full ring of {online['ring']}\n\n"
        f"{_table(('matcher', 'directions', 'ms', 'GFLOP/s-equivalent', 'ratio'), rows)}\n"
        f"Best against best {online['gemm']['ratio_of_best']:.1f}x. `auto` chose {online['matcher']}. "
        f"A revision of the window took {online['revise_ms']:.0f} ms.\n\n"
        f"{_table(('phase of a step', 'ms'), phases)}\n"
        f"Kept per image {held['kept_per_image'] / 1e3:.1f} kB against "
        f"{held['published_per_image'] / 1e3:.1f} kB "
        f"published ({held['published_over_kept']:.2f}x less); ring of {online['ring']}: store "
        f"{held['store'] / 2**20:.0f} MiB, mutual table {held['mutual_table'] / 2**20:.0f} MiB, all "
        f"{held['ring'] / 2**20:.0f} MiB.\n"
    )


def _scaling(scaling: Mapping[str, Any]) -> str:
    parts = ["## Scaling of one match\n"]
    for name, what in (("ring", "images in the ring"), ("patches", "patches")):
        rows = [(str(size), f"{ms:.2f}") for size, ms in scaling[f"{name}_ms"].items()]
        parts.append(_table((what, "ms"), rows))
        parts.append(f"Slope of log cost over log {what}: {scaling[f'{name}_slope']:.2f}.\n")
    return "\n".join(parts)


def _nearest(nearest: Mapping[str, Any]) -> str:
    rows = []
    for ring, entry in nearest["rings"].items():
        spent = (entry["step_ms"], entry["revisions_ms"], entry["both_ms"])
        mib = f"{entry['bytes'] / 2**20:.0f}"
        rows.append((f"{ring} frames", *(f"{ms:.1f}" for ms in spent), mib))
    header = ("full ring of", "step, ms", "revisions, ms a step", "both, ms", "MiB")
    return (
        f"## Nearest: a step with {nearest['nearest']} references by class token\n\n{_table(header, rows)}\n"
        f"The larger ring against the smaller: step {nearest['step_ratio']:.2f}x, with revisions "
        f"{nearest['both_ratio']:.2f}x.\n"
    )


def _tiles(tiles: Mapping[str, Any]) -> str:
    rows = [(name, f"{tiles[key]:.1f}") for name, key in (("one tile", "one_ms"), ("2 x 2 tiles", "four_ms"))]
    return (
        f"## Tiles: matching against {tiles['references']} references\n\n{_table(('frame', 'ms'), rows)}\n"
        f"Four tiles against one: {tiles['ratio']:.2f}x.\n"
    )


def _service(service: Mapping[str, Any]) -> str:
    rows = [
        (run["name"], str(run["references"]), f"{run['fps']:.1f}", f"{run['of_backbone']:.2f}x")
        for run in service["runs"]
    ]
    alone = ("backbone alone, float32", "", f"{service['backbone_fps']:.1f}", "1x")
    names = sorted({name for run in service["runs"] for name in run["phases_ms"]})
    phases = [
        (name, *(f"{run['phases_ms'].get(name, float('nan')):.1f}" for run in service["runs"]))
        for name in names
    ]
    header = ("phase, ms a frame", *(run["name"] for run in service["runs"]))
    return (
        f"## Service: frames a second end to end, {service['image_size']} px\n\n"
        f"{_table(('run', 'references a frame', 'frames/s', 'of the backbone'), [alone, *rows])}\n"
        f"{_table(header, phases)}"
    )


def _engine(engine: Mapping[str, Any]) -> str:
    overhead = engine["overhead"]
    more = overhead["overhead_ms"]
    both = [
        (
            name,
            *(f"{found['ms'][key]:.1f}" for key in ("p50", "p95")),
            f"{found['fps']:.2f}",
            *(f"{found[key]:.1f}" for key in ("gate_ms", "backbone_ms", "line_ms", "ray_ms")),
        )
        for name, found in ((name, overhead[name]) for name in ("local", "ray"))
    ]
    actors = [
        (
            f"{run['actors']}, {run['shards']} shards",
            f"{run['fps']:.2f}",
            *(f"{run[key]:.1f}" for key in ("gate_ms", "backbone_ms", "line_ms", "shard_ms", "ray_ms")),
        )
        for run in engine["actors"]
    ]
    costs = [(name, f"{value:,.3f}".rstrip("0").rstrip(".")) for name, value in engine["costs"].items()]
    header = ("engine", "one at a time: p50 ms", "p95 ms", "busy: frames/s",
              "ms of a processor: gate", "backbone", "line", "Ray")  # fmt: skip
    return (
        f"## Engine on Ray: configs/line.yaml, {engine['image_size']} px, ring of {engine['ring']}, "
        f"{engine['frames']} frames each\n\n{_table(header, both)}\n"
        f"Overhead a frame, one at a time, the same frame to both: mean {more['mean']:.1f} ms, median "
        f"{more['p50']:.1f}, 95th percentile {more['p95']:.1f}; under load "
        f"{overhead['overhead_busy_ms']:.1f} ms.\n\n"
        + _table(
            ("backbone actors", "frames/s", "ms of a processor: gate", "backbone", "line", "shards", "Ray"),
            actors,
        )
        + f"\n{_table(('cost of a frame', ''), costs)}"
    )
