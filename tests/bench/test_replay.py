"""`python -m bench.replay` from the command line to the files it leaves, on a drawn line."""

import csv
import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import cv2
import numpy as np
import openpyxl
import pytest
from page_check import Page
from replay_support import CONFIG, call, config, line

from bench.metrics.labels import RATES
from bench.replay import command, parity
from bench.report.excel import spreadsheet

__all__ = ["config", "line"]


@pytest.fixture(scope="module")
def folder(line, config, tmp_path_factory):
    """A report with everything asked for."""
    folder = tmp_path_factory.mktemp("report")
    status = command.main(
        [
            "mvtec",
            "--data",
            str(line),
            "--config",
            str(config),
            "--output",
            str(folder),
            "--capacity",
            "6,all",
            "--seeds",
            "0,1",
            "--repeat-defect",
            "3",
            "--overlays",
            "2",
        ]
    )
    assert status == 0
    return folder


@pytest.fixture(scope="module")
def document(folder):
    return json.loads((folder / "report.json").read_text())


def test_json_has_the_agreed_shape(document):
    assert document["dataset"] == "mvtec"
    assert document["config"]["backbone"]["image_size"] == 56
    (entry,) = document["categories"]
    assert (entry["category"], entry["n_images"], entry["n_anomalous"]) == ("part", 12, 4)
    for stage in ("batch", "provisional", "revised"):
        assert set(entry[stage]["image"]) == set(entry[stage]["image_raw"]) == {"auroc", "f1_max", "ap"}
        assert {"auroc", "f1_max", "ap", "pro"} <= set(entry[stage]["pixel"])
        assert document["mean"][stage]["image"] == entry[stage]["image"]
    assert {"max_abs_image_score", "max_abs_map", "max_abs_metric", "holds"} <= set(entry["parity"])
    assert entry["parity"]["holds"] is True
    second = entry["parity"]["independent"]
    assert second["n_images"] == 8
    assert max(second["max_abs_patch_score"], second["max_abs_image_score"]) < 5e-5
    assert entry["online"]["n_provisional"] == 11
    assert entry["online"]["n_warmup"] == 3
    assert {"backbone", "batch", "online", "total"} <= set(entry["seconds"])


def test_verdicts_are_those_of_the_labels_in_scores_csv(folder, document):
    entry = document["categories"][0]
    said = entry["verdict"]
    with (folder / "part" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    for when in ("provisional", "final"):
        labelled = [(row["label"], row[f"{when}_label"]) for row in rows if row[f"{when}_label"]]
        caught, called = labelled.count(("1", "1")), sum(label == "1" for _, label in labelled)
        n_anomalous = sum(label == "1" for label, _ in labelled)
        assert (said[when]["n_labelled"], said[when]["n_withheld"]) == (len(labelled), 12 - len(labelled))
        assert said[when]["recall"] == pytest.approx(caught / n_anomalous)
        assert said[when]["false_alarms"] == pytest.approx((called - caught) / (len(labelled) - n_anomalous))
        assert said[when]["f1"] == pytest.approx(2 * caught / (n_anomalous + called))
        assert {name: said[when][name] for name in RATES} == document["mean"]["verdict"][when]
    assert said["final"]["best_f1"] == entry["revised"]["image_raw"]["f1_max"]
    for name in ("labels_flipped", "labels_compared"):
        assert said[name] == entry["online"][name]
    # Revised, and so learnt anew, as warm-up ends and then ever less often (Detector.revise_due).
    assert [change["arrival"] for change in said["threshold"]] == [5, 6, 7, 8, 10, 12]
    assert said["stable_after"] is None or 4 <= said["stable_after"] <= 11


def test_findings_of_capacity_seeds_and_repeats(document):
    found = document["categories"][0]["findings"]
    assert [(row["capacity"], row["seed"]) for row in found["sweep"]] == [(6, 0), (6, 1), (12, 0), (12, 1)]
    whole = [row["revised"] for row in found["sweep"] if row["capacity"] == 12]
    assert whole[0] == pytest.approx(whole[1], abs=1e-4), "with room for all, the order must not matter"
    assert [row["copy"] for row in found["repeat"]["copies"]] == [1, 2, 3]
    assert found["seen"][-1]["n_seen"] == 12
    assert (
        found["seen"][-1]["revised"]["image_auroc"] == document["categories"][0]["revised"]["image"]["auroc"]
    )
    assert {row["defect"] for row in found["by_defect"]} == {"scratch", "stain", "dent", "missing_hole"}


def test_every_picture_and_file_of_the_report_is_there(folder):
    text = (folder / "report.md").read_text()
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) >= 10
    for link in links:
        path = folder / unquote(link)
        assert path.is_file(), link
        if path.suffix in (".png", ".jpg") and path.name != "legend.png":
            picture = cv2.imread(str(path))
            assert picture.std() > 5
    assert "The stream ended in the batch result" in text


