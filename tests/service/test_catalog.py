from __future__ import annotations

from itertools import pairwise

import pytest

from edgeclf.runtimes.fake import fake_artifact
from edgeclf.service.catalog import Catalog, Version, order
from edgeclf.service.problem import Problem

ARTIFACT = fake_artifact(["dark", "bright"])


def test_numbers_count_as_numbers_and_candidates_come_before_releases() -> None:
    right = ["0.9", "1", "1.0.0-rc1", "1.0.0-rc2", "1.0.0", "1.2", "1.10", "2", "10", "20261128"]
    assert all(order(lower) < order(higher) for lower, higher in pairwise(right))
    assert order("1.2") == order("1_2") != order("12")


def version(number: str, state: str = "ready", sha256: str = "") -> Version:
    return Version("shades", number, ARTIFACT, state=state, sha256=sha256 or number)  # type: ignore[arg-type]


def test_what_is_asked_and_not_loaded_is_loaded_once_and_asked_to_wait() -> None:
    asked: list[Version] = []

    def wake(found: Version) -> None:
        asked.append(found)
        found.state = "loading"

    catalog = Catalog(wake)
    idle = version("1", "unloaded")
    catalog.switch(idle)
    for _ in range(2):
        with pytest.raises(Problem) as raised:
            catalog.find()
        assert (raised.value.status, raised.value.code) == (503, "loading")
        assert raised.value.retry_after_s
    assert asked == [idle]
    idle.state, idle.on_demand = "unloaded", False  # by hand: it stays so
    with pytest.raises(Problem) as raised:
        catalog.find("shades", "1")
    assert raised.value.code == "not_ready" and asked == [idle]


def test_a_model_that_never_answered_is_no_reason_not_to_be_ready_beside_others() -> None:
    catalog = Catalog(lambda found: None)
    assert catalog.problems()[0]["reason"] == "no model is loaded"
    new = version("1", "loading")
    catalog.add(new)
    assert [p["state"] for p in catalog.problems()] == ["loading"]
    other = Version("mugs", "1", ARTIFACT, state="ready", sha256="m")
    catalog.switch(other)
    assert catalog.problems() == []
    catalog.starting = True  # but all that it is started with is waited for
    assert [p["model"] for p in catalog.problems()] == ["shades"]
    catalog.starting = False
    other.state = "failed"
    assert {p["model"] for p in catalog.problems()} == {"mugs", "shades"}
    new.state = "ready"
    catalog.switch(new)
    assert [p["model"] for p in catalog.problems()] == ["mugs"]


def test_what_a_rollback_goes_back_to_is_the_one_before() -> None:
    catalog = Catalog(lambda found: None)
    first, second, third = version("1"), version("2"), version("10")
    for each in (first, second, third):
        catalog.switch(each)
    model = catalog.model(None)
    assert (model.current, model.previous) == (third, second)
    assert model.below(third) is second and model.below(first) is None
    catalog.drop(second)
    assert model.previous is None and model.below(third) is first
