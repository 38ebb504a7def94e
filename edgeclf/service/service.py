"""The service itself: what is served, who answers, and what is known of both. HTTP is elsewhere."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from time import monotonic

from edgeclf.errors import EdgeclfError, InferenceError
from edgeclf.image import ImageSource
from edgeclf.monitoring.looking import Looker
from edgeclf.monitoring.metrics import Metrics
from edgeclf.monitoring.monitoring import Monitoring, Watched
from edgeclf.monitoring.request_log import RequestLog
from edgeclf.monitoring.samples import Samples
from edgeclf.publishing.collector import Collector
from edgeclf.registry.source import default_cache
from edgeclf.service.access import Access
from edgeclf.service.asgi import Gone, Receive
from edgeclf.service.catalog import Version
from edgeclf.service.config import ServiceConfig
from edgeclf.service.intake import Wanted
from edgeclf.service.patient_maps import PatientMaps
from edgeclf.service.pool import Answered, Extra, Pool, expire
from edgeclf.service.registry_source import RegistrySource
from edgeclf.service.stress.runs import StressRuns
from edgeclf.service.telemetry import Telemetry
from edgeclf.service.versions import Versions

_SAVE_S = 30.0
_PATIENCE_S = 0.05  # until it is worth watching whether a client has left


class Service:
    """Models that answer pictures, from `start` to `close`; used on one event loop's thread.

    Args:
        config: How it runs.

    Raises:
        ServiceError: Its file of keys cannot be read.
        OptionError: What is to be served of a registry is no address.
        FleetError: The database of a fleet's reports cannot be used.
        MissingDependencyError: OpenTelemetry, or what talks to that database, is wanted and not
            installed.
    """

    def __init__(self, config: ServiceConfig) -> None:
        self.config = config
        self.access = Access(config.keys)
        self.metrics = Metrics()
        self.telemetry = Telemetry() if config.otel else None
        registry = self.metrics.registry
        self.log = None if config.log is None else RequestLog(config.log, registry)
        self.samples = None if config.sample_to is None else Samples(
            config.sample_to, config.sample_files, config.sample_mb * 1e6, registry
        )  # fmt: skip
        self.versions = Versions(config, self.metrics)
        self.catalog = self.versions.catalog
        self.monitoring = None if not config.monitor else Monitoring(
            registry, lambda: map(_watched, self.catalog), config.monitor_state
        )  # fmt: skip
        look = Looker() if config.monitor else None
        self.pool = Pool(config.worker_count, config.capacity, self.versions.settled, look)
        self.maps = PatientMaps(self.pool)
        self.registry = None if config.registry is None else RegistrySource(
            self.versions, config.registry, config.tracking_uri,
            config.registry_cache or default_cache(),
        )  # fmt: skip
        self.fleet = None if config.fleet is None else Collector(
            config.fleet, open_enrolment=config.fleet_open
        )  # fmt: skip
        self.draining = False
        self.stress = None if not config.ui else StressRuns(
            config, self.access, lambda: self.pool.pending, lambda: self.draining
        )  # fmt: skip
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Starts workers, the replay of certificates, and the saving of what monitoring knows."""
        self.pool.start()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._replay_forever()),
                       loop.create_task(self._save_forever())]  # fmt: skip

    async def close(self) -> None:
        """Ends the workers once they have answered what they took, and frees the models."""
        if self.stress is not None:
            await self.stress.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self.pool.stop)
        await self._save()
        for each in (self.log, self.samples):
            if each is not None:
                await asyncio.to_thread(each.close)
        await self.versions.close()
        if self.fleet is not None:
            await asyncio.to_thread(self.fleet.close)
        if self.telemetry is not None:
            await asyncio.to_thread(self.telemetry.close)

    async def load(
        self,
        path: str | os.PathLike[str],
        model: str | None = None,
        number: str | None = None,
    ) -> Version:
        """Reads, loads and proves an artifact apart from the traffic, and lets it answer.

        It answers for its model at once, or after the trial that the config asks for, if its
        number is at least that of the one that does; one with a lower number by that number alone.

        Args:
            path: Of the artifact.
            model: The name that it is served under; by default what the file says.
            number: The version's, likewise.

        Raises:
            EdgeclfError: It cannot be served; what was served goes on.
        """
        return await self.versions.introduce(await self.versions.read(path, model, number))

    def check_room(self, timeout_s: float | None = None) -> None:
        """Refuses a request for which there is no room, or no time, before anything is read of it.

        Args:
            timeout_s: The client's own deadline; None for the service's.

        Raises:
            Problem: 503, with when to ask again.
        """
        self.pool.check_room(1)
        self.pool.check_time(self._limit_s(timeout_s))

    def _limit_s(self, timeout_s: float | None) -> float:
        limit_s = self.config.deadline_s
        return limit_s if timeout_s is None else min(limit_s, timeout_s)

    async def answer(
        self,
        name: str | None,
        number: str | None,
        images: Sequence[ImageSource],
        wanted: Wanted,
        receive: Receive,
        extra: Extra | None = None,
    ) -> tuple[Version, list[Answered]]:
        """Answers the pictures of one request.

        Args:
            name: Of the model; None for the only one.
            number: Of its version; None for the one that is current.
            images: As for `Classifier.classify`.
            wanted: What is asked of the answer.
            receive: Tells when the client goes; what it asked is then dropped.
            extra: Called by the worker on what it answered.

        Returns:
            Who answered, and an answer for each picture, in order.

        Raises:
            Problem: No such model, it is not ready, or there is no room.
            Gone: The client left.
        """
        version = self.catalog.find(name, number)
        trial = self.versions.trials.of(version.model)
        if trial is None or trial.present is not version or wanted.rehearsal:
            return version, await self._answer(version, images, wanted, receive, extra)
        if number is None and trial.stage == "canary" and trial.takes():
            answers = await self._answer(trial.candidate, images, wanted, receive, extra)
            self.versions.trials.note(trial, images, answers, self._ask_unseen)
            if not any(isinstance(each.result, InferenceError) for each in answers):
                return trial.candidate, answers
            version = self.catalog.find(name)  # whoever asked need not know of trials
        answers = await self._answer(version, images, wanted, receive, extra)
        if trial.stage == "shadow":
            self.versions.trials.note(trial, images, answers, self._ask_unseen)
        return version, answers

    def _ask_unseen(self, version: Version, image: ImageSource) -> asyncio.Future[Answered] | None:
        if self.pool.pending >= self.pool.workers:
            return None
        deadline = monotonic() + self.config.deadline_s
        return self.pool.submit(version, [image], deadline=deadline, unknown="off")[0]

    async def _answer(
        self,
        version: Version,
        images: Sequence[ImageSource],
        wanted: Wanted,
        receive: Receive,
        extra: Extra | None,
    ) -> list[Answered]:
        version.used_at = now = monotonic()
        limit_s = self._limit_s(wanted.timeout_s)
        futures = self.pool.submit(
            version, images, deadline=now + limit_s, unknown=wanted.unknown, extra=extra,
            digest=wanted.tensor,
        )  # fmt: skip
        wait = _Wait(futures, receive, limit_s)
        try:
            answers = [await future for future in futures]
        except asyncio.CancelledError:
            if wait.gone:
                raise Gone from None
            raise
        finally:
            wait.end()
        for index, (image, answered) in enumerate(zip(images, answers, strict=True)):
            self._note(version, image, answered, wanted.rehearsal)
            if self.telemetry is not None:
                self.telemetry.picture(version, now, index, answered)
        return answers

    def _note(
        self, version: Version, image: ImageSource, answered: Answered, rehearsal: bool
    ) -> None:
        result = answered.result
        if self.log is not None:
            self.log.answer(version.model, version.number, version.sha256, result,
                            answered.queue_ms)  # fmt: skip
        if isinstance(result, EdgeclfError):
            return
        timing = result.timing
        self.metrics.observe_stages(
            (answered.queue_ms, timing.decode_ms, timing.preprocess_ms, timing.inference_ms)
        )
        self.metrics.answered(version.model, version.number)
        if rehearsal:
            return
        if self.monitoring is not None:
            self.monitoring.add(_watched(version), image, result, answered.statistics)
        if self.samples is not None:
            self.samples.offer(image, version.artifact.metadata.image, version.sha256, result)

    async def _save_forever(self) -> None:
        while True:
            await asyncio.sleep(_SAVE_S)
            await self._save()

    async def _save(self) -> None:
        write = None if self.monitoring is None else self.monitoring.save()
        if write is not None:
            await asyncio.to_thread(write)

    async def _replay_forever(self) -> None:
        while True:
            await asyncio.sleep(self.config.replay_minutes * 60)
            for version in list(self.catalog):
                if version.engines and version.state in ("ready", "failed"):
                    await self.versions.replay(version)

    def problems(self) -> list[dict[str, object]]:
        """What keeps it from being ready; nothing if it is."""
        if self.draining:
            return [{"model": None, "version": None, "state": "draining",
                     "reason": "the service is being stopped"}]  # fmt: skip
        missing = None if self.registry is None else self.registry.problem()
        return self.catalog.problems() if missing is None else [missing]


def _watched(version: Version) -> Watched:
    return Watched(version.model, version.number, version.sha256, version.artifact.metadata)


class _Wait:
    """Ends the wait for answers at a deadline, and where the client leaves before.

    Watching for a client that leaves costs a task, and saves work only where much is waiting: so
    it begins after a while, and most requests never see it.
    """

    def __init__(
        self, futures: Sequence[asyncio.Future[Answered]], receive: Receive, limit_s: float
    ) -> None:
        self.gone = False
        self._futures = futures
        self._receive = receive
        self._limit_s = limit_s
        self._watch: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._timer = (
            self._loop.call_later(limit_s, self._expire)
            if limit_s <= _PATIENCE_S
            else self._loop.call_later(_PATIENCE_S, self._begin_to_watch)
        )

    def end(self) -> None:
        self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()

    def _begin_to_watch(self) -> None:
        self._timer = self._loop.call_later(self._limit_s - _PATIENCE_S, self._expire)
        self._watch = self._loop.create_task(self._until_gone())

    def _expire(self) -> None:
        expire(self._futures, self._limit_s)

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        for future in self._futures:
            future.cancel()
