"""One category from images to verdict: tokens, batch, stream, metrics, parity, findings."""

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import numpy.typing as npt

from bench.datasets import Category
from bench.progress import Phases
from bench.replay import findings, independent, parity, run, scored
from bench.replay.features import Features, Floats, extracted
from bench.replay.order import arrivals
from bench.replay.outcome import STAGES, Outcome
from bench.replay.scored import Levels, Scored, Truth
from bench.replay.settings import Options
from musc_online.anomaly_map import FrameMaps
from musc_online.backbones import Backbone
from musc_online.config import Config
from musc_online.frames import map_shape, view_of
from musc_online.ignore import ignored_maps
from musc_online.msm import references_of
from musc_online.ring_setup import geometry_of, maps_of


def replay(
    category: Category, config: Config, options: Options, backbone: Backbone, phases: Phases
) -> Outcome:
    """Score one category as a batch and as a stream, and compare.

    Args:
        category: at least two images.
        config: as loaded; the ring's capacity is set from `options`.
        options: of the replay.
        backbone: loaded from `config`.
        phases: told how far each phase is.

    Raises:
        DataError: an image or mask that cannot be used.
        CapacityError: the ring does not fit in `ring.max_bytes`.
    """
    samples = category.samples
    n_images = len(samples)
    online = run.without_regions(run.ring_config(config, options.capacity(n_images)))
    subsets = options.subsets(samples)
    with phases.phase("masks"):  # first: a missing mask shows before the long work, not after it
        truth = scored.read_truth(samples, map_shape(config))
    order = arrivals(n_images, options.order, options.seeds[0])
    with ExitStack() as held:
        with phases.phase("backbone", n_images, "decode and backbone") as done:
            features = held.enter_context(
                extracted(samples, backbone, config.tiles, batch_size=options.batch_size, done=done)
            )
        for line in features.oddities:
            phases.warn(line)
        with phases.phase("batch", shown="batch, every image against all others"):
            batch = run.batch(features, config, subsets)
        second_way = _second_way(batch, features, config, options, subsets, phases)
        with phases.phase("online", n_images, "stream through the ring") as done:
            if options.through == "zmq":
                from bench.replay.through_zmq import stream_through_zmq  # noqa: PLC0415  (sockets, only when asked)

                recorder = stream_through_zmq(samples, online, order, done)
            else:
                recorder = run.stream(features, online, order, done)
        with phases.phase("metrics"):
            levels = _measure(truth, batch, recorder)
        measured = (levels["batch"], levels["revised"]) if levels else None
        not_asked = parity.not_asked(online, n_images, len(subsets))
        verdict = parity.judged(batch, recorder.revised, measured, not_asked, second_way)
        outcome = Outcome(
            category, truth, batch, recorder, online, verdict, levels, phases.seconds, features.shapes
        )
        outcome.findings = findings.gather(outcome, features, config, options, phases)
    phases.seconds["total"] = sum(phases.seconds.values())
    return outcome


def _second_way(
    batch: Scored,
    features: Features,
    config: Config,
    options: Options,
    subsets: list[list[int]],
    phases: Phases,
) -> independent.Distances:
    assert batch.patch_scores is not None  # noqa: S101  (only those of a stream have none)
    method, tiles, tokens = config.method, config.tiles, features.patch_tokens
    chosen = independent.sample(tokens.shape, len(method.degrees), options.seeds[0])
    geometry = geometry_of(config, len(tokens) // tiles.count, *tokens.shape[2:])
    seen, steps = FrameMaps(config), len(features) * geometry.n_stages
    shown = f"{len(chosen)} of the images once more, in plain float32"
    with phases.phase("independent", steps, shown) as done:
        return independent.distances(
            batch.patch_scores,
            batch.raw,
            maps_of(config, tokens),
            chosen,
            degrees=method.degrees,
            interval=method.interval,
            map_size=seen.shape,
            subsets=subsets,
            references=_nearest(features.class_tokens, config, subsets),
            position=method.position,
            grid=geometry.sides,
            ignored=ignored_maps(config, geometry),
            tiles=(1, 1, 0) if geometry.tiling is None else (tiles.rows, tiles.cols, tiles.overlap),
            views=None if tiles.fit == "stretch" else [view_of(config, shape) for shape in features.shapes],
            hidden=seen.hidden,
            worst=None if method.image_score == "max" else method.image_score.worst,
            scored=seen.scored(batch.patch_scores.shape, features.shapes),
            done=done,
        )


def _nearest(
    class_tokens: Floats, config: Config, subsets: Sequence[Sequence[int]]
) -> list[npt.NDArray[np.intp]] | None:
    """Of each image those that `ring.nearest` scores it against, in its own subset; None for all of them."""
    if config.ring.nearest is None:
        return None
    found: dict[int, npt.NDArray[np.intp]] = {}
    for members in map(np.asarray, subsets):
        references = references_of(len(members), config.ring.nearest, class_tokens[members])
        found |= {int(image): members[near] for image, near in zip(members, references, strict=True)}
    return [found[image] for image in range(len(class_tokens))]


def _measure(truth: Truth | None, batch: Scored, recorder: run.Recorder) -> dict[str, Levels]:
    if truth is None:
        return {}
    stages = (batch, recorder.provisional, recorder.revised)
    return {name: scored.levels(one, truth) for name, one in zip(STAGES, stages, strict=True)}
