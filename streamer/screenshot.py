"""A picture of a page of ours, by whatever Chromium there is; for who has no browser open."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from streamer.errors import StreamerError

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_FLAGS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
)
_PATIENCE_S = 60.0


def browser() -> str | None:
    """The program that draws pages here, None where there is none."""
    return next(filter(None, map(shutil.which, _BROWSERS)), None)


def take(
    program: str, url: str, path: Path, *, size: tuple[int, int] = (1280, 900), settle_ms: int = 4000
) -> None:
    """Draw a page into a PNG file.

    Args:
        program: of `browser`.
        url: of the page; may log in by a token that it holds.
        path: of the file.
        size: of the window, pixels.
        settle_ms: how long the page may go on loading once its own files are there.

    Raises:
        StreamerError: the browser ended without a picture, or did not end.
    """
    with tempfile.TemporaryDirectory(prefix="musc-browser-", ignore_cleanup_errors=True) as profile:
        # As root, e.g. in a container, Chromium has no sandbox; it shows nothing but our own page.
        flags = (*_FLAGS, "--no-sandbox") if hasattr(os, "geteuid") and os.geteuid() == 0 else _FLAGS
        command = [program, *flags, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}",
                   f"--timeout={settle_ms}", f"--screenshot={path.resolve()}", url]  # fmt: skip
        path.unlink(missing_ok=True)
        try:
            done = subprocess.run(command, capture_output=True, timeout=_PATIENCE_S, check=False)
        except subprocess.TimeoutExpired:
            raise StreamerError(f"{program}: drew no page within {_PATIENCE_S:g} s") from None
    if not path.is_file():
        raise StreamerError(f"{program}: drew no page (exit status {done.returncode})")
