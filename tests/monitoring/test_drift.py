from __future__ import annotations

import json
import math
from collections.abc import Mapping
from random import Random
from typing import Any

import numpy as np
import pytest

from edgeclf.monitoring.drift import Drift
from edgeclf.trust.reference import RANGES, histograms


def values(random: np.random.Generator, count: int, unknown: float = 0.1,
           brightness: float = 128) -> dict[str, Any]:  # fmt: skip
    """Of pictures whose signals are independent."""
    made = {name: random.normal((a + b) / 2, (b - a) / 8, count) for name, (a, b) in RANGES.items()}
    made["brightness"] += brightness - 128
    made["novelty"] = np.where(random.random(count) < unknown, 1.5, 0.5)
    return made


def reference(random: np.random.Generator, count: int) -> dict[str, Any]:
    return histograms(values(random, count), random.integers(0, 3, count), 3)


def rows(found: Mapping[str, Any]) -> list[dict[str, float]]:
    return [dict(zip(found, row, strict=True)) for row in np.array(list(found.values())).T.tolist()]


@pytest.mark.parametrize("count", [100, 2_000])
def test_a_small_reference_raises_no_alarm_on_pictures_like_it(count: int) -> None:
    # At most 1 % of streams do; of 20 with these seeds, none.
    for seed in range(20):
        random = np.random.default_rng(seed)
        drift = Drift(reference(random, count), random=Random(seed))
        for row in rows(values(random, 2_000)):
            drift.add(row)
        assert drift.report() and not drift.alarms


@pytest.mark.parametrize("change, signal", [
    ({"unknown": 0.3}, "unknown"), ({"brightness": 168}, "brightness"),
    ({"brightness": 88}, "brightness"),
])  # fmt: skip
def test_a_change_is_found_in_the_signal_that_changed(
    change: dict[str, float], signal: str
) -> None:
    random = np.random.default_rng(3)
    drift = Drift(reference(random, 2_000), random=Random(3))
    for row in rows(values(random, 1_000)):
        drift.add(row)
    assert not drift.alarms
    for row in rows(values(random, 400, **change)):
        drift.add(row, at=5.0)
    report = drift.report()
    assert drift.alarms[signal].at == 5.0 and 1_000 < drift.alarms[signal].picture <= 1_400
    assert report[signal]["log10_most"] >= report[signal]["log10_limit"]
    assert set(drift.alarms) <= {signal, "novelty"}


def test_what_is_unknown_of_a_picture_changes_nothing() -> None:
    random = np.random.default_rng(0)
    drift = Drift(reference(random, 500))
    for value in (None, math.nan, math.inf):
        drift.add({"confidence": value, "novelty": value})
    for entry in drift.report().values():
        assert entry["pictures"] == 0 and entry["log10_capital"] == pytest.approx(0)


def test_values_beyond_the_range_count_in_the_outermost_bins() -> None:
    drift = Drift(reference(np.random.default_rng(0), 500))
    for value in (-1e9, 1e9):
        drift.add({"brightness": value})
    before = drift.state()["signals"]["brightness"]
    grown = [c - r for c, r in zip(before["counts"], before["reference"], strict=True)]
    assert grown == [1, *[0] * 18, 1]


def test_it_goes_on_where_it_was() -> None:
    random = np.random.default_rng(1)
    made = reference(random, 500)
    one, other = Drift(made, random=Random(7)), Drift(made)
    pictures = rows(values(random, 700, unknown=0.4))
    for row in pictures[:400]:
        one.add(row, at=2.0)
    other.restore(json.loads(json.dumps(one.state())))
    other._random = one._random
    assert other.report() == one.report() and other.alarms == one.alarms and one.alarms
    for row in pictures[400:]:
        for each in (one, other):
            each._random = lambda: 0.5
            each.add(row)
    assert other.state() == one.state()


def damage(state: dict[str, Any], *path: Any, value: Any) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(state))
    place: Any = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return copy


@pytest.mark.parametrize("path, value", [
    (("signals", "margin", "weights"), [1.0]),
    (("signals", "margin", "weights", 0), -1.0),
    (("signals", "margin", "weights", 0), 1e9),
    (("signals", "margin", "log10_capital"), "much"),
    (("signals", "margin", "counts"), [0] * 20),
    (("signals", "margin", "counts"), [10**6]),
    (("signals", "margin", "reference"), [1] * 20),
    (("signals", "margin"), None),
    (("signals",), {}),
    (("pictures",), -1),
])  # fmt: skip
def test_a_damaged_state_is_refused_and_changes_nothing(path: tuple[Any, ...], value: Any) -> None:
    drift = Drift(reference(np.random.default_rng(0), 500))
    state = drift.state()
    with pytest.raises((KeyError, TypeError, ValueError)):
        drift.restore(damage(state, *path, value=value))
    assert drift.state() == state


@pytest.mark.parametrize("entry", [
    {"low": 0, "high": 1, "counts": [0, 0]}, {"low": 0, "high": 1, "counts": [-1, 3]},
    {"low": 0, "high": 1, "counts": []}, {"low": 0, "counts": [1]},
])  # fmt: skip
def test_a_damaged_reference_is_refused(entry: dict[str, Any]) -> None:
    with pytest.raises((KeyError, ValueError)):
        Drift({"confidence": entry})


def test_what_the_reference_lacks_is_not_watched() -> None:
    made = reference(np.random.default_rng(0), 100)
    del made["novelty"], made["sharpness"]
    assert Drift(made).names == ("confidence", "margin", "brightness", "contrast")
