"""The authors' `musc.yaml`, read into our configuration and options, saying what each key was read as."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from bench.replay.order import PUBLISHED_SEED
from musc_online import backbones, config_file
from musc_online.errors import ConfigError

DATASETS = {"mvtec_ad": "mvtec", "visa": "visa", "btad": "btad"}


def _listed(value: Any) -> Any:
    """The authors accept a bare number where one stage or degree is meant."""
    return [value] if isinstance(value, int) else value


Numbers = Annotated[tuple[int, ...], Field(min_length=1), BeforeValidator(_listed)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Datasets(_Part):
    dataset_name: Literal["mvtec_ad", "visa", "btad"] = "mvtec_ad"
    data_path: Path | None = None
    class_name: str | tuple[str, ...] = "ALL"
    img_resize: Annotated[int, Field(ge=1)] = 518
    divide_num: Annotated[int, Field(ge=0)] = 1


class _Models(_Part):
    backbone_name: str = "ViT-L-14-336"
    pretrained: str = "openai"
    batch_size: Annotated[int, Field(ge=1)] = 1
    feature_layers: Numbers = (5, 11, 17, 23)
    r_list: Numbers = (1, 3, 5)


class _Testing(_Part):
    output_dir: Path = Path("output")
    vis: bool = True
    vis_type: Literal["single_norm", "whole_norm"] = "single_norm"
    save_excel: bool = True


class _Authors(_Part):
    datasets: _Datasets = _Datasets()
    models: _Models = _Models()
    device: int | str = 0
    testing: _Testing = _Testing()


@dataclass(frozen=True)
class RunOptions:
    """What `bench.replay` is told beside the configuration.

    `category` is one name, names with commas between, or `all`; `heatmaps` says how maps are normalised when
    they are drawn: by `image`, over the whole `set`, or `none` are drawn.
    """

    dataset: str
    data: Path | None
    category: str
    divide_num: int
    divide_seed: int
    batch_size: int
    output: Path
    heatmaps: Literal["image", "set", "none"]
    excel: bool


@dataclass(frozen=True)
class Migrated:
    """The authors' options in our terms: `config` is for `musc_online.config.load`, `notes` for the user."""

    config: dict[str, Any]
    run: RunOptions
    notes: tuple[str, ...]


def is_authors(values: object) -> bool:
    """Whether a parsed YAML file is of the authors' form rather than ours."""
    return isinstance(values, Mapping) and bool({"datasets", "models", "testing"} & set(values))


def load(path: Path) -> Migrated | None:
    """Read a YAML file if it is of the authors' form; None if it is ours, or not readable at all.

    Raises:
        ConfigError: of their form, with a key or value that their code does not know.
    """
    try:
        values = config_file.read(path)
    except ConfigError:
        return None  # musc_online.config.load says what is wrong with it
    return migrate(values, str(path)) if is_authors(values) else None


def migrate(values: Mapping[str, Any], origin: str = "musc.yaml") -> Migrated:
    """The authors' options under our names.

    What they leave to the code is made explicit: the neighbour counts that hang on the dataset's name, DINO's
    class tokens left as they are, plain GELU under OpenAI's weights at another than the pretrained size, and
    the seed of the division. Nothing else of their behaviour is a setting.

    Raises:
        ConfigError: an unknown key or a value out of range, one line naming it.
    """
    try:
        theirs = _Authors.model_validate({key: value for key, value in values.items() if value is not None})
    except ValidationError as error:
        raise ConfigError(f"{origin}: {_one_line(error)}") from None
    spec = backbones.spec(theirs.models.backbone_name)
    config: dict[str, Any] = {
        "backbone": {
            "name": spec.name,
            "weights": theirs.models.pretrained if spec.family == "clip" else "auto",
            "image_size": theirs.datasets.img_resize,
            "stages": list(theirs.models.feature_layers),
            "device": _device(theirs.device),
            "activation": _activation(theirs, spec),
        },
        "method": {"degrees": list(theirs.models.r_list), "interval": [0.0, 0.3]},
        "rscin": {
            "neighbour_counts": [1, 8, 9] if theirs.datasets.dataset_name == "visa" else [1, 2, 3],
            "normalise": spec.family == "clip",
        },
    }
    run = _run_options(theirs)
    return Migrated(config, run, tuple(_notes(values, theirs, config, run)))


