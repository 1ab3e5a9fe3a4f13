"""The model libraries' own caches, and their downloads, which must not hang where there is no network."""

import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants
import torch

from musc_online.backbones.registry import BackboneSpec
from musc_online.errors import WeightsError

_PROBE_SECONDS = 5.0
_OPEN_CLIP_FILE = "open_clip_model.safetensors"


@dataclass(frozen=True)
class Published:
    """Where a tag is published: a hub repository with file names to try, an address; either may be empty."""

    repository: str
    files: tuple[str, ...]
    url: str

    def describe(self) -> str:
        """The places a person should know of, and where the libraries would keep them."""
        places = []
        if self.repository:
            cache = huggingface_hub.constants.HF_HUB_CACHE
            places.append(f"{' or '.join(self.files)} of {self.repository} in {cache}")
        if self.url:
            folders = " or ".join(str(path.parent) for path in _url_targets(self))
            places.append(f"{_basename(self.url)} in {folders}")
        return ", ".join(places)


def published(spec: BackboneSpec, tag: str) -> Published:
    """What open_clip's or timm's registry says of a tag."""
    if spec.family == "clip":
        import open_clip  # noqa: PLC0415  (seconds to import)

        config = open_clip.get_pretrained_cfg(spec.architecture, tag)
        repository = config.get("hf_hub", "").rstrip("/")
        # The registry gives laion400m_e32 of ViT-B-16-plus-240 the repository of e31; its address is right.
        if not repository.endswith(tag):
            repository = ""
        files = (_OPEN_CLIP_FILE, "model.safetensors")
        return Published(repository, files, config.get("url", ""))
    import timm  # noqa: PLC0415  (seconds to import)

    found = timm.get_pretrained_cfg(f"{spec.architecture}.{tag}")
    if found is None:
        return Published("", (), "")
    return Published(found.hf_hub_id or "", ("model.safetensors",), found.url or "")


def tag_of(spec: BackboneSpec, path: Path) -> str | None:
    """The tag whose publisher gave a file its name, or its folder the name of a hub's repository.

    OpenAI's file names (`ViT-B-16.pt`) say nothing: only a name that holds the tag tells.
    """
    if "quickgelu" in path.name:
        return None  # LAION's for ViT-B-32: trained with one activation, run by the authors with the other
    for tag in spec.tags:
        source = published(spec, tag)
        if tag in path.name and path.name == _basename(source.url):
            return tag
        repository = source.repository
        if repository and not {repository.split("/")[-1], _cache_folder(repository)}.isdisjoint(path.parts):
            return tag
    return None


def cached(source: Published) -> Path | None:
    """The file, if a library has downloaded it before."""
    for name in source.files if source.repository else ():
        cache = huggingface_hub.constants.HF_HUB_CACHE
        hit = huggingface_hub.try_to_load_from_cache(source.repository, name, cache_dir=cache)
        if isinstance(hit, str):
            return Path(hit)
    return next((path for path in _url_targets(source) if path.is_file()), None)


def download(source: Published) -> Path:
    """Fetch into the library's cache.

    Raises:
        WeightsError: offline mode, no route, or the server's refusal; one line, within seconds.
    """
    if huggingface_hub.constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "0") in (
        "1",
        "ON",
        "YES",
        "TRUE",
    ):
        raise WeightsError("HF_HUB_OFFLINE is set")
    reasons = []
    # The hub's client retries for half a minute where nothing answers; ask first.
    endpoint = huggingface_hub.constants.ENDPOINT
    for name in source.files if source.repository and _answers(endpoint) else ():
        try:
            return Path(huggingface_hub.hf_hub_download(source.repository, name))
        except (OSError, ValueError) as error:
            reasons.append(f"{name}: {type(error).__name__}")
    target = next(_url_targets(source), None)
    if target is not None and _answers(source.url):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(source.url, str(target), _hash_prefix(source.url))
        except (OSError, RuntimeError) as error:
            reasons.append(f"{target.name}: {' '.join(str(error).split())[:100]}")
        else:
            return target
    raise WeightsError("; ".join(reasons) or "no server answers")


def _url_targets(source: Published) -> Iterator[Path]:
    if source.url:
        name = _basename(source.url)
        yield Path(torch.hub.get_dir()) / "checkpoints" / name
        if _OPEN_CLIP_FILE in source.files:
            yield Path("~/.cache/clip").expanduser() / name


def _cache_folder(repository: str) -> str:
    """What the hub's client calls a repository's folder."""
    return "--".join(("models", *repository.split("/")))


def _basename(url: str) -> str:
    return url.rsplit("/", 1)[-1]


def _hash_prefix(url: str) -> str | None:
    """OpenAI puts the file's SHA-256 into the address, open_clip its beginning into the name."""
    whole = re.search(r"/([0-9a-f]{64})/", url)
    start = re.search(r"-([0-9a-f]{8})\.pt$", url)
    found = whole or start
    return found.group(1) if found else None


def _answers(url: str) -> bool:
    """Whether anything answers there within a few seconds, name look-up included."""
    answered = threading.Event()

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")  # noqa: S310  (https addresses of the registries)
        try:
            with urllib.request.urlopen(request, timeout=_PROBE_SECONDS):  # noqa: S310
                answered.set()
        except urllib.error.HTTPError:
            answered.set()
        except (OSError, ValueError):
            pass

    # A look-up that hangs cannot be given a time-out, but it can be left behind.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PROBE_SECONDS)
    return answered.is_set()
