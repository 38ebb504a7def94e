"""Whether a new version earns its place, decided on paper and on traffic."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from edgeclf.errors import InferenceError, OptionError
from edgeclf.metrics.statistics import wilson_interval
from edgeclf.runtimes.fake import FakeRuntime, fake_artifact
from edgeclf.service.catalog import Version
from edgeclf.service.config import ServiceConfig
from edgeclf.service.rollout import Trial
from support.services import artifact, client, run_in, shade, write

FAKE = fake_artifact(["dark", "bright"])


def trial(**config: Any) -> Trial:
    new, old = (Version("shades", n, FAKE, state="ready") for n in "21")
    made = Trial.of(new, old, ServiceConfig(**config))
    assert made is not None
    return made


def test_without_a_share_there_is_no_trial() -> None:
    version = Version("shades", "1", FAKE)
    assert Trial.of(version, version, ServiceConfig()) is None


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.03])
def test_a_share_is_evenly_spread(share: float) -> None:
    made = trial(canary=share)
    taken = np.array([made.takes() for _ in range(1000)])
    assert abs(taken.sum() - 1000 * share) <= 1
    assert np.diff(np.flatnonzero(taken)).max() <= np.ceil(1 / share)


@pytest.mark.parametrize(("disagreed", "verdict"), [(0, "passed"), (3, "passed"), (4, "rejected")])
def test_the_shadow_is_judged_once_by_the_lower_end(disagreed: int, verdict: str) -> None:
    made = trial(shadow=1.0, shadow_pictures=200, agreement=0.95)
    found = [made.note(agreed=i >= disagreed) for i in range(200)]
    assert set(found[:-1]) == {"goes on"} and found[-1] == verdict
    low = wilson_interval(200 - disagreed, 200)[0]
    assert (low >= 0.95) == (verdict == "passed")
    assert f"{200 - disagreed} of 200 pictures" in made.text() and f"{low:.4f}" in made.text()


def test_a_canary_follows_the_shadow_and_goes_at_its_first_failure() -> None:
    made = trial(shadow=1.0, shadow_pictures=10, agreement=0.6, canary=0.5, canary_pictures=3)
    assert [made.note(agreed=True) for _ in range(10)] == ["goes on"] * 10
    assert (made.stage, made.share, made.seen) == ("canary", 0.5, 0)
    assert made.note(agreed=False) == "goes on"  # a canary is not compared
    assert made.note(agreed=False, failed=True) == "rejected"
    again = trial(canary=0.5, canary_pictures=3)
    assert [again.note(agreed=False) for _ in range(3)] == ["goes on", "goes on", "passed"]


def test_too_few_pictures_to_show_an_agreement_are_refused() -> None:
    with pytest.raises(OptionError, match="shadow_pictures"):
        ServiceConfig(shadow=0.1, shadow_pictures=50)
    with pytest.raises(OptionError, match="a share"):
        ServiceConfig(canary=1.5)


def until(is_so: Callable[[], bool], http: httpx.Client) -> None:
    """Asks until something is so, as seen between two steps of the service."""
    end = time.monotonic() + 20

    async def seen() -> bool:
        return is_so()

    while not run_in(http, seen()):
        assert time.monotonic() < end
        for level in (20, 128, 240):
            assert http.post("/classify", content=shade(level)).status_code == 200


SHADOW = {"shadow": 1.0, "shadow_pictures": 20, "agreement": 0.8}


def test_one_that_agrees_on_real_traffic_takes_over(tmp_path: Path) -> None:
    first, second = (write(tmp_path, artifact(version=n)) for n in "12")
    with client(first, **SHADOW) as http:
        model = http.service.catalog.model(None)
        run_in(http, http.service.load(second))
        tried = model.trial
        assert tried is not None and model.current.number == "1"
        answer = http.post("/v1/models/shades/versions/2/classify", content=shade(20)).json()
        assert answer["version"] == "2"  # by its number it can be asked already
        until(lambda: model.current.number == "2", http)
        assert (tried.seen, tried.agreed, tried.failed) == (20, 20, 0)
        assert model.trial is None and model.previous.number == "1"
        assert not model.versions["1"].engines
        text = http.get("/metrics").text
        assert 'edgeclf_swaps_total{outcome="switched"} 1.0' in text
        assert 'edgeclf_shadow_agreement{model="shades",version="2"} 1.0' in text
        answered = sum(float(line.split()[1]) for line in text.splitlines()
                       if line.startswith("edgeclf_pictures_total"))  # fmt: skip
        assert answered == http.service.metrics.registry.get_sample_value(
            "edgeclf_stage_seconds_count", {"stage": "decode"})  # fmt: skip


def test_one_that_names_other_classes_is_rejected_with_the_figures(tmp_path: Path) -> None:
    first = write(tmp_path, artifact())
    second = write(tmp_path, artifact(version="2", labels=("bright", "middle", "dark")))
    with client(first, **SHADOW) as http:
        model = http.service.catalog.model(None)
        new = run_in(http, http.service.load(second))
        until(lambda: model.trial is None, http)
        assert model.current.number == "1" and new.state == "failed" and not new.engines
        (refusal,) = http.service.catalog.refused.values()
        assert "of 20 pictures (95 % interval" in refusal.reason and refusal.number == "2"
        assert http.get("/healthz/ready").status_code == 200
        assert 'edgeclf_swaps_total{outcome="rejected"} 1.0' in http.get("/metrics").text


def test_a_load_test_of_the_service_itself_judges_nobody(tmp_path: Path) -> None:
    first, second = (write(tmp_path, artifact(version=n)) for n in "12")
    with client(first, **SHADOW) as http:
        model = http.service.catalog.model(None)
        run_in(http, http.service.load(second))
        with http.service.access.lent() as key:
            headers = {"Authorization": f"Bearer {key}"}
            for _ in range(30):
                answer = http.post("/classify", content=shade(20), headers=headers)
                assert answer.json()["version"] == "1"
        assert model.trial is not None and model.trial.seen == 0
        until(lambda: model.current.number == "2", http)


def test_the_shadow_waits_while_workers_are_busy(tmp_path: Path) -> None:
    first, second = (write(tmp_path, artifact(version=n)) for n in "12")
    with client(first, **SHADOW) as http:
        service = http.service
        run_in(http, service.load(second))
        service.pool.pending += service.pool.workers  # as if others were being answered
        http.post("/classify", content=shade(20))
        assert service.catalog.model(None).trial.seen == 0
        service.pool.pending -= service.pool.workers
        until(lambda: service.catalog.model(None).current.number == "2", http)


def test_a_canary_that_fails_is_answered_for_by_the_present_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (write(tmp_path, artifact(version=n)) for n in "12")
    with client(first, canary=0.5, canary_pictures=50) as http:
        model = http.service.catalog.model(None)
        new = run_in(http, http.service.load(second))
        by = [http.post("/classify", content=shade(20)).json()["version"] for _ in range(10)]
        assert by == ["1", "2"] * 5
        run = FakeRuntime.run

        def failing(self: FakeRuntime, images: Any) -> Any:
            if self._metadata.version == "2":
                raise InferenceError("it broke")
            return run(self, images)

        monkeypatch.setattr(FakeRuntime, "run", failing)
        answers = [http.post("/classify", content=shade(20)) for _ in range(4)]
        assert [a.status_code for a in answers] == [200] * 4
        assert {a.json()["version"] for a in answers} == {"1"}
        assert model.trial is None and new.state == "failed" and "it broke" in new.reason


def test_a_canary_that_holds_takes_over(tmp_path: Path) -> None:
    first, second = (write(tmp_path, artifact(version=n)) for n in "12")
    with client(first, canary=0.25, canary_pictures=5) as http:
        model = http.service.catalog.model(None)
        run_in(http, http.service.load(second))
        by = [http.post("/classify", content=shade(20)).json()["version"] for _ in range(21)]
        assert by[:20] == ["1", "1", "1", "2"] * 5 and by[20] == "2"
        assert model.current.number == "2" and model.trial is None
