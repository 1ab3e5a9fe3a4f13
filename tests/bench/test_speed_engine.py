"""bench.speed --engine ray: both engines on the same frames, and costs that bench.scale reads."""

import json

import pytest
from click.testing import CliRunner

from bench.scale.plant import Costs
from bench.speed import command, engine, fed, report
from bench.speed.fed import Fed
from bench.speed.runs import line
from bench.speed.service import parts_folder
from musc_online import config


def test_the_same_line_is_started_by_either_engine():
    settings = line().configuration(50)
    local, remote = config.load(settings), config.load(engine.ray(settings, 2, 3, ring=20))
    assert (local.engine.name, remote.engine.name) == ("local", "ray")
    assert (remote.engine.backbones, remote.engine.shards) == (2, 3)
    assert (local.ring.capacity, remote.ring.capacity, remote.revise.window) == (50, 20, 20)
    assert local.method == remote.method
    assert remote.ring == local.ring.model_copy(update={"capacity": 20})


@pytest.mark.parametrize("typed", ["", "0", "1,", "x", "1,65"])
def test_numbers_of_actors_that_are_none_are_one_line(typed):
    done = CliRunner().invoke(command.main, ["engine", "--actors", typed])
    assert done.exit_code == 2
    assert "expected numbers from 1 to 64" in done.stderr


@pytest.mark.slow
def test_a_service_is_fed_and_all_its_scores_are_heard(tmp_path, monkeypatch):
    monkeypatch.setattr(fed, "_UNDER_WAY", 8)
    paths = parts_folder(tmp_path / "data", 4, 224)
    files = [path.read_bytes() for path in paths]
    settings = line().configuration(4)
    with Fed(tmp_path / "served", settings, files, streams=2) as service:
        with service.fed():
            seconds, scores = service.scores(4)
            assert len(scores) == 4
            while len({message["stream"] for message in scores}) < 2:  # one may begin before the other
                scores += service.scores(1)[1]
        service.drain()
        assert seconds > 0
        waited, message = service.one()
        # Whatever was sent before is heard: this is the one that was sent now, and took no longer than that.
        assert message["stream"] == "speed-0"
        assert message["latency_ms"]["total"] <= 1e3 * waited
        assert service.engine().get("name", "local") == "local"
    assert engine._tokens_bytes(settings, paths[0]) == 4 * (2 * 256 * 384 + 384)


@pytest.mark.slow
def test_both_engines_are_measured_and_a_plant_can_be_planned_by_it(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setattr(fed, "_UNDER_WAY", 8)
    monkeypatch.setattr(engine, "_KILLS", 1)
    path = tmp_path / "engine.json"
    options = ["engine", "--ring", "8", "--frames", "10", "--actors", "1", "--json", str(path)]
    done = CliRunner().invoke(command.main, options)
    assert done.exit_code == 0, done.output
    document = json.loads(path.read_text())
    found = document["engine"]
    costs = Costs.read(path)
    assert costs.tokens_bytes == 4 * (2 * 256 * 384 + 384)
    assert costs.frame_bytes > 1000
    assert costs.score_bytes > 1000
    assert [(run["actors"], run["shards"]) for run in found["actors"]] == [(1, 0), (1, 2)]
    local, remote = found["overhead"]["local"], found["overhead"]["ray"]
    assert local["line_ms"] == local["backbone_ms"] == 0 < remote["backbone_ms"]
    assert remote["gate_ms"] < local["gate_ms"]  # which has the backbone and the line in it
    page = report.markdown(document)
    assert f"mean {found['overhead']['overhead_ms']['mean']:.1f} ms" in page
    assert "recovery_s" in page
