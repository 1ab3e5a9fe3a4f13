"""What is read off an expression of rules and dashboard: `test_watched.py` asks a real Prometheus for it."""

from prometheus_support import labels_of, metrics_of, selectors_of


def test_what_is_a_metric_in_an_expression():
    asked = 'sum by (le) (rate(a_b{c="d e"}[5m])) / on (f) group_left () g:h > 2 * time() unless k offset 30m'
    assert metrics_of(asked) == {"a_b", "g:h", "k"}
    assert selectors_of(asked) == {'a_b{c="d e"}', "g:h", "k"}
    assert labels_of(asked) == {"le", "f"}
    assert metrics_of("x * 0 + scalar(y or vector(60))") == {"x", "y"}
    assert selectors_of('x{a="1"} / (x > 0)') == {'x{a="1"}', "x"}
