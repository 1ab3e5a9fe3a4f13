"""The whole path on real images, in this process and through a server: the published results come out."""

import csv
import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bench import demo_data
from bench.replay import command


@pytest.mark.slow
def test_cookie_ends_in_the_published_result(photographs, golden, tmp_path):
    (tmp_path / "published.yaml").write_text("rscin: {normalise: false}\n")
    status = command.main(
        [
            "mvtec",
            "--data",
            str(photographs),
            "--category",
            "cookie",
            "--overlays",
            "0",
            "--config",
            str(tmp_path / "published.yaml"),
            "--output",
            str(tmp_path),
        ]
    )
    assert status == 0
    recorded = golden("e2e_cookie")
    files, labels, raw, rescored = (recorded[name] for name in ("files", "labels", "scores", "rscin"))
    with (tmp_path / "cookie" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["frame_id"] for row in rows] == list(files)
    assert [int(row["label"]) for row in rows] == list(labels)
    for stage in ("batch", "final"):
        np.testing.assert_allclose([float(row[f"{stage}_raw"]) for row in rows], raw, atol=1e-4)
        np.testing.assert_allclose([float(row[f"{stage}_rescored"]) for row in rows], rescored, atol=1e-3)
    entry = json.loads((tmp_path / "report.json").read_text())["categories"][0]
    for stage in ("batch", "revised"):
        assert entry[stage]["image_raw"]["auroc"] == pytest.approx(roc_auc_score(labels, raw), abs=0.005)
        assert entry[stage]["image"]["auroc"] == pytest.approx(roc_auc_score(labels, rescored), abs=0.005)


@pytest.mark.slow
def test_through_a_server_process_the_numbers_are_the_same(tmp_path):
    line = demo_data.generate(tmp_path / "line", n_good=8, n_defective=4, size=96)
    config = tmp_path / "small.yaml"
    config.write_text(
        "backbone: {image_size: 112, stages: [5, 11]}\nrevise: {every: 4}\nwarmup: 3\ntransport: {batch: 1}\n"
    )

    def run(name, *options):
        path = tmp_path / f"{name}.json"
        arguments = ["mvtec", "--data", str(line), "--config", str(config), "--json", str(path), *options]
        # One frame a backbone call on both sides: which frames share one is a matter of luck in a server.
        arguments += ["--output", str(tmp_path / name), "--overlays", "0", "--batch-size", "1"]
        assert command.main(arguments) == 0
        with (tmp_path / name / "part" / "scores.csv").open() as file:
            rows = list(csv.DictReader(file))
        return json.loads(path.read_text())["categories"][0], rows

    for capacity in ("all", "6"):
        here, here_rows = run(f"here-{capacity}", "--capacity", capacity)
        there, there_rows = run(f"there-{capacity}", "--capacity", capacity, "--through", "zmq")
        assert there["parity"]["holds"] is here["parity"]["holds"] is (True if capacity == "all" else None)
        for mine, theirs in zip(here_rows, there_rows, strict=True):
            assert theirs == mine
        for stage in ("batch", "provisional", "revised"):
            assert there[stage] == here[stage]
        assert there["online"] == here["online"]
