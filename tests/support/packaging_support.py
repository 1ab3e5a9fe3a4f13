"""Wheels and environments for the tests of installation: real pip, in folders that they are given."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SITE_PACKAGES = Path(sysconfig.get_path("purelib"))
"""Where what the tests need is installed; the project itself is there as a checkout, if at all."""
_BUILT_FROM = ("musc_online", "streamer", "bench", "configs", "pyproject.toml", "README.md", "LICENSE")
_INSTALL_S = 600


def build(folder: Path) -> tuple[Path, Path]:
    """A source distribution of this checkout and the wheel that is made from it, without an index."""
    source, results = folder / "source", folder / "dist"
    for name in _BUILT_FROM:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(results), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=_INSTALL_S)
    return next(results.glob("*.tar.gz")), next(results.glob("*.whl"))


class Environment:
    """An empty environment of this Python, without pip: that of the tests installs into it."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        self.folder = folder
        self.python = folder / "bin" / "python"
        self.packages = next((folder / "lib").glob("python3.*")) / "site-packages"

    def pip(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """One call of pip on this environment."""
        command = [sys.executable, "-m", "pip", "--python", str(self.python), *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_INSTALL_S)
        assert not check or done.returncode == 0, done.stderr
        return done

    def install(self, *wheels: Path) -> None:
        """Wheels alone, without what they need."""
        self.pip("install", "--no-deps", "--no-index", "--force-reinstall", *map(str, wheels))

    def sees(self, folder: Path) -> None:
        """Let it import from a folder too, after its own; what is there as a checkout is not seen."""
        (self.packages / "tests.pth").write_text(f"{folder}\n", encoding="utf-8")

    def run(
        self, *command: str | Path, cwd: Path, variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """One of its programs, e.g. `musc-online`, from another folder and with nothing of this checkout."""
        program, *rest = command
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(
            [str(self.folder / "bin" / program), *map(str, rest)],
            check=False,
            capture_output=True,
            text=True,
            cwd=cwd,
            env={**inherited, **(variables or {})},
            timeout=_INSTALL_S,
        )

    def megabytes(self) -> int:
        """What its files hold, in 10^6 bytes."""
        return sum(path.lstat().st_size for path in self.folder.rglob("*")) // 10**6


def tiny_wheel(
    folder: Path, name: str, version: str, files: Mapping[str, str], needs: Sequence[str] = ()
) -> Path:
    """A wheel with a few text files, as a stranger might publish it."""
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    requires = "".join(f"Requires-Dist: {one}\n" for one in needs)
    held = {
        **files,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*held, f"{about}/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in [*held.items(), (f"{about}/RECORD", record)]:
            archive.writestr(path, text)
    return wheel


def index(folder: Path, *wheels: Path) -> str:
    """Address of a package index that holds wheels and nothing else, as PyTorch's is laid out."""
    for wheel in wheels:
        place = folder / wheel.name.partition("-")[0]
        place.mkdir(parents=True, exist_ok=True)
        with (place / "index.html").open("a", encoding="utf-8") as page:
            page.write(f'<a href="{wheel.as_uri()}">{wheel.name}</a>\n')
    return folder.as_uri()
