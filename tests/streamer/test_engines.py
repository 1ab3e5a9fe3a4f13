"""That tests marked `engines` run on the engine they say."""

import pytest
from streamer_support import backbone, server_process, watched

from streamer.ask import ask

__all__ = ["backbone"]

pytestmark = pytest.mark.engines("quick")


def test_a_service_of_a_test_runs_on_the_engine_of_the_test(backbone, engine):
    with watched(backbone) as (service, screen, camera):
        camera.picture(0)
        screen.until(1, "score")
        shown = service.status()["engine"]
    assert shown["name"] == engine
    assert ("line" in shown.get("lines", ())) == (engine == "ray")


@pytest.mark.slow
def test_so_does_a_process_of_a_test(tmp_path, engine):
    with server_process(tmp_path) as server:
        assert ask({"kind": "status"}, server.endpoints["control"])["engine"]["name"] == engine
