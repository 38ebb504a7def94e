"""A fixed number of threads that answer pictures, and a bounded queue before them.

One thread takes a picture the whole way, from bytes to prediction, with an engine of its own: no
hand-over between decoding and inference, and never more threads at work than CPUs. All counting is
done on the event loop's thread, so nothing needs a lock.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias

from edgeclf.errors import EdgeclfError, InferenceError
from edgeclf.inference.confidence import Unknown
from edgeclf.inference.prediction import Prediction
from edgeclf.service.problem import Problem

if TYPE_CHECKING:
    from edgeclf.image import ImageSource, UInt8Array
    from edgeclf.inference.classifier import Classifier
    from edgeclf.service.catalog import Version

_LOG = logging.getLogger("edgeclf.service")
_LEISURE_S = 0.005  # until it is looked again whether a worker has nothing to do
_SMOOTHING = 0.1  # share of the newest picture in the mean time that one takes
_SURE = 0.8  # of a deadline: what is expected to take longer may well take more

Extra = Callable[["Classifier", "ImageSource", Prediction], Any]
Statistics: TypeAlias = "dict[str, float] | None"
Look = Callable[["UInt8Array"], Statistics]


@dataclass(frozen=True)
class Answered:
    """What came of one picture.

    Attributes:
        result: The prediction, or why there is none.
        queue_ms: How long it waited.
        extra: What the job's `extra` gave; None without one.
        statistics: What the pool's `look` found; None where it did not look.
        tensor_sha256: Of what the model was given; None where nobody asked.
    """

    result: Prediction | EdgeclfError
    queue_ms: float
    extra: Any = None
    statistics: dict[str, float] | None = None
    tensor_sha256: str | None = None


class Job:
    """One picture for one version, on its way to a worker and back."""

    __slots__ = (
        "deadline", "digest", "extra", "future", "image", "queued", "unknown", "version",
    )  # fmt: skip

    def __init__(
        self,
        version: Version,
        image: ImageSource,
        future: asyncio.Future[Answered],
        deadline: float,
        unknown: Unknown,
        extra: Extra | None,
        digest: bool,
    ) -> None:
        self.version = version
        self.image = image
        self.future = future
        self.deadline = deadline
        self.unknown = unknown
        self.extra = extra
        self.digest = digest
        self.queued = monotonic()


class Errand:
    """Something else for a version's engine to do, on its way to a worker and back."""

    __slots__ = ("future", "version", "work")

    def __init__(
        self, version: Version, work: Callable[[Classifier], Any], future: asyncio.Future[Any]
    ) -> None:
        self.version = version
        self.work = work
        self.future = future


