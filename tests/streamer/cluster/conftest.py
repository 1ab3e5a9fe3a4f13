"""A process is connected to one cluster at a time: what tests share ends before a file begins its own."""

from collections.abc import Iterator

import cluster_support
import pytest


@pytest.fixture(scope="module", autouse=True)
def nothing_shared() -> Iterator[None]:
    cluster_support.end_shared()
    yield
    cluster_support.end_shared()
