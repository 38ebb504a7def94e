from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from edgeclf.monitoring.histogram import PlainHistogram

LIMITS = (0.1, 0.5, 1.0)


def lines(registry: CollectorRegistry) -> set[str]:
    text = generate_latest(registry).decode()
    return {line for line in text.splitlines() if "_created" not in line}


@pytest.mark.parametrize(
    "values", [(), (0.05,), (0.1, 0.5, 1.0), (0.09, 0.11, 0.5, 0.51, 3.0, 1e9)], ids=str
)
def test_it_is_exposed_as_the_client_librarys_own(values: tuple[float, ...]) -> None:
    plain, usual = CollectorRegistry(), CollectorRegistry()
    ours = PlainHistogram("took_seconds", "What it took", "stage", LIMITS, plain)
    theirs = Histogram("took_seconds", "What it took", ("stage",), buckets=LIMITS, registry=usual)
    for stage in ("decode", "inference"):
        a, b = ours.labels(stage), theirs.labels(stage)
        for value in values:
            a.observe(value)
            b.observe(value)
    assert lines(plain) == lines(usual)


def test_a_label_has_one_set_of_buckets() -> None:
    histogram = PlainHistogram("took_seconds", "", "stage", LIMITS, CollectorRegistry())
    assert histogram.labels("decode") is histogram.labels("decode")
    assert histogram.labels("decode") is not histogram.labels("queue")