class Pool:
    """The workers.

    Args:
        workers: How many; worker i uses engine i of whatever version it is asked for.
        capacity: Pictures that may wait or be answered at once.
        settled: Called on the loop's thread for each picture that is done with, whatever came.
        look: Called by the workers on what a model gets of a picture; None if nobody watches.
    """

    def __init__(
        self,
        workers: int,
        capacity: int,
        settled: Callable[[Version], None],
        look: Look | None = None,
    ) -> None:
        self.workers = workers
        self.capacity = capacity
        self.pending = 0
        self.mean_s = 0.005  # that one picture takes a worker
        self._settled = settled
        self._look = look
        self._jobs: SimpleQueue[Job | Errand | None] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Starts the workers; called on the loop that asks them."""
        self._loop = asyncio.get_running_loop()
        for index in range(self.workers):
            thread = threading.Thread(
                target=self._work, args=(index,), name=f"edgeclf-worker-{index}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Lets each worker finish what it has, and ends it."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def submit(
        self,
        version: Version,
        images: Sequence[ImageSource],
        *,
        deadline: float,
        unknown: Unknown = "flag",
        extra: Extra | None = None,
        digest: bool = False,
    ) -> list[asyncio.Future[Answered]]:
        """Queues the pictures of a request: all of them, or none.

        Args:
            version: Who answers.
            images: As for `Classifier.classify`.
            deadline: By `time.monotonic`; a picture that no worker has taken by then is dropped.
            unknown: As for `Classifier.classify`.
            extra: Called by the worker on what it answered.
            digest: Whether the SHA-256 of what the model is given is wanted.

        Raises:
            Problem: They do not fit into the queue.
        """
        self.check_room(len(images))
        loop = self._loop
        assert loop is not None
        futures = [loop.create_future() for _ in images]
        self.pending += len(images)
        version.in_flight += len(images)
        for image, future in zip(images, futures, strict=True):
            self._jobs.put(Job(version, image, future, deadline, unknown, extra, digest))
        return futures

    async def lend(self, version: Version, work: Callable[[Classifier], Any]) -> Any:
        """What something gives that a worker does with its engine, as soon as one is at leisure.

        Pictures go first: it waits while they keep all workers busy. What takes long should come
        in small pieces, as the next picture may have to wait for the one that runs.

        Args:
            version: Whose engine.
            work: Called on a worker's thread.

        Raises:
            EdgeclfError: What `work` raised, or that it failed.
        """
        loop = self._loop
        assert loop is not None
        while self.pending >= self.workers:
            await asyncio.sleep(_LEISURE_S)
        errand = Errand(version, work, loop.create_future())
        self.pending += 1
        version.in_flight += 1
        self._jobs.put(errand)
        found = await errand.future
        if isinstance(found, EdgeclfError):
            raise found
        return found

    def check_room(self, count: int) -> None:
        """Refuses pictures for which there is no room; see `submit`."""
        if self.pending + count > self.capacity:
            raise Problem(
                503,
                "busy",
                f"{self.pending} pictures are in the service and {self.capacity} fit; {count} more "
                "do not. Ask again in a while, or slower.",
                retry_after_s=self.wait_s(),
            )

    def check_time(self, limit_s: float) -> None:
        """Refuses a picture at once that would most likely not be answered in time.

        Args:
            limit_s: In which it must be answered.

        Raises:
            Problem: 503, with when to ask again.
        """
        expected_s = self.wait_s() + self.mean_s
        if self.pending >= self.workers and expected_s > _SURE * limit_s:
            raise Problem(
                503,
                "busy",
                f"{self.pending} pictures are in the service, so an answer would take about "
                f"{expected_s * 1e3:.0f} ms, and its deadline is {limit_s * 1e3:.0f} ms. Ask again "
                "in a while, slower, or with a later deadline (timeout_ms).",
                retry_after_s=expected_s - _SURE * limit_s,
            )

    def wait_s(self) -> float:
        """How long a picture that comes now would wait, by what the last ones took."""
        return self.pending * self.mean_s / self.workers

    def _work(self, index: int) -> None:
        jobs = self._jobs
        while (job := jobs.get()) is not None:
            if isinstance(job, Errand):
                self._run(index, job)
                continue
            group = [job]
            while len(group) < job.version.batch:
                try:
                    waiting = jobs.get_nowait()
                except Empty:
                    break
                if not isinstance(waiting, Job):  # the end, which must still be seen, or an errand
                    jobs.put(waiting)
                    break
                group.append(waiting)
            self._answer(index, group)

    def _run(self, index: int, errand: Errand) -> None:
        """Runs an errand whose caller still waits."""
        found: Any = None
        if not errand.future.done():
            try:
                found = errand.work(errand.version.engines[index])
            except EdgeclfError as exc:
                found = exc
            except BaseException as exc:  # a plugin's runtime: a worker must not end
                found = _failure(exc)
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._hand_back, errand, found)

    def _hand_back(self, errand: Errand, found: Any) -> None:
        self.pending -= 1
        errand.version.in_flight -= 1
        if not errand.future.done():
            errand.future.set_result(found)
        self._settled(errand.version)

    def _answer(self, index: int, jobs: list[Job]) -> None:
        """Answers jobs that were taken together, of one version at a time."""
        now = monotonic()
        answers: list[tuple[Job, Answered]] = []
        live = []
        for job in jobs:
            if job.future.done() or job.deadline <= now:  # nobody waits for it any more
                waited_s = now - job.queued
                answers.append((job, Answered(_too_late(waited_s), waited_s * 1e3)))
            else:
                live.append(job)
        while live:
            version, unknown = live[0].version, live[0].unknown
            together = [j for j in live if j.version is version and j.unknown == unknown]
            live = [j for j in live if not (j.version is version and j.unknown == unknown)]
            engine, results, seen = _ask(version, index, together, unknown, self._look)
            found = iter(seen)
            for job, result in zip(together, results, strict=True):
                saw = next(found, _NOTHING) if isinstance(result, Prediction) else _NOTHING
                answers.append((job, _with_extra(job, result, now, engine, saw)))
        spent = (monotonic() - now) / len(jobs)
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._deliver, answers, spent)

    def _deliver(self, answers: list[tuple[Job, Answered]], spent_s: float) -> None:
        self.pending -= len(answers)
        if spent_s > 1e-5:  # what was dropped says nothing of what a picture takes
            self.mean_s += _SMOOTHING * (spent_s - self.mean_s)
        for job, answered in answers:
            job.version.in_flight -= 1
            if not job.future.done():
                job.future.set_result(answered)
            self._settled(job.version)


@dataclass(frozen=True)
class _Seen:
    """What was noted of one tensor on its way to the engine."""

    statistics: Statistics = None
    sha256: str | None = None


_NOTHING = _Seen()


def _ask(
    version: Version, index: int, jobs: Sequence[Job], unknown: Unknown, look: Look | None
) -> tuple[Classifier | None, Sequence[Prediction | EdgeclfError], list[_Seen]]:
    """An answer for each job; whatever goes wrong is one, as a worker must not end.

    Returns:
        Who answered; the answers; and what was seen of each picture that could be read.
    """
    engine = None
    found: list[_Seen] = []
    digest = any(job.digest for job in jobs)

    def see(tensor: UInt8Array) -> None:
        sha256 = hashlib.sha256(tensor.tobytes()).hexdigest() if digest else None
        found.append(_Seen(None if look is None else look(tensor), sha256))

    try:
        engine = version.engines[index]
        results = engine.classify_together(
            [job.image for job in jobs],
            unknown=unknown,
            seen=None if look is None and not digest else see,
        )
        return engine, [r if isinstance(r, Prediction) else r.error for r in results], found
    except EdgeclfError as exc:
        return engine, [exc] * len(jobs), found
    except BaseException as exc:  # a plugin's runtime, which may even try to end the process
        return engine, [_failure(exc)] * len(jobs), found


def _with_extra(
    job: Job,
    result: Prediction | EdgeclfError,
    taken: float,
    engine: Classifier | None,
    saw: _Seen,
) -> Answered:
    waited_ms = (taken - job.queued) * 1e3
    if job.extra is None or engine is None or not isinstance(result, Prediction):
        return Answered(result, waited_ms, None, saw.statistics, saw.sha256)
    try:
        extra = job.extra(engine, job.image, result)
        return Answered(result, waited_ms, extra, saw.statistics, saw.sha256)
    except EdgeclfError as exc:
        return Answered(exc, waited_ms)
    except BaseException as exc:
        return Answered(_failure(exc), waited_ms)


def _failure(error: BaseException) -> InferenceError:
    """What went wrong, in the log; the client learns that something did."""
    _LOG.error("an engine failed", exc_info=error)
    return InferenceError(f"The engine failed: {type(error).__name__}")


def expire(futures: Sequence[asyncio.Future[Answered]], limit_s: float) -> None:
    """Ends the wait for pictures that have not been answered by their deadline."""
    for future in futures:
        if not future.done():
            future.set_result(Answered(_too_late(limit_s), limit_s * 1e3))


def _too_late(waited_s: float) -> Problem:
    return Problem(
        503,
        "deadline_exceeded",
        f"The picture had no answer after {waited_s * 1e3:.0f} ms, which was its deadline. Ask "
        "again in a while, slower, or with a later deadline (timeout_ms).",
        retry_after_s=1,
    )
