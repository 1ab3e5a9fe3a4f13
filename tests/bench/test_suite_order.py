"""How `make test` gives tests to workers: folders that share a detector stay whole, the longest first."""

from types import SimpleNamespace

import order_support
import pytest
from order_support import LONG, SHARING, TESTS, in_order, scheduler, unit_of


def test_every_folder_and_file_that_is_named_is_there_once():
    assert [folder for folder in SHARING if not (TESTS / folder).is_dir()] == []
    assert [file for file in LONG if not (TESTS / file).is_file()] == []
    assert len(set(LONG)) == len(LONG)
    assert [file for file in LONG if unit_of(file) != file] == []  # would be begun twice


def test_a_folder_that_shares_a_detector_is_one_unit_and_any_other_file_its_own():
    assert unit_of("streamer/page/test_api.py") == "streamer/page"
    assert unit_of("streamer/bridges/mqtt/test_kills.py") == "streamer/bridges"
    assert unit_of("streamer/test_wire.py") == "streamer/test_wire.py"
    assert unit_of("streamer/pages/test_api.py") == "streamer/pages/test_api.py"


def test_what_is_shared_comes_first_then_what_takes_long_and_the_order_in_a_file_stays(monkeypatch):
    monkeypatch.setattr(order_support, "LONG", ["bench/b.py", "bench/a.py"])
    names = [
        "bench/a.py",
        "bench/c.py",
        "bench/b.py",
        "bench/b.py",
        "streamer/sources/s.py",
        "streamer/page/p.py",
    ]
    items = [
        SimpleNamespace(path=TESTS / name, name="test", number=number) for number, name in enumerate(names)
    ]
    in_order(items)
    assert [item.number for item in items] == [5, 4, 2, 3, 0, 1]


def test_workers_get_units_in_the_order_of_the_tests():
    pytest.importorskip("xdist")
    option = SimpleNamespace(loadscopereorder=True)
    config = SimpleNamespace(
        option=option,
        getoption=lambda name: "loadfile",
        getvalue=lambda name: ["popen"],
        rootpath=TESTS.parent,
    )
    given = scheduler(config, None)
    assert given._split_scope("tests/streamer/page/test_api.py::test_a[x::y]") == "streamer/page"
    assert given._split_scope("tests/bench/test_order.py::test_a") == "bench/test_order.py"
    assert not option.loadscopereorder
    config.getoption = lambda name: "load"
    assert scheduler(config, None) is None
