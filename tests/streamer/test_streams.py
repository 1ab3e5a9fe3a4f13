"""Many streams in one service: a ring and a configuration each, up to the limits on number and memory."""

import math

import pytest
from streamer_support import backbone, control, header, identity_holds, watched

from musc_online.config import load
from musc_online.errors import ConfigError
from streamer.server.streams import Streams

pytestmark = pytest.mark.engines

__all__ = ["backbone"]


def test_streams_have_their_own_ring_and_configuration_up_to_a_limit(backbone):
    tiny = {"match": "tiny-*", "ring": {"capacity": 3}}
    with watched(backbone, limits={"streams": 2}, streams=[tiny], warmup=1) as (service, screen, camera):
        for seed in range(5):
            camera.picture(seed, stream="tiny-1")
            camera.picture(seed, stream="line")
        scores = screen.until(10, "score")
        references = {
            name: [fields["n_references"] for fields in scores if fields["stream"] == name]
            for name in ("tiny-1", "line")
        }
        assert references == {"tiny-1": [0, 1, 2, 2, 2], "line": [0, 1, 2, 3, 4]}
        camera.picture(0, stream="third")
        (error,) = screen.until(1, "error")
        assert (error["code"], error["stream"]) == ("too_many_streams", "third")
        streams = control(service, "status")["streams"]
        assert {name: streams[name].get("capacity") for name in streams} == {
            "tiny-1": 3,
            "line": 12,
            "-": None,
        }


def test_streams_without_a_usable_frame_take_neither_a_place_nor_memory(backbone):
    with watched(backbone, limits={"streams": 2}) as (service, screen, camera):
        for index in range(20):
            camera.send(header("a", stream=f"junk{index}"), b"no image")
            assert screen.until(1, "error")[0]["code"] == "undecodable"
        camera.picture(0, stream="line")
        assert screen.until(1, "score")[0]["stream"] == "line"
        status = control(service, "status")
        assert len(status["streams"]) <= 3
        assert status["received"] == 21
        assert status["refused"] == {"undecodable": 20}
        assert identity_holds(status)


def test_a_second_ring_that_does_not_fit_is_refused_and_the_first_goes_on(backbone):
    with watched(backbone) as (service, screen, camera):
        camera.picture(0)
        screen.until(1, "score")
        ring = control(service, "status")["bytes"]["rings"]
    with watched(backbone, limits={"total_bytes": int(1.5 * ring)}) as (service, screen, camera):
        camera.picture(0)
        assert screen.until(1, "score")[0]["stream"] == "line"
        camera.picture(0, stream="second")
        (error,) = screen.until(1, "error")
        assert (error["code"], error["stream"]) == ("no_room", "second")
        camera.picture(1)
        assert screen.until(1, "score")[0]["n_references"] == 1
        status = control(service, "status")
        assert status["bytes"]["rings"] <= 1.5 * ring
        assert identity_holds(status)


def overridden(settings, **override):
    config = load({**settings, "streams": [{"match": "a", **override}]})
    return Streams(config, None, lambda _: None).config_of("a")


@pytest.mark.parametrize(
    ("section", "key", "general", "given"),
    [
        (None, "deadline_ms", 50.0, None),
        (None, "deadline_ms", None, 50.0),
        (None, "warmup", 3, 8),
        ("output", "map_size", 64, None),
        ("output", "regions", False, True),
        ("threshold", "value", 0.3, None),
        ("ring", "score_against", 1, "all"),
        ("ring", "admit", "pinned_only", "all"),
        ("revise", "every", 5, 20),
        ("rscin", "normalise", False, True),
        ("method", "degrees", (1,), (1, 3, 5)),
    ],
)
def test_what_a_stream_sets_is_set_null_and_defaults_included(section, key, general, given):
    """`deadline_ms: null` did nothing: what equals a default was taken for not given."""
    wrap = (lambda value: {key: value}) if section is None else (lambda value: {section: {key: value}})
    found = overridden(wrap(general), **wrap(given))
    assert getattr(found if section is None else getattr(found, section), key) == given
    again = load(load({**wrap(general), "streams": [{"match": "a", **wrap(given)}]}).model_dump(mode="json"))
    assert Streams(again, None, lambda _: None).config_of("a") == found


def test_a_stream_that_sets_nothing_is_as_all_the_others():
    general = {"deadline_ms": 50.0, "warmup": 3, "transport": {"queue": 5, "when_full": "block"}}
    assert overridden(general) == load(general)
    assert overridden(general, queue=64, when_full="drop_oldest").transport.queue == 64


@pytest.mark.parametrize("value", [math.nan, math.inf, 10**30, True])
@pytest.mark.parametrize(
    "key",
    ["method.position", "method.interval", "tiles.overlap", "ring.capacity", "ring.max_bytes", "revise.every",
     "rscin.neighbour_counts", "threshold.value", "threshold.k", "output.map_size", "warmup", "deadline_ms",
     "queue", "bit_depth", "method.image_score", "ignore"],
)  # fmt: skip
def test_no_number_of_a_stream_is_beyond_this_world(key, value):
    section, _, name = key.rpartition(".")
    with pytest.raises(ConfigError):
        overridden({}, **({section: {name: value}} if section else {name: value}))


def test_null_where_there_must_be_a_value_is_an_error_that_names_the_stream():
    with pytest.raises(ConfigError, match=r"streams.*warmup"):
        overridden({}, warmup=None)
