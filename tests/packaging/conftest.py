"""The wheel of this checkout, built once for each file that installs it."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging_support import SITE_PACKAGES, build


@dataclass(frozen=True)
class Built:
    """What was built, and a folder where all that it needs is installed."""

    sdist: Path
    wheel: Path
    needs: Path = SITE_PACKAGES


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A source distribution and the wheel that is made from it."""
    return Built(*build(tmp_path_factory.mktemp("built")))
