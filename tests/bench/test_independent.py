"""The second way gives the oracle's and the published scores, and tells where what is shared is wrong."""

import ast
from pathlib import Path

import naive
import numpy as np
import pytest

from bench.replay import independent, run
from bench.replay.features import Features
from bench.replay.order import arrivals
from bench.replay.parity import judged
from musc_online import config, msm, nearest, ring
from musc_online.frames import map_shape

SETTINGS = config.load({"backbone": {"image_size": 28}, "method": {"interval": [0.1, 0.5]}})


def features(n_images=9, n_patches=16, twins=True):
    """Tokens of one product; the second image is the first again."""
    rng = np.random.default_rng(3)
    tokens = rng.standard_normal((2, 1, n_patches, 24)) + rng.standard_normal((2, n_images, n_patches, 24))
    if twins:
        tokens[:, 1] = tokens[:, 0]
    class_tokens = rng.standard_normal((n_images, 8)).astype(np.float32)
    return Features(tokens.astype(np.float32), class_tokens, ((28, 28),) * n_images)


def distances(patch_scores, raw, tokens, chosen, settings=SETTINGS, **more):
    method = settings.method
    return independent.distances(
        patch_scores,
        raw,
        tokens,
        chosen,
        degrees=method.degrees,
        interval=method.interval,
        map_size=map_shape(settings),
        **more,
    )


@pytest.mark.parametrize("subsets", [None, [[0, 1, 2, 5], [3, 4, 6, 7, 8]]])
def test_it_gives_the_oracles_scores_twins_too(subsets):
    tokens = features().patch_tokens
    patches = np.empty((9, 16))
    for members in subsets or [list(range(9))]:
        patches[members] = naive.mutual_scores(tokens[:, members], (1, 3, 5), 0.1, 0.5)
    raw = np.array([naive.upsample(scores, 28).max() for scores in patches])
    found = distances(patches, raw, tokens, [0, 3, 8], subsets=subsets)
    assert found.n_images == 3
    assert found.max_abs_patch_score < 2e-6
    assert found.max_abs_image_score < 2e-6


@pytest.mark.parametrize("grid", [(4, 4), (2, 8), (16, 1)])
@pytest.mark.parametrize("position", [None, 0, 2])
@pytest.mark.parametrize("hides", [False, True])
def test_it_knows_grid_position_and_ignored_patches(grid, position, hides):
    tokens = features().patch_tokens
    ignored = np.random.default_rng(5).random((2, 16)) < 0.3 if hides else None
    patches = naive.mutual_scores(tokens, (1, 3, 5), 0.1, 0.5, grid=grid, position=position, ignored=ignored)
    more = {"grid": grid, "position": position, "ignored": ignored}
    found = distances(patches, np.zeros(9), tokens, [0, 3, 8], **more)
    assert found.max_abs_patch_score < 2e-6


def test_it_scores_against_the_references_it_is_given():
    tokens = features().patch_tokens
    table = naive.nearest_table(tokens.astype(np.float64), (1, 3, 5))
    references = [
        np.setdiff1d(np.random.default_rng(image).permutation(9)[:5], [image]) for image in range(9)
    ]
    patches = np.stack([naive.patch_scores(table, image, references[image], 0.1, 0.5) for image in range(9)])
    raw = np.array([naive.upsample(scores, 28).max() for scores in patches])
    found = distances(patches, raw, tokens, [0, 3, 8], references=references)
    assert found.max_abs_patch_score < 2e-6
    assert found.max_abs_image_score < 2e-6


def test_one_patch_or_image_that_is_off_is_found():
    tokens = features().patch_tokens
    patches = naive.mutual_scores(tokens, (1, 3, 5), 0.1, 0.5)
    raw = np.array([naive.upsample(scores, 28).max() for scores in patches])
    wrong, worse = patches.copy(), raw.copy()
    wrong[3, 7] += 1e-3
    worse[8] -= 2e-3
    found = distances(wrong, worse, tokens, [0, 3, 8])
    assert found.max_abs_patch_score == pytest.approx(1e-3, abs=1e-5)
    assert found.max_abs_image_score == pytest.approx(2e-3, abs=1e-5)
    worse[0] = np.nan
    assert np.isnan(distances(patches, worse, tokens, [0, 3]).max_abs_image_score)


@pytest.mark.parametrize("name", ["small", "visa_like"])
def test_it_gives_the_published_scores(golden, name):
    recorded = golden(name)
    tokens = np.asarray(recorded["tokens"][:, :, 1:], np.float32)
    settings = config.load(
        {
            "method": {"degrees": recorded["r_list"].tolist()},
            "output": {"map_size": recorded["pixel_maps"].shape[-1]},
        }
    )
    chosen = independent.sample(tokens.shape, len(recorded["r_list"]))
    found = distances(recorded["patch_maps"], recorded["image_scores"], tokens, chosen, settings)
    assert found.n_images == independent.N_IMAGES
    assert found.max_abs_patch_score < 1e-5
    assert found.max_abs_image_score < 1e-5


def off_in_the_matcher(monkeypatch):
    create = nearest.create

    def off(*given, **more):
        store = create(*given, **more)
        match = store.match

        def match_off(features, slots, forward, backward):
            match(features, slots, forward, backward)
            forward += np.float32(1e-3)
            backward += np.float32(1e-3)

        monkeypatch.setattr(store, "match", match_off)
        return store

    monkeypatch.setattr(nearest, "create", off)


def off_in_the_codes(monkeypatch):
    for module in (msm, ring):
        monkeypatch.setattr(module, "encode", lambda found, encode=module.encode: encode(found + 1e-3))


@pytest.mark.parametrize("break_it", [None, off_in_the_matcher, off_in_the_codes])
def test_what_batch_and_stream_share_is_held_to_it(monkeypatch, break_it):
    if break_it is not None:
        break_it(monkeypatch)
    given = features(twins=False)
    batch = run.batch(given, SETTINGS)
    online = run.ring_config(SETTINGS, len(given))
    recorder = run.stream(given, online, arrivals(len(given)))
    found = distances(batch.patch_scores, batch.raw, given.patch_tokens, [1, 4, 6])
    assert judged(batch, recorder.revised, None).holds, "batch and stream agree on what is wrong, too"
    assert judged(batch, recorder.revised, None, independent=found).holds is (break_it is None)
    if break_it is not None:
        assert found.max_abs_patch_score == pytest.approx(1e-3, abs=1e-4)


def test_the_sample_is_seeded_and_smaller_of_a_large_set():
    small = (4, 60, 256, 384)
    assert independent.sample(small, 3, seed=1) == independent.sample(small, 3, seed=1)
    assert independent.sample(small, 3, seed=1) != independent.sample(small, 3, seed=2)
    assert len(set(independent.sample(small, 3))) == independent.N_IMAGES
    assert independent.sample((4, 5, 256, 384), 3) == [0, 1, 2, 3, 4]
    assert len(independent.sample((4, 160, 1369, 1024), 3)) == 2


def test_it_shares_nothing_with_what_it_judges():
    tree = ast.parse(Path(independent.__file__).read_text())
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not [name for name in names if name.split(".")[0] in ("musc_online", "streamer", "bench")]
