"""Builders of containers: docker with a daemon, podman or buildah, each in its own words."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTAINERFILE = ROOT / "configs" / "Containerfile"
BASE = "docker.io/library/python:3.11-slim"
BUILD_S = 3600
_ASK_S, _PULL_S = 180, 300


def _run(*words: object, timeout_s: float = _ASK_S) -> subprocess.CompletedProcess[str]:
    command = [str(word) for word in words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)


def _succeeds(*words: object, timeout_s: float = _ASK_S) -> bool:
    try:
        return _run(*words, timeout_s=timeout_s).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


class Builder:
    """One that works here and has the base image, or can get it.

    Args:
        program: `docker`, `podman` or `buildah`.
        base: image that is built upon.
    """

    def __init__(self, program: str, base: str) -> None:
        self._program, self._base = program, base

    @contextmanager
    def built(self, name: str) -> Iterator[None]:
        """The image of this checkout, gone after `with`."""
        own = [] if self._program == "docker" else ["--format", "docker"]
        chroot = ["--isolation", "chroot"] if self._program == "buildah" else []
        done = _run(
            self._program, "build", *own, *chroot, "--build-arg", f"PYTHON={self._base}",
            "-f", CONTAINERFILE, "-t", name, ROOT, timeout_s=BUILD_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        try:
            yield
        finally:
            _run(self._program, "rmi", "--force", name)

    @contextmanager
    def running(self, image: str, volumes: dict[Path, str]) -> Iterator["Container"]:
        """A container of it on the host's network, not started; gone after `with`."""
        mounts = [word for here, there in volumes.items() for word in ("--volume", f"{here}:{there}:ro")]
        container = Container(self._program, image, mounts)
        try:
            yield container
        finally:
            container.remove()


class Container:
    """Commands in one file system, as the image's user; `main` is the one that goes on."""

    def __init__(self, program: str, image: str, mounts: list[str]) -> None:
        self._program = program
        self._main: subprocess.Popen[str] | None = None
        if program == "buildah":
            self._name = _run(program, "from", image).stdout.strip()
            self._command = [
                program,
                "run",
                "--isolation",
                "chroot",
                *mounts,
                self._name,
                "--",
                "musc-online",
            ]
            self._inside = self._command
        else:
            self._name = f"{image.rpartition('/')[2]}-main"
            self._command = [program, "run", "--name", self._name, "--network", "host", *mounts, image]
            self._inside = [program, "exec", self._name, "musc-online"]

    def start(self, log: Path, *words: str) -> None:
        """`musc-online WORDS`, by the image's entry point."""
        with log.open("w") as file:
            self._main = subprocess.Popen([*self._command, *words], stdout=file, stderr=file, text=True)

    def runs(self) -> bool:
        """Whether what was started goes on."""
        return self._main is not None and self._main.poll() is None

    def ask(self, *words: object) -> subprocess.CompletedProcess[str]:
        """`musc-online WORDS` beside it, to its end."""
        return _run(*self._inside, *words)

    def wait(self) -> int:
        """The exit status of what was started."""
        assert self._main is not None
        return self._main.wait(180)

    def remove(self) -> None:
        if self.runs() and self._main is not None:
            _run(self._program, "stop", self._name) if self._program != "buildah" else self._main.terminate()
            self._main.wait(180)
        _run(self._program, "rm", "--force" if self._program != "buildah" else self._name, self._name)


def builder() -> Builder:
    """The first that works and has what is built upon; else the test is skipped, with the reason."""
    why = []
    for program in ("docker", "podman", "buildah"):
        if shutil.which(program) is None:
            why.append(f"{program} is not installed")
        elif not _succeeds(program, "info"):
            why.append(f"{program} does not answer")
        elif _succeeds(program, "inspect", "--type", "image", BASE) or _succeeds(
            program, "pull", BASE, timeout_s=_PULL_S
        ):
            return Builder(program, BASE)
        else:
            why.append(f"{program} cannot get {BASE}")
    pytest.skip(f"no container can be built: {', '.join(why)}; Debian's package: podman")
