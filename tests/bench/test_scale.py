"""The simulated plant: one camera takes the sum of its steps, a part is full where arithmetic says so."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from bench.scale import command, report
from bench.scale.plant import Costs, Plant
from musc_online.errors import DataError

pytest.importorskip("simpy")

from bench.scale.simulation import Simulation
from bench.scale.sweep import Asked, carries, simulate

COSTS = Costs(
    gate_ms=2.0,
    decode_ms=4.0,
    line_ms=20.0,
    frame_bytes=100_000,
    tokens_bytes=1_000_000,
    score_bytes=50_000,
    recovery_s=3.0,
)
ASKED = Asked(cameras=(2,), gpus=(1,), seconds=4.0)


def test_one_camera_takes_the_sum_of_its_steps():
    plant = Plant(cameras=1, gpus=1, gate_gbit=1.0, node_gbit=2.0, subscribers=3)
    outcome = Simulation(plant, COSTS, 4.0).run()
    in_ms, out_ms, to_node_ms = 0.8, 0.8, 0.4  # 100 kB by 1, 1 and 2 Gbit/s
    score_ms = 0.2 + 0.4 + 3 * 0.4  # 50 kB from the node, into the gate, and to three
    steps = in_ms + out_ms + to_node_ms + COSTS.gate_ms + COSTS.decode_ms
    steps += plant.gpu_ms + plant.gpu_batch_ms + COSTS.line_ms + score_ms
    assert 1e3 * outcome.latency_s == pytest.approx([steps] * 6)
    assert (outcome.captured, outcome.scored, outcome.dropped) == (6, 6, 0)
    assert outcome.busy["gate"] == pytest.approx(plant.fps * COSTS.gate_ms / 1e3, rel=0.2)


def test_tokens_cross_the_network_where_the_line_is_on_another_node():
    near = Plant(cameras=1, gpus=1, gpus_per_node=1)
    far = replace(near, gpus=2)
    name = "network out of node"
    assert far.limits(COSTS)[name] < near.limits(COSTS)[name]
    cameras = 8  # their lines are on both nodes, whichever GPU has a frame
    one, two = (Simulation(replace(plant, cameras=cameras), COSTS, 4.0).run() for plant in (near, far))
    assert two.busy[name] > 2 * one.busy[name]


@pytest.mark.parametrize(
    ("costs", "machines", "full"),
    [
        ({"gate_ms": 20.0}, {}, "gate"),
        ({"score_bytes": 5e6}, {}, "network out of gate"),
        ({"frame_bytes": 5e7, "tokens_bytes": 2e8}, {"gpus_per_node": 1}, "network into node"),
        ({"line_ms": 300.0}, {"cores": 3}, "cores"),
        ({}, {}, "GPUs"),
    ],
)
def test_the_part_that_is_full_first_is_the_one_of_arithmetic(costs, machines, full):
    costs = replace(COSTS, **costs)
    plant = Plant(cameras=1, gpus=2, fps=1.0, **machines)
    limits = {name: rate for name, rate in plant.limits(costs).items() if name != "lines"}
    assert min(limits, key=limits.get) == full
    cameras, outcome = carries(plant, costs, ASKED)
    assert 0.5 * min(limits.values()) <= cameras <= min(limits.values())
    assert outcome.bottleneck == full


def test_what_no_part_can_carry_is_dropped_and_late():
    plant = Plant(cameras=200, gpus=1, queue=2)
    outcome = Simulation(plant, COSTS, 4.0).run()
    assert outcome.dropped > 0
    assert outcome.bottleneck == "GPUs"
    assert outcome.busy["GPUs"] == pytest.approx(1.0, abs=0.02)
    assert outcome.in_time(1.0) < 0.6
    # Batches are full, and a frame of a full batch takes its share of it.
    full = plant.limits(COSTS)["GPUs"]
    assert outcome.scored / 3.0 <= 1.1 * full


def test_a_lost_node_makes_its_streams_wait_and_drops_nothing_that_fits():
    plant = Plant(cameras=40, gpus=4, gpus_per_node=1)
    outcome = Simulation(plant, COSTS, 12.0, lose_node_at=2.0).run()
    assert (outcome.scored, outcome.dropped) == (outcome.captured, 0)
    late = outcome.captured_s[outcome.latency_s > 1.0]
    assert len(late)
    assert 0.5 <= late.min() <= 2.1  # from those under way on
    assert late.max() < 2.0 + COSTS.recovery_s
    assert COSTS.recovery_s <= outcome.latency_s.max() < COSTS.recovery_s + 1.0
    quiet = Simulation(plant, COSTS, 12.0).run()
    assert quiet.latency_s.max() < 0.2


def test_the_same_plant_gives_the_same_figures():
    plant = Plant(cameras=30, gpus=4, gpus_per_node=2)
    runs = [Simulation(plant, COSTS, 3.0, lose_node_at=1.0, seed=seed).run() for seed in (1, 1, 2)]
    assert runs[0].latency_s.tolist() == runs[1].latency_s.tolist() != runs[2].latency_s.tolist()
    assert runs[0].busy == runs[1].busy


def test_more_gates_carry_what_one_cannot():
    document = simulate(
        Plant(cameras=1, gpus=1), replace(COSTS, gate_ms=10.0), replace(ASKED, gpus=(1, 8)), print
    )
    one, eight = document["carried"]
    assert eight["bottleneck_one_gate"] == "gate"
    assert eight["gates"] > 1
    assert eight["cameras"] > 5 * eight["cameras_one_gate"]
    assert eight["cameras_one_node_fewer"] < eight["cameras"]
    assert eight["loss"]["longest_s"] >= COSTS.recovery_s
    assert "loss" not in one
    page = report.markdown(document)
    for word in ("What GPUs carry", "What cameras need", "One node fewer", "gpu_ms 5", "10"):
        assert word in page


def test_the_command_reads_what_speed_writes(tmp_path):
    path = tmp_path / "engine.json"
    path.write_text(json.dumps({"engine": {"costs": COSTS.__dict__}}), encoding="utf-8")
    options = ["--costs", str(path), "--cameras", "2", "--gpus", "1", "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(command.main, options)
    assert done.exit_code == 0, done.output
    document = json.loads((tmp_path / "out" / "scale.json").read_text())
    assert document["needed"][0]["gpus"] == 1
    assert (tmp_path / "out" / "scale.md").read_text() == report.markdown(document)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("[", "expected the --json of"),
        ("{}", "with `engine.costs`"),
        ('{"engine": {"costs": {"gate_ms": 0}}}', "engine.costs.gate_ms is 0"),
        ('{"engine": {"costs": {"gate_ms": 1, "decode_ms": "x"}}}', "engine.costs.decode_ms is 'x'"),
        ('{"engine": {"costs": 5}}', "engine.costs.gate_ms is None"),
    ],
)
def test_costs_that_cannot_be_used_are_one_line(tmp_path, text, said):
    path = tmp_path / "engine.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"^[^\n]+$") as error:
        Costs.read(path)
    assert said in str(error.value)
    done = CliRunner().invoke(command.main, ["--costs", str(path)])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize("typed", ["", "0", "a", "1,,2", "1000000"])
def test_numbers_that_are_none_are_one_line(tmp_path, typed):
    done = CliRunner().invoke(command.main, ["--costs", str(tmp_path / "x"), "--gpus", typed])
    assert done.exit_code == 2
    assert "expected whole numbers" in done.stderr
