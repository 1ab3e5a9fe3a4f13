"""One detector for all tests of a session, started again by who kills it: each takes a stream of its own."""

from pathlib import Path

import pytest
from bridge_support import SMALL, detecting
from extras import bridge_of, missing_for

_HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def detector(tmp_path_factory):
    """A detector with a history, small enough to be quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # processes do not fight for the cores
        with detecting(tmp_path_factory.mktemp("detector"), **SMALL) as server:
            yield server


class _LeftOut(pytest.Module):
    """A file that cannot even be imported."""

    def collect(self):
        pytest.skip(missing_for(bridge_of(str(self.path.relative_to(_HERE)))), allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    """A file on a bridge whose extra is not installed is skipped whole."""
    if missing_for(bridge_of(str(module_path.relative_to(_HERE)))):
        return _LeftOut.from_parent(parent, path=module_path)
    return None
