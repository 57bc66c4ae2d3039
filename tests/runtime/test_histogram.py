"""Histograms of durations."""

from __future__ import annotations

from callcenter_ws.runtime.histogram import Histogram


def test_a_bound_is_part_of_its_range() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.0, 0.1, 0.5, 1.0, 1.1, 99.0):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 2]
    assert histogram.sum == 0.0 + 0.1 + 0.5 + 1.0 + 1.1 + 99.0