def _run_options(theirs: _Authors) -> RunOptions:
    names = theirs.datasets.class_name
    category = names if isinstance(names, str) else ",".join(names)
    drawn: Literal["image", "set"] = "image" if theirs.testing.vis_type == "single_norm" else "set"
    return RunOptions(
        dataset=DATASETS[theirs.datasets.dataset_name],
        data=theirs.datasets.data_path,
        category="all" if category.lower() == "all" else category,
        divide_num=max(theirs.datasets.divide_num, 1),
        divide_seed=PUBLISHED_SEED,
        batch_size=theirs.models.batch_size,
        output=theirs.testing.output_dir,
        heatmaps=drawn if theirs.testing.vis else "none",
        excel=theirs.testing.save_excel,
    )


def _activation(theirs: _Authors, spec: backbones.BackboneSpec) -> str:
    """CLIP is built with plain GELU but for OpenAI's weights at the size they were pretrained at."""
    pretrained = theirs.models.pretrained == "openai" and theirs.datasets.img_resize == spec.default_size
    return "quick_gelu" if spec.family == "clip" and pretrained else "gelu"


def _device(device: int | str) -> str:
    """Their device is a GPU's number, and the CPU where there is no GPU."""
    if not str(device).isdigit():
        return str(device)
    import torch  # noqa: PLC0415  (slow, and only asked here)

    return f"cuda:{device}" if torch.cuda.is_available() else "cpu"


def _notes(given: Mapping[str, Any], theirs: _Authors, config: dict[str, Any], run: RunOptions) -> list[str]:
    backbone, method, rscin = config["backbone"], config["method"], config["rscin"]
    datasets, models, testing = theirs.datasets, theirs.models, theirs.testing
    read_as: list[tuple[str, Any, str]] = [
        ("datasets.dataset_name", datasets.dataset_name, f"dataset {run.dataset}"),
        ("datasets.data_path", datasets.data_path, f"--data {run.data}"),
        ("datasets.class_name", datasets.class_name, f"--category {run.category}"),
        ("datasets.img_resize", datasets.img_resize, f"backbone.image_size: {backbone['image_size']}"),
        ("datasets.divide_num", datasets.divide_num, f"divide_num {run.divide_num}, seed {run.divide_seed}"),
        ("models.backbone_name", models.backbone_name, f"backbone.name: {backbone['name']}"),
        ("models.pretrained", models.pretrained, f"backbone.weights: {backbone['weights']}"),
        ("models.batch_size", models.batch_size, f"batch size {run.batch_size}"),
        ("models.feature_layers", list(models.feature_layers), f"backbone.stages: {backbone['stages']}"),
        ("models.r_list", list(models.r_list), f"method.degrees: {method['degrees']}"),
        ("device", theirs.device, f"backbone.device: {backbone['device']}"),
        ("testing.output_dir", testing.output_dir, f"--output {run.output}"),
        ("testing.vis", testing.vis, f"heatmaps: {run.heatmaps}"),
        ("testing.vis_type", testing.vis_type, f"heatmaps: {run.heatmaps}"),
        ("testing.save_excel", testing.save_excel, f"results.xlsx: {'yes' if run.excel else 'no'}"),
    ]
    notes = [
        f"{key}: {value} -> {meaning}"
        + ("" if _is_given(given, key) else " (not in the file: their default)")
        for key, value, meaning in read_as
    ]
    notes.append(f"fixed in their code -> method.interval: {method['interval']}")
    notes.append(f"chosen by their code for this size -> backbone.activation: {backbone['activation']}")
    notes.append(f"chosen by their code for {datasets.dataset_name} -> {_plain(rscin)}")
    return notes


def _plain(rscin: dict[str, Any]) -> str:
    return ", ".join(f"rscin.{key}: {value}" for key, value in rscin.items())


def _is_given(values: Mapping[str, Any], key: str) -> bool:
    part: Any = values
    for name in key.split("."):
        if not isinstance(part, Mapping) or name not in part:
            return False
        part = part[name]
    return True


def _one_line(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        section: Any = _Authors
        for part in path[:-1]:
            section = section.model_fields[part].annotation
        allowed = list(section.model_fields)
        close = difflib.get_close_matches(path[-1], allowed, n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        return f"unknown key '{'.'.join(path)}'; {hint}allowed here: {', '.join(allowed)}"
    message = first["msg"].removeprefix("Value error, ")
    key = ".".join(part for part in path if part.isidentifier() or part.isdigit())
    return f"{key}: got {first['input']!r}, {message[0].lower()}{message[1:]}"
