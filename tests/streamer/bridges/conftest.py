"""One detector for all tests of a session, started again by who kills it: each takes a stream of its own."""

import pytest
from bridge_support import SMALL, detecting


@pytest.fixture(scope="session")
def detector(tmp_path_factory):
    """A detector with a history, small enough to be quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # processes do not fight for the cores
        with detecting(tmp_path_factory.mktemp("detector"), **SMALL) as server:
            yield server
