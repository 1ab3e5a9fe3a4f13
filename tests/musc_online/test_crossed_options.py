"""Options cross: whole configurations are drawn, and the stream is the oracle's at every step."""

import pytest
from crossed_support import CrossedOptions
from hypothesis import settings

TestCrossedOptions = CrossedOptions.TestCase
TestCrossedOptions.settings = settings(max_examples=100, stateful_step_count=24, deadline=None)


class TestManyCrossedOptions(CrossedOptions.TestCase):
    """The same, far longer."""

    settings = settings(max_examples=160, stateful_step_count=40, deadline=None)
    pytestmark = pytest.mark.slow
