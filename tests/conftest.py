"""What every test may use: where the shared data lie, and how hypothesis runs."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

SHARED = Path(__file__).resolve().parents[2] / "shared"

# What the command lines print must not depend on the terminal the tests are run from.
for _name in ("COLUMNS", "LINES", "FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
    os.environ.pop(_name, None)

# Derandomised: a run finds what it found before, on every machine.
settings.register_profile(
    "default", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.load_profile("default")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden arrays and real images beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("../shared (golden arrays, real images) is not beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def golden(shared):
    """Golden arrays by name."""

    def read(name: str) -> dict[str, np.ndarray]:
        with np.load(shared / "golden" / f"{name}.npz", allow_pickle=False) as arrays:
            return dict(arrays)

    return read
