"""The configurations that come with the project, in a checkout and in a wheel."""

from pathlib import Path

from streamer.errors import StreamerError

_PACKAGE = Path(__file__).parent
_PLACES = (_PACKAGE / "configs", _PACKAGE.parent / "configs")
"""A wheel has `configs/` inside this package; in a checkout it lies beside it."""

_OF_THE_SITE = "mkdocs*"
"""What the site of docs/ is built with, which nobody is to print."""


def shipped() -> dict[str, Path]:
    """The files of `configs/` by name, sorted; those that a service is started with come first.

    A service's configuration has its name without `.yaml`: `line`, `bridge-mqtt`. All others, e.g. units,
    rules and dashboards, go by their path in the folder: `musc-online.service`, `prometheus/musc-rules.yml`.

    Raises:
        StreamerError: the installation has lost them, or is no folder but an archive.
    """
    folder = next((place for place in _PLACES if (place / "line.yaml").is_file()), None)
    if folder is None:
        raise StreamerError(f"configurations: {_missing()}")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.match(_OF_THE_SITE))
    services = {path.stem: path for path in files if path.parent == folder and path.suffix == ".yaml"}
    return services | {
        path.relative_to(folder).as_posix(): path for path in files if path not in services.values()
    }


def _missing() -> str:
    """Why they are not there, and what to do."""
    archive = next((path for path in _PLACES[0].parents if path.is_file()), None)
    if archive is not None:
        return f"{archive} is an archive, in which they cannot be opened; install it: pip install {archive}"
    return (
        f"{_PLACES[0]} is missing; pip install --force-reinstall --no-deps /path/to/musc_online-*.whl brings "
        "it back"
    )
