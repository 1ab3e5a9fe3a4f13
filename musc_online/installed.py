"""Whether `bench` and `streamer`, the packages beside this one, are ours: others use these names too.

pip installs two distributions with one package into one folder without a word, and Python takes the first
folder of a name on its path. What follows from either, a command that is not there or is another's, would
say nothing of the reason. Looking costs a millisecond: the records of all that is installed are read only
where something is not as it was installed.
"""

import csv
import os
import re
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

OURS = "musc-online"
BESIDE = ("bench", "streamer")
_ROOT = Path(__file__).resolve().parents[1]
_WHEEL = "/path/to/musc_online-*.whl"
# By its name an index would be asked, where there is none of ours and may be one of a stranger's.
_OWN = f"they cannot share an environment: python3 -m venv musc; musc/bin/pip install {_WHEEL}"


def clash() -> str | None:
    """What is wrong with `bench` or `streamer`, and what to do, in one line; None where all is well."""
    lines = (_clash(name) for name in BESIDE)
    return next((line for line in lines if line is not None), None)


def refuse_clash() -> None:
    """End the process with status 2 and the line of `clash`, where there is one.

    Raises:
        SystemExit: there is.
    """
    if (line := clash()) is not None:
        sys.stderr.write(f"error: {line}\n")
        raise SystemExit(2)


def _clash(name: str) -> str | None:
    folder = _ROOT / name
    initial = folder / "__init__.py"
    found = _found(name)
    if found is not None and found != initial:
        place = found.parents[found.name == "__init__.py"]
        return f"{name}: {found}{_of(_owner(place, name))} is found before that of {OURS}; {_remedy(place)}"
    if found is None:
        return (
            f"{name}: {initial} is missing, as where another distribution with a package of that name was "
            f"removed; pip install --force-reinstall --no-deps {_WHEEL} brings it back"
        )
    if _as_installed(folder) or (owner := _owner(_ROOT, name)) is None:
        return None
    return f"{name}: {folder} is shared with the distribution {owner}; {_OWN}"


def _found(name: str) -> Path | None:
    """The file that Python takes for a package, by its real path; None where there is none."""
    try:
        spec: ModuleSpec | None = find_spec(name)
    except ValueError:  # imported by a loader that says nothing
        return None
    return Path(spec.origin).resolve() if spec is not None and spec.origin else None


def _of(owner: str | None) -> str:
    return "" if owner is None else f", of the distribution {owner},"


def _remedy(folder: Path) -> str:
    """How to have another folder's package out of the way."""
    if folder in map(_real, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))):
        return f"take {folder} out of PYTHONPATH"
    if folder == Path.cwd().resolve():
        return "start from another folder"
    return _OWN


def _real(path: str) -> Path:
    return Path(path).resolve()


def _as_installed(folder: Path) -> bool:
    """Whether a package holds what came with it and nothing else, and its first module has its size.

    True where nothing is recorded: in a checkout.
    """
    record = next(_ROOT.glob("musc_online-*.dist-info/RECORD"), None)
    if record is None:
        return True
    sizes = _recorded(record, folder.name)
    initial = folder / "__init__.py"
    held = {path.name for path in folder.iterdir()}
    return held | {"__pycache__"} == sizes.keys() | {"__pycache__"} and (
        sizes[initial.name] == str(initial.stat().st_size)
    )


def _recorded(record: Path, package: str) -> dict[str, str]:
    """Names in a package's folder and their sizes in bytes, as pip wrote them down; of a folder, any."""
    with record.open(encoding="utf-8", newline="") as lines:
        rows = [(row[0].split("/"), row[2]) for row in csv.reader(lines) if len(row) == 3]
    return {path[1]: size for path, size in rows if path[0] == package}


def _owner(folder: Path, name: str) -> str | None:
    """Name and version of a distribution in a folder, not ours, with files of a package; None for none."""
    begins = re.compile(rf"^{name}(/|\.py,)".encode(), re.MULTILINE)
    return next((label for label, record in _records(folder) if begins.search(record)), None)


def _records(folder: Path) -> Iterator[tuple[str, bytes]]:
    """What the distributions in a folder say they are, and their files; ours is left out."""
    for path in sorted(folder.glob("*.dist-info/RECORD")):
        name, _, version = path.parent.name.removesuffix(".dist-info").partition("-")
        if re.sub(r"[-_.]+", "-", name).lower() != OURS:
            yield f"{name} {version}", path.read_bytes()