def test_scores_csv_is_in_the_order_of_the_files_and_agrees_with_the_metrics(folder, document):
    with (folder / "part" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["frame_id"] for row in rows] == sorted(row["frame_id"] for row in rows)
    assert sorted(int(row["arrival"]) for row in rows) == list(range(1, 13))
    first = next(row for row in rows if row["arrival"] == "1")
    assert first["provisional_raw"] == first["provisional_rescored"] == ""
    labels = np.array([int(row["label"]) for row in rows])
    scores = np.array([float(row["final_raw"]) for row in rows])
    pairs = scores[labels == 1][:, None] - scores[labels == 0][None]
    auroc = (pairs > 0).mean() + 0.5 * (pairs == 0).mean()
    assert auroc == pytest.approx(document["categories"][0]["revised"]["image_raw"]["auroc"], abs=1e-9)


def test_workbook_holds_the_same_figures(folder, document):
    sheet = openpyxl.load_workbook(folder / "results.xlsx")["results"]
    header, *rows = ([cell.value for cell in row] for row in sheet.iter_rows())
    first = dict(zip(header, rows[0], strict=True))
    assert (first["category"], first["scores"], first["images"]) == ("part", "batch", 12)
    batch = document["categories"][0]["batch"]
    assert first["pixel pro"] == pytest.approx(100 * batch["pixel"]["pro"], abs=1e-3)
    assert first["image_raw ap"] == pytest.approx(100 * batch["image_raw"]["ap"], abs=1e-3)
    assert rows[-1][0] == "mean"


def test_a_small_ring_is_a_finding_not_a_failure(line, config, tmp_path, capsys):
    path = tmp_path / "out.json"
    status, said, warned = call(
        capsys,
        "mvtec",
        "--data",
        line,
        "--config",
        config,
        "--capacity",
        5,
        "--order",
        "sorted",
        "--json",
        path,
    )
    entry = json.loads(path.read_text())["categories"][0]
    assert status == 0
    assert entry["parity"]["holds"] is None
    assert entry["parity"]["max_abs_image_score"] > 1e-3
    assert "the ring holds 5 of 12 images" in said
    assert "warning: --order sorted" in warned


