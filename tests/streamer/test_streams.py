"""Many streams in one service: a ring and a configuration each, up to the limits on number and memory."""

from streamer_support import backbone, control, header, identity_holds, watched

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
