"""`python -m streamer.serve` from the first frame to SIGTERM, and what keeps it from starting."""

import gc

import pytest
import yaml
from click.testing import CliRunner
from streamer_support import (
    PATIENCE_S,
    Camera,
    Screen,
    backbone,
    one_thread,
    server_process,
    serving,
    settings,
    small_config,
)

from musc_online import config
from streamer.ask import ask
from streamer.errors import StreamerError
from streamer.serve import main as serve_main
from streamer.server import main
from streamer.server.service import Service

__all__ = ["backbone", "one_thread"]


def test_from_first_frame_to_sigterm(backbone, one_thread, tmp_path):
    with (
        server_process(tmp_path) as server,
        Screen(server) as screen,
        Camera(server.endpoints["frames"]) as camera,
    ):
        for seed in range(4):
            camera.picture(seed)
            camera.send({"v": 1}, b"")
        told = screen.until(8, "score", "error")
        assert [fields["frame_id"] for fields in told if fields["kind"] == "score"] == [
            f"line-{seed}" for seed in range(4)
        ]
        status = ask({"kind": "status"}, server.endpoints["control"], timeout_s=PATIENCE_S)
        assert (status["received"], status["scored"]) == (8, 4)
        camera.picture(9)
        while status["received"] < 9:
            status = ask({"kind": "status"}, server.endpoints["control"], timeout_s=PATIENCE_S)
        assert server.terminate() == 0
        assert screen.until(1, "score")[0]["frame_id"] == "line-9"


def test_a_port_in_use_is_one_line(backbone):
    with serving(small_config(), backbone) as service:
        taken = service.endpoints["scores"]
        second = Service(small_config(transport={"scores": taken}), backbone)
        with pytest.raises(StreamerError, match=f"transport.scores: cannot bind {taken}"):
            second.start()


@pytest.mark.parametrize("endpoint", ["tcp://*:0", "tcp://0.0.0.0:*"])
def test_a_bind_open_to_the_network_needs_keys(backbone, endpoint):
    service = Service(small_config(transport={"frames": endpoint}), backbone)
    with pytest.raises(StreamerError, match="open to the network in plaintext"):
        service.start()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"transprot": {}}, "did you mean 'transport'?"),
        ({"ring": {"capacity": 100_000}}, "ring.max_bytes"),
        ({"transport": {"frames": "nonsense"}}, "transport.frames: got nonsense"),
        ({"security": {"keys": "nowhere"}}, "musc-online keys"),
        ({"streams": [{"match": "a", "ring": {"capacty": 3}}]}, "did you mean 'capacity'?"),
    ],
)
def test_what_cannot_start_says_so_in_one_line(tmp_path, values, message):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings(**values)))
    done = CliRunner().invoke(serve_main, ["--config", str(config)])
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert gc.isenabled()


def test_once_loaded_garbage_is_looked_for_but_not_among_the_libraries():
    before = gc.get_freeze_count()
    gc.unfreeze()
    try:
        main._loaded(small_config())
        assert gc.isenabled()
        assert gc.get_freeze_count() > 50_000
    finally:
        if before:
            gc.freeze()


def test_a_service_rounds_where_nobody_said_how_precise():
    named, unnamed = ({"backbone": {"precision": "float32"}}, {"backbone": {"stages": [1]}})
    assert main._as_served(config.load(named)).backbone.precision == "float32"
    served = main._as_served(config.load(unnamed))
    assert (served.backbone.precision, served.backbone.stages) == ("auto", (1,))
    assert main._as_served(config.load()).backbone.precision == "auto"
    assert config.load().backbone.precision == "float32"