def test_a_ring_that_keeps_frames_out_is_a_finding_and_every_frame_is_in_the_report(line, tmp_path, capsys):
    path = tmp_path / "closed.yaml"
    closed = "ring: {admit: below_threshold}\nthreshold: {rule: fixed, value: 0.3}\n"
    path.write_text(CONFIG + closed)
    output = tmp_path / "out"
    status, said, warned = call(
        capsys, "mvtec", "--data", line, "--config", path, "--output", output, "--overlays", 0
    )
    assert status == 0, warned
    assert "parity not applicable (ring.admit: below_threshold" in said
    entry = json.loads((output / "report.json").read_text())["categories"][0]
    kept_out = entry["online"]["n_kept_out"]
    assert kept_out > 0
    assert f"{kept_out} kept out of the ring" in said
    assert "1 had nothing to be scored against" in said
    assert entry["parity"]["holds"] is None
    assert entry["findings"]["seen"][-1]["n_seen"] == 12
    with (output / "part" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(int(row["arrival"]) for row in rows) == list(range(1, 13))


def test_broken_parity_is_exit_status_1(line, config, capsys, monkeypatch):
    monkeypatch.setattr(parity, "TOLERANCE", -1.0)
    status, said, _ = call(capsys, "mvtec", "--data", line, "--config", config, "--limit", 3)
    assert status == 1
    assert "PARITY DOES NOT HOLD" in said


def test_a_folder_without_labels_gives_a_ranking_scores_and_the_files_asked_for(
    line, config, tmp_path, capsys
):
    pictures = tmp_path / "pictures"
    shutil.copytree(line / "part" / "test" / "good", pictures)
    (pictures / "._000.png").write_bytes(b"macOS")
    hostile = "x" * 60 + "\x1b[31m 000.png"
    shutil.copy(next((line / "part" / "test").glob("[!g]*/000.png")), pictures / hostile)
    (pictures / "deep").mkdir()
    shutil.move(pictures / "007.png", pictures / "deep" / "000.png")
    arguments = ("folder", "--data", pictures, "--config", config, "--output", tmp_path / "out")
    status, said, warned = call(capsys, *arguments, "--save", "maps,overlays", "--save", "masks")
    assert status == 0
    assert "warning: pictures: 1 left out: ._000.png (hidden)\n" in warned
    assert "per cent" not in said, "there is nothing to measure"
    entry = json.loads((tmp_path / "out" / "report.json").read_text())["categories"][0]
    assert entry["batch"] is None
    assert entry["parity"]["holds"] is True
    assert entry["n_anomalous"] is None
    assert (entry["verdict"]["provisional"], entry["verdict"]["final"]) == (None, None)
    assert entry["verdict"]["threshold"]
    assert entry["verdict"]["labels_compared"] == entry["online"]["labels_compared"]
    assert "labels as they were sent" not in said
    assert "threshold 0." in said
    assert entry["left_out"] == ["._000.png (hidden)"]
    shown = [one["file"] for group in entry["files"]["shown"] for one in group["pictures"]]
    assert shown
    assert all((tmp_path / "out" / "pictures" / file).is_file() for file in shown)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Nothing says which frames are defective" in page
    assert "where (x, y, width, height)" in page
    with (tmp_path / "out" / "pictures" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9
    assert all(row["label"] == "" and float(row["final_raw"]) > 0 for row in rows)
    ranking = entry["ranking"]
    assert [row["rank"] for row in ranking] == list(range(1, 10))
    assert [row["score"] for row in ranking] == sorted(
        (float(row["final_raw"]) for row in rows), reverse=True
    )
    assert "\\x1b[31m 000.png" in said
    assert "\x1b" not in said
    assert entry["saved"]["n_files"] == {"maps": 9, "overlays": 9, "masks": 9}
    assert "saved: 9 maps, 9 overlays, 9 masks" in said
    check_files(tmp_path / "out" / "pictures", {row["frame_id"]: row for row in rows}, ranking)


def check_files(folder, rows, ranking):
    """What `--save` left fits what `scores.csv` and the ranking say."""
    assert rows["deep/000.png"]["maps_file"] == "maps/deep/000.tiff"
    for one in ranking:
        row = rows[spreadsheet(one["frame_id"])]
        assert row["final_label"] == str(int(one["label"]))
        anomaly_map, mask, overlay = (
            cv2.imread(str(folder / row[f"{kind}_file"]), cv2.IMREAD_UNCHANGED)
            for kind in ("maps", "masks", "overlays")
        )
        assert anomaly_map.shape == mask.shape == (96, 96)
        assert anomaly_map.max() == pytest.approx(one["score"], abs=0.05)
        assert overlay.shape == (320, 968, 3)
        if one["box"] is None:
            assert not mask.any()
        elif one["score"] > 1.05 * one["threshold"]:  # else its peak may lie between two pixels
            x, y, width, height = one["box"]
            assert mask[y : y + height, x : x + width].any()


def test_labels_without_masks_are_measured_by_image_only(line, config, tmp_path, capsys):
    shutil.copytree(line / "part" / "test", tmp_path / "part" / "test")
    path = tmp_path / "out.json"
    status, _, _ = call(capsys, "mvtec", "--data", tmp_path, "--config", config, "--json", path)
    entry = json.loads(path.read_text())["categories"][0]
    assert status == 0
    assert entry["batch"]["image"]["auroc"] is not None
    assert entry["batch"]["pixel"]["pro"] is None
    assert entry["batch"]["reasons"]["pixel.pro"] == "an anomalous image has no mask"


def test_only_normal_images_are_undefined_with_a_reason(line, config, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(line / "part" / "test" / "good", data / "part" / "test" / "good")
    path = tmp_path / "out.json"
    status, said, _ = call(capsys, "mvtec", "--data", data, "--config", config, "--json", path)
    entry = json.loads(path.read_text())["categories"][0]
    assert status == 0
    assert entry["batch"]["image"]["auroc"] is None
    assert entry["batch"]["reasons"]["image.auroc"] == "no anomalous image"
    assert "undefined, no anomalous image" in said
    assert entry["verdict"]["final"]["recall"] is None
    assert entry["verdict"]["final"]["false_alarms"] is not None
    assert "undefined, no anomalous frame with a label: provisional labels' recall" in said


def test_the_demo_draws_its_own_line(config, tmp_path, capsys):
    status, said, _ = call(capsys, "demo", "--data", tmp_path / "line", "--config", config, "--limit", 3)
    assert status == 0
    assert "part: parity holds: stream and batch: raw scores within" in said
    assert (tmp_path / "line" / "part" / "test" / "scratch").is_dir()


def test_the_authors_own_configuration_is_read_and_said(line, tmp_path, capsys):
    path = tmp_path / "musc.yaml"
    path.write_text(
        f"datasets: {{dataset_name: mvtec_ad, data_path: {line}, class_name: part, img_resize: 112}}\n"
        "models: {backbone_name: dinov2_vits14, feature_layers: [5, 11], r_list: [1, 3], batch_size: 4}\n"
        f"testing: {{output_dir: {tmp_path / 'theirs'}, vis: false, save_excel: false}}\ndevice: cpu\n"
    )
    status, _, said = call(capsys, "mvtec", "--config", path, "--limit", 4)
    assert status == 0
    assert "-> method.degrees: [1, 3]" in said
    document = json.loads((tmp_path / "theirs" / "report.json").read_text())
    assert document["config"]["rscin"]["normalise"] is False
    assert document["options"]["batch_size"] == 4
    assert not list((tmp_path / "theirs").rglob("*_01.jpg"))
    assert not (tmp_path / "theirs" / "results.xlsx").exists()


def test_no_absolute_path_of_the_tests_leaks_into_relative_links(folder):
    assert str(Path(folder)) not in (folder / "report.md").read_text()


def test_the_html_holds_the_findings_too_and_is_well_formed(folder, document):
    page = Page((folder / "report.html").read_text())
    assert page.wrong == []
    assert all(source.startswith("data:image/") for source in page.loaded)
    copies = document["categories"][0]["findings"]["repeat"]["copies"]
    for words in (
        "Parity holds. The stream ended in the batch result.",
        f"came {len(copies)} times in a row",
        "Metrics against ring capacity",
        "Mean over 2 orders of arrival",
        "dent 1",
        "missing_hole 1",
    ):
        assert words in page.words
