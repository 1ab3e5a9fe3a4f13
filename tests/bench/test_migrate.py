"""The authors' `musc.yaml` (its keys restated here) under our names."""

from pathlib import Path

import pytest
import torch
import yaml

from bench.replay import migrate
from musc_online import config
from musc_online.errors import ConfigError

AUTHORS = """
datasets:
  dataset_name: 'mvtec_ad'
  data_path: ./data/mvtec_anomaly_detection/
  class_name: 'ALL'
  img_resize: 518
  divide_num: 1
models:
  backbone_name: 'ViT-L-14-336'
  pretrained: 'openai'
  batch_size: 4
  feature_layers: [5, 11, 17, 23]
  r_list: [1, 3, 5]
device: 0
testing:
  output_dir: 'output'
  vis: True
  vis_type: single_norm
  save_excel: True
"""


def authors(**changes):
    values = yaml.safe_load(AUTHORS)
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            values[section][name] = value
        else:
            values[section] = value
    return values


def test_the_published_file():
    got = migrate.migrate(authors())
    loaded = config.load(got.config)
    assert loaded.backbone.name == "ViT-L-14-336"
    assert loaded.backbone.image_size == 518
    assert loaded.backbone.stages == (5, 11, 17, 23)
    assert loaded.backbone.device == ("cuda:0" if torch.cuda.is_available() else "cpu")
    assert loaded.method.degrees == (1, 3, 5)
    assert loaded.method.interval == (0.0, 0.3)
    assert loaded.rscin.neighbour_counts == (1, 2, 3)
    assert got.run == migrate.RunOptions(
        dataset="mvtec",
        data=Path("data/mvtec_anomaly_detection"),
        category="all",
        divide_num=1,
        divide_seed=42,
        batch_size=4,
        output=Path("output"),
        heatmaps="image",
        excel=True,
    )


def test_it_says_what_each_key_was_read_as():
    notes = migrate.migrate(authors()).notes
    keys = [f"{section}.{key}" for section, part in authors().items() if section != "device" for key in part]
    assert len(keys) == 14
    for key in [*keys, "device"]:
        assert sum(note.startswith(f"{key}: ") for note in notes) == 1, key
    assert "datasets.img_resize: 518 -> backbone.image_size: 518" in notes
    assert "models.r_list: [1, 3, 5] -> method.degrees: [1, 3, 5]" in notes
    assert not any("default" in note for note in notes)


def test_what_their_code_does_by_itself_is_made_explicit():
    visa = migrate.migrate(authors(datasets__dataset_name="visa")).config
    assert visa["rscin"] == {"neighbour_counts": [1, 8, 9], "normalise": True}
    btad = migrate.migrate(authors(datasets__dataset_name="btad", models__backbone_name="dinov2_vitb14"))
    assert btad.run.dataset == "btad"
    assert btad.config["rscin"] == {"neighbour_counts": [1, 2, 3], "normalise": False}
    assert btad.config["backbone"]["weights"] == "auto"


@pytest.mark.parametrize(
    ("name", "tag", "size", "activation"),
    [
        ("ViT-B-16", "openai", 518, "gelu"),
        ("ViT-B-16", "openai", 224, "quick_gelu"),
        ("ViT-L-14-336", "openai", 336, "quick_gelu"),
        ("ViT-B-32", "laion400m_e31", 224, "gelu"),
        ("ViT-B-32", "laion400m_e31", 512, "gelu"),
        ("dinov2_vitb14", "openai", 224, "gelu"),
    ],
)
def test_pretrained_tags_and_the_activation_their_code_builds(name, tag, size, activation):
    changes = {"models__backbone_name": name, "models__pretrained": tag, "datasets__img_resize": size}
    got = migrate.migrate(authors(**changes))
    expected = tag if name.startswith("ViT") else "auto"
    assert config.load(got.config).backbone.weights == expected
    assert config.load(got.config).backbone.activation == activation
    assert f"chosen by their code for this size -> backbone.activation: {activation}" in got.notes


@pytest.mark.parametrize(
    ("vis", "kind", "heatmaps"),
    [(True, "single_norm", "image"), (True, "whole_norm", "set"), (False, "whole_norm", "none")],
)
def test_heatmaps(vis, kind, heatmaps):
    assert migrate.migrate(authors(testing__vis=vis, testing__vis_type=kind)).run.heatmaps == heatmaps


def test_single_numbers_lists_of_names_and_an_undivided_zero():
    changes = {
        "models__r_list": 3,
        "models__feature_layers": 11,
        "datasets__class_name": ["bottle", "cable"],
        "datasets__divide_num": 0,
        "device": "cpu",
        "testing__save_excel": False,
    }
    got = migrate.migrate(authors(**changes))
    assert (got.config["method"]["degrees"], got.config["backbone"]["stages"]) == ([3], [11])
    assert (got.run.category, got.run.divide_num, got.run.excel) == ("bottle,cable", 1, False)
    assert got.config["backbone"]["device"] == "cpu"


def test_the_first_release_has_fewer_keys():
    values = authors()
    del values["models"]["batch_size"], values["testing"]["vis_type"]
    got = migrate.migrate(values)
    assert (got.run.batch_size, got.run.heatmaps) == (1, "image")
    assert "models.batch_size: 1 -> batch size 1 (not in the file: their default)" in got.notes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datasets__img_size": 518}, r"unknown key 'datasets\.img_size'; did you mean 'img_resize'\?"),
        ({"thresholds": {}}, r"unknown key 'thresholds'; allowed here: datasets, models, device, testing"),
        (
            {"datasets__dataset_name": "mvtec"},
            r"datasets\.dataset_name: got 'mvtec', input should be 'mvtec_ad'",
        ),
        ({"testing__vis_type": "norm"}, r"testing\.vis_type: got 'norm', input should be 'single_norm'"),
        ({"models__backbone_name": "resnet50"}, r"backbone\.name: got 'resnet50', expected one of ViT-B-32"),
        (
            {"datasets__divide_num": -1},
            r"datasets\.divide_num: got -1, input should be greater than or equal",
        ),
        ({"models__r_list": []}, r"models\.r_list: got \[\]"),
        ({"models": 3}, r"models: got 3, "),
    ],
)
def test_wrong_keys_and_values_are_one_line(changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        migrate.migrate(authors(**changes))
    assert "\n" not in str(caught.value)


def test_files(tmp_path):
    theirs, ours, neither = tmp_path / "musc.yaml", tmp_path / "ours.yaml", tmp_path / "broken.yaml"
    theirs.write_text(AUTHORS)
    ours.write_text("backbone: {image_size: 224}\n")
    neither.write_text("a: [")
    assert migrate.load(theirs).run.dataset == "mvtec"
    assert migrate.load(ours) is None
    assert migrate.load(neither) is None
    assert migrate.load(tmp_path / "missing.yaml") is None
    theirs.write_text(AUTHORS.replace("divide_num", "divide"))
    with pytest.raises(
        ConfigError, match=r"musc\.yaml: unknown key 'datasets\.divide'; did you mean 'divide_num'"
    ):
        migrate.load(theirs)
