"""`configs/line.yaml` says which options a line has; who starts a line of its own has the same."""

from pathlib import Path

import pytest
from rich.console import Console

from bench.page import line
from musc_online import config
from streamer import demo_page

LINE = config.load(Path(__file__).parents[2] / "configs" / "line.yaml")


class Started(Exception):  # noqa: N818 - no error
    """Instead of a server: what it would have been started with."""


def demo_s_settings(folder, monkeypatch):
    def start(_, settings):
        raise Started(settings)

    monkeypatch.setattr(demo_page, "ServerProcess", start)
    with pytest.raises(Started) as started, demo_page._line(folder, Console()):
        pass
    return started.value.args[0]


@pytest.mark.parametrize("of", ["page", "demo"])
def test_a_line_of_its_own_has_the_options_of_line_yaml(of, tmp_path, monkeypatch):
    settings = line._detector(tmp_path, {}) if of == "page" else demo_s_settings(tmp_path, monkeypatch)
    started = config.load(settings)
    precision = {"precision": started.backbone.precision}
    assert started.backbone == LINE.backbone.model_copy(update=precision)
    assert (started.method, started.rscin) == (LINE.method, LINE.rscin)
    assert (started.ring.nearest, started.ring.admit) == (LINE.ring.nearest, LINE.ring.admit)
    assert started.threshold == LINE.threshold
