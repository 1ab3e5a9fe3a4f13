"""The configurations that come with the project, in a checkout and in a wheel."""

from pathlib import Path

from streamer.errors import StreamerError

_PACKAGE = Path(__file__).parent
_PLACES = (_PACKAGE / "configs", _PACKAGE.parent / "configs")
"""A wheel has `configs/` inside this package; in a checkout it lies beside it."""


def shipped() -> dict[str, Path]:
    """The files of `configs/` by name, sorted; those that a service is started with come first.

    A service's configuration has its name without `.yaml`: `line`, `bridge-mqtt`. All others, e.g. units,
    rules and dashboards, go by their path in the folder: `musc-online.service`, `prometheus/musc-rules.yml`.

    Raises:
        StreamerError: the installation has lost them.
    """
    folder = next((place for place in _PLACES if (place / "line.yaml").is_file()), None)
    if folder is None:
        raise StreamerError(
            f"configurations: {_PLACES[0]} is missing; pip install --force-reinstall --no-deps musc-online "
            "brings it back"
        )
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    services = {path.stem: path for path in files if path.parent == folder and path.suffix == ".yaml"}
    return services | {
        path.relative_to(folder).as_posix(): path for path in files if path not in services.values()
    }
