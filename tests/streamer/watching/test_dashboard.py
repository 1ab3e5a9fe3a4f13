"""The dashboard: Grafana can import it, and Prometheus can read each of its expressions."""

import itertools

import yaml
from prometheus_support import BOARD, board_expressions, promtool

PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
VARIABLES = {one["name"]: one for one in BOARD["templating"]["list"]}


def test_prometheus_reads_every_expression(tmp_path):
    read = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(board_expressions())]
    (tmp_path / "board.yml").write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": read}]}))
    assert f"{len(read)} rules found" in promtool("check", "rules", "board.yml", folder=tmp_path)


def test_grafana_can_import_it():
    """What it would mend or refuse: ids, places, a data source by name."""
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert (BOARD["id"], BOARD["uid"], BOARD["title"]) == (None, "musc-online", "musc-online")
    assert {panel["type"] for panel in PANELS} == {"stat", "timeseries", "heatmap", "state-timeline"}
    assert [one["name"] for one in VARIABLES.values()] == ["datasource", "instance", "stream", "bridge"]
    source = {"type": "prometheus", "uid": "${datasource}"}
    for panel in PANELS:
        assert panel["title"]
        assert [one["datasource"] for one in (panel, *panel["targets"])] == [source] * (
            1 + len(panel["targets"])
        )
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references) > 0


def test_no_panel_lies_on_another():
    places = [(panel["title"], panel["gridPos"]) for panel in BOARD["panels"]]
    for (one, a), (other, b) in itertools.combinations(places, 2):
        apart = (
            a["x"] + a["w"] <= b["x"]
            or b["x"] + b["w"] <= a["x"]
            or a["y"] + a["h"] <= b["y"]
            or b["y"] + b["h"] <= a["y"]
        )
        assert apart, (one, other)
    assert all(place["x"] + place["w"] <= 24 for _, place in places)
