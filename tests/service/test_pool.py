from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any

import numpy as np
import pytest

from edgeclf import Classifier
from edgeclf.errors import InferenceError, OptionError
from edgeclf.image import UInt8Array
from edgeclf.inference.prediction import Prediction
from edgeclf.runtimes.fake import FakeRuntime, fake_artifact
from edgeclf.service.catalog import Version
from edgeclf.service.pool import Answered, Pool
from edgeclf.service.problem import Problem
from support.services import shade

ARTIFACT = fake_artifact(["dark", "middle", "bright"])


class Engine:
    """A runtime that waits until it is let go, and notes how many pictures each call had."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.go = threading.Event()
        self.entered = threading.Event()
        self._bands = FakeRuntime(ARTIFACT)

    def answer(self, images: UInt8Array) -> Any:
        self.calls.append(len(images))
        self.entered.set()
        assert self.go.wait(30)
        return self._bands.run(images)


def version_of(engine: Engine, batch: int = 1) -> Version:
    runtime = FakeRuntime(ARTIFACT, answer=engine.answer)
    version = Version("shades", "1", ARTIFACT, state="ready", batch=batch)
    version.engines = [Classifier(ARTIFACT, runtime=runtime)]
    return version


def run(scenario: Callable[[Pool], Coroutine[Any, Any, None]], capacity: int = 16) -> None:
    async def main() -> None:
        pool = Pool(1, capacity, lambda version: None)
        pool.start()
        try:
            await scenario(pool)
        finally:
            await asyncio.to_thread(pool.stop)

    asyncio.run(main())


def labels(answers: list[Answered]) -> list[str]:
    return [a.result.label if isinstance(a.result, Prediction) else str(a.result) for a in answers]


def soon() -> float:
    return monotonic() + 30


async def entered(engine: Engine) -> None:
    assert await asyncio.to_thread(engine.entered.wait, 30)


@pytest.mark.parametrize(("batch", "calls"), [(1, [1] * 7), (4, [1, 4, 2])])
def test_what_waits_is_answered_together_and_in_order(batch: int, calls: list[int]) -> None:
    engine = Engine()
    version = version_of(engine, batch)

    async def scenario(pool: Pool) -> None:
        (first,) = pool.submit(version, [shade(20)], deadline=soon())
        await entered(engine)
        levels = [240, 20, 128, 240, 128, 20]
        rest = [pool.submit(version, [shade(each)], deadline=soon())[0] for each in levels]
        engine.go.set()
        assert labels([await first]) == ["dark"]
        wanted = [{20: "dark", 128: "middle", 240: "bright"}[each] for each in levels]
        assert labels([await each for each in rest]) == wanted

    run(scenario)
    assert engine.calls == calls
    assert version.in_flight == 0


def test_pictures_of_two_versions_do_not_share_a_call() -> None:
    one, two = Engine(), Engine()
    versions = [version_of(one, 4), version_of(two, 4)]
    two.go.set()

    async def scenario(pool: Pool) -> None:
        futures = pool.submit(versions[0], [shade(20)], deadline=soon())
        await entered(one)
        for version, level in zip(versions * 2, (20, 240, 128, 128), strict=True):
            futures += pool.submit(version, [shade(level)], deadline=soon())
        one.go.set()
        answers = [await each for each in futures]
        assert labels(answers) == ["dark", "dark", "bright", "middle", "middle"]

    run(scenario)
    assert (one.calls, two.calls) == ([1, 2], [2])


def test_a_bad_picture_in_a_call_harms_no_other() -> None:
    engine = Engine()
    version = version_of(engine, 4)

    async def scenario(pool: Pool) -> None:
        first = pool.submit(version, [shade(20)], deadline=soon())
        await entered(engine)
        rest = pool.submit(version, [shade(20), b"none", shade(240)], deadline=soon())
        engine.go.set()
        answers = [await each for each in first + rest]
        assert labels(answers)[:2] == ["dark", "dark"] and labels(answers)[3] == "bright"
        assert "Cannot read the 4 bytes" in str(answers[2].result)

    run(scenario)
    assert engine.calls == [1, 2]


def test_what_would_be_too_late_is_refused_at_once() -> None:
    engine = Engine()
    version = version_of(engine)

    async def scenario(pool: Pool) -> None:
        pool.mean_s = 0.1
        pool.check_time(0.01)  # nobody waits: whoever comes is tried, whatever the last ones took
        first = pool.submit(version, [shade(20)], deadline=soon())
        await entered(engine)
        rest = pool.submit(version, [shade(20)] * 2, deadline=soon())
        pool.check_time(1.0)
        with pytest.raises(Problem, match=r"about 400 ms, and its deadline is 450 ms") as caught:
            pool.check_time(0.45)
        assert (caught.value.status, caught.value.code) == (503, "busy")
        assert caught.value.retry_after_s == pytest.approx(0.04)
        engine.go.set()
        await asyncio.gather(*first, *rest)
        pool.mean_s = 0.1
        pool.check_time(0.01)

    run(scenario)


def test_what_nobody_waits_for_is_dropped_undecoded() -> None:
    engine = Engine()
    version = version_of(engine)

    async def scenario(pool: Pool) -> None:
        (first,) = pool.submit(version, [shade(20)], deadline=soon())
        await entered(engine)
        (late,) = pool.submit(version, [shade(20)], deadline=monotonic())
        (gone,) = pool.submit(version, [shade(20)], deadline=soon())
        gone.cancel()
        engine.go.set()
        await first
        problem = (await late).result
        assert isinstance(problem, Problem)
        assert (problem.status, problem.code) == (503, "deadline_exceeded")
        await asyncio.to_thread(pool.stop)
        await asyncio.sleep(0)
        assert pool.pending == 0

    run(scenario)
    assert engine.calls == [1] and version.in_flight == 0


def test_a_full_queue_takes_nothing_of_a_request() -> None:
    engine = Engine()
    version = version_of(engine)

    async def scenario(pool: Pool) -> None:
        futures = pool.submit(version, [shade(20)] * 3, deadline=soon())
        with pytest.raises(
            Problem, match="3 pictures are in the service and 4 fit; 2 more"
        ) as found:
            pool.submit(version, [shade(20)] * 2, deadline=soon())
        assert (found.value.status, found.value.code) == (503, "busy")
        assert found.value.retry_after_s is not None
        assert pool.pending == 3
        engine.go.set()
        for each in futures:
            await each

    run(scenario, capacity=4)
    assert engine.calls == [1, 1, 1]


def test_a_worker_outlives_whatever_an_engine_raises() -> None:
    engine = Engine()
    engine.go.set()
    version = version_of(engine)
    broken = Version("broken", "1", ARTIFACT, state="ready")

    def fail(images: UInt8Array) -> Any:
        raise MemoryError

    def nothing(images: UInt8Array) -> Any:
        return np.full((len(images), 3), np.nan)

    async def scenario(pool: Pool) -> None:
        for answer, words in ((fail, "MemoryError"), (nothing, "not finite")):
            runtime = FakeRuntime(ARTIFACT, answer=answer)
            broken.engines = [Classifier(ARTIFACT, runtime=runtime)]
            (future,) = pool.submit(broken, [shade(20)], deadline=soon())
            assert words in str((await future).result)
        (future,) = pool.submit(version, [shade(240)], deadline=soon())
        assert labels([await future]) == ["bright"]

    run(scenario)


def test_an_engine_is_lent_while_no_picture_waits() -> None:
    engine = Engine()
    version = version_of(engine, batch=4)

    def fails(engine: Classifier) -> None:
        raise ValueError("of a plugin")

    def refuses(engine: Classifier) -> None:
        raise OptionError("wrong")

    async def scenario(pool: Pool) -> None:
        (first,) = pool.submit(version, [shade(20)], deadline=soon())
        await entered(engine)
        lent = asyncio.create_task(pool.lend(version, lambda engine: engine.labels[0]))
        await asyncio.sleep(0.05)
        assert not lent.done() and pool.pending == 1  # it is not even in the queue
        engine.go.set()
        assert labels([await first]) == ["dark"] and await lent == "dark"
        with pytest.raises(OptionError, match="wrong"):
            await pool.lend(version, refuses)
        with pytest.raises(InferenceError, match="ValueError"):
            await pool.lend(version, fails)
        assert pool.pending == version.in_flight == 0

    run(scenario)
