"""One detector for all cameras of a session: each test has a stream of its own."""

import pytest
from streamer_support import server_process


@pytest.fixture(scope="session")
def detector(tmp_path_factory):
    """A real one, in a process of its own; what it thinks of the pictures is not the point."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        sections = {"backbone": {"image_size": 56}, "transport": {"when_full": "drop_oldest"}}
        with server_process(tmp_path_factory.mktemp("detector"), **sections) as server:
            yield server
