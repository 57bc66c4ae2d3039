"""Families of metrics, as the collectors make them: each name has the prefix ``callcenter_ws_``.

No label contains a tenant, a user or an address, and no family has more than ``MAX_SERIES`` series.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from callcenter_ws.runtime.histogram import Histogram

Label = TypeVar("Label", str, tuple[str, ...])

MAX_SERIES = 32
"""The largest number of series in a family; all others are added up under the label ``other``."""

_PREFIX = "callcenter_ws_"


def gauge(name: str, text: str, value: float) -> Metric:
    """Return a gauge without labels."""
    return GaugeMetricFamily(_PREFIX + name, text, value=value)


def gauges(name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> Metric:
    """Return a gauge with labels; of too many series, the newest are added up."""
    family = GaugeMetricFamily(_PREFIX + name, text, labels=labels)
    for key, value in bounded(values, ("other",) * len(labels)).items():
        family.add_metric([str(part) for part in key], value)
    return family


def counter(name: str, text: str, value: float) -> Metric:
    """Return a counter without labels; its name gets the suffix ``_total``."""
    return CounterMetricFamily(_PREFIX + name, text, value=value)


def counters(name: str, text: str, label: str, counts: Mapping[str, int], known: Iterable[str] = ()) -> Metric:
    """Return a counter with one label.

    Args:
        known: values of the label that are in the exposition from the start, with 0: the increase of a series that
            begins with 1 is not seen.
    """
    family = CounterMetricFamily(_PREFIX + name, text, labels=[label])
    for value, count in bounded({**dict.fromkeys(map(str, known), 0), **counts}, "other").items():
        family.add_metric([str(value)], count)
    return family


def histogram(name: str, text: str, values: Histogram) -> Metric:
    """Return a histogram without labels."""
    bounds = [*(str(float(bound)) for bound in values.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(values.counts), strict=True))
    return HistogramMetricFamily(_PREFIX + name, text, buckets=buckets, sum_value=values.sum)


def bounded(counts: Mapping[Label, float], other: Label) -> dict[Label, float]:
    """Return at most ``MAX_SERIES`` values; all but the oldest are added up as ``other``.

    The oldest are kept, not the largest, so that no series disappears later.
    """
    if len(counts) <= MAX_SERIES:
        return dict(counts)
    kept = dict(list(counts.items())[: MAX_SERIES - 1])
    rest = sum(counts.values()) - sum(kept.values())
    return {**kept, other: kept.get(other, 0) + rest}
