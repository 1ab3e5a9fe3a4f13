"""A set of frames scored against each other, as the paper does: no ring, nothing kept."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from musc_online import msm, rscin
from musc_online.arrays import FrameId
from musc_online.backbones import Backbone
from musc_online.config import Config
from musc_online.errors import FrameError
from musc_online.score import Score
from musc_online.verdict import Verdict


def score(
    config: Config,
    backbone: Backbone,
    model_id: str,
    frames: Sequence[npt.NDArray[np.uint8]],
    frame_ids: Sequence[FrameId],
    batch_size: int,
) -> list[Score]:
    """Final scores of `frames`, each `[H, W, 3]` uint8 BGR, in their order; see `Detector.score_batch`."""
    if len(frames) != len(frame_ids):
        raise FrameError(f"score_batch: got {len(frames)} frames, {len(frame_ids)} ids; expected as many ids")
    patch_tokens, class_tokens = _extract(backbone, frames, batch_size)
    method, wanted = config.method, config.rscin
    patches = msm.mutual_scores(patch_tokens, method.degrees, *method.interval)
    verdict = Verdict(config)
    maps = verdict.maps(patches)
    raw = maps.max(axis=(1, 2)).astype(np.float64)
    rescored = rscin.rescore(raw, class_tokens, wanted.neighbour_counts, wanted.normalise)
    verdict.learn(raw)
    scores = []
    for index, (frame, frame_id) in enumerate(zip(frames, frame_ids, strict=True)):
        shape = (frame.shape[0], frame.shape[1])
        said = verdict.score(frame_id, patches[index], maps[index], len(frames) - 1, shape)
        scores.append(
            replace(said, rscin_score=float(rescored[index]), revision=1, is_final=True, model_id=model_id)
        )
    return scores


def _extract(
    backbone: Backbone, frames: Sequence[npt.NDArray[np.uint8]], batch_size: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    patch_tokens, class_tokens = [], []
    for start in range(0, len(frames), batch_size):
        inputs = torch.stack([backbone.prepare(frame) for frame in frames[start : start + batch_size]])
        patches, tokens = backbone.extract(inputs)
        patch_tokens.append(patches.cpu().numpy())
        class_tokens.append(tokens.cpu().numpy())
    if not patch_tokens:
        raise FrameError("score_batch: got no frames, expected at least 2")
    return np.concatenate(patch_tokens, axis=1), np.concatenate(class_tokens)
