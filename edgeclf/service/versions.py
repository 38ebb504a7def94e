"""The life of versions: loaded and proven apart from the traffic, tried, switched to, freed."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from edgeclf.errors import EdgeclfError, RuntimeLoadError, ServiceError
from edgeclf.inference.classifier import Classifier
from edgeclf.monitoring.metrics import Metrics
from edgeclf.service.catalog import Catalog, Model, Refusal, Version, order
from edgeclf.service.config import ServiceConfig
from edgeclf.service.loading import close_engines, load_engines, prove, read_version
from edgeclf.service.memory import least_used, resident_bytes
from edgeclf.service.rollout import Trial, Trials
from edgeclf.system.memory import give_back
from edgeclf.system.progress import log

T = TypeVar("T")


class Versions:
    """What changes the catalog; used on the loop's thread, it does the work in one of its own.

    Args:
        config: How the service runs.
        metrics: Where it is counted.
    """

    def __init__(self, config: ServiceConfig, metrics: Metrics) -> None:
        self.catalog = Catalog(self._wake)
        self.trials = Trials(self.catalog, metrics, self._judged)
        self._config = config
        self.metrics = metrics
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="edgeclf-loader")
        self.changing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._limit = None if config.memory_mb is None else config.memory_mb * 1e6
        if self._limit is not None:
            resident_bytes()  # so that a system that cannot tell is named at the start

    async def close(self) -> None:
        """Ends what is being loaded, and frees everything; nothing may be in flight."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._loader.shutdown, wait=True)
        for version in {*self.catalog, *self.trials.versions()}:
            version.state = "unloaded"
            close_engines(version.take_engines())

    async def in_loader(self, call: Callable[..., T], *arguments: Any) -> T:
        """Does what takes long in the loader's thread, one after another."""
        return await asyncio.get_running_loop().run_in_executor(self._loader, call, *arguments)

    async def read(self, source: str | os.PathLike[str] | bytes, model: str | None = None,
                   number: str | None = None) -> Version:  # fmt: skip
        """Reads an artifact, and nothing more; see `read_version`."""
        return await self.in_loader(read_version, source, model, number)

    async def introduce(
        self,
        candidate: Version,
        *,
        replace: bool = True,
        keep: Callable[[Version], Path] | None = None,
    ) -> Version:
        """Loads and proves what was read, and lets it answer, or tries it first.

        It comes to answer for its model if its number is at least that of the one that does.

        Args:
            candidate: What `read` gave.
            replace: Whether it may replace a version of the same number whose file is another one,
                and still there.
            keep: Stores an artifact that was sent, once it is proven, and says where.

        Returns:
            It; or the one that is served already, where that has the same bytes.

        Raises:
            EdgeclfError: It cannot be served; what was served goes on.
        """
        async with self.changing:
            model = self.catalog.models.get(candidate.model)
            same = None if model is None else model.versions.get(candidate.number)
            if same is not None and same.sha256 == candidate.sha256 and same.state != "failed":
                if keep is not None and same.artifact.path is None:
                    await self._keep(candidate, keep)
                await self._found_again(same, candidate.artifact.path, wanted=replace)
                return same
            tried = None if model is None else model.trial
            if tried is not None and tried.candidate.sha256 == candidate.sha256:
                return tried.candidate
            try:
                if same is not None and not replace:
                    await self._check_place(candidate, same)
                if same is None or same.state == "failed":
                    self.catalog.add(candidate)
                await self.fill(candidate)
                if keep is not None:
                    await self._keep(candidate, keep)
            except EdgeclfError as exc:
                self.metrics.swaps.labels("failed").inc()
                self._refuse(candidate, str(exc))
                raise
            self.catalog.refused.pop(str(candidate.artifact.path), None)
            self._place(candidate, self.catalog.models[candidate.model])
            await self.keep_below(candidate)
            return candidate

    async def _keep(self, candidate: Version, keep: Callable[[Version], Path]) -> None:
        try:
            path = await self.in_loader(keep, candidate)
        except EdgeclfError:
            self.retire(candidate, "it could not be stored")
            raise
        candidate.artifact = dataclasses.replace(candidate.artifact, path=path)

    async def _found_again(self, same: Version, path: Path | None, *, wanted: bool) -> None:
        """The same bytes are there again, perhaps elsewhere, or were sent."""
        if path is not None:
            self.catalog.refused.pop(str(path), None)
            same.artifact = dataclasses.replace(same.artifact, path=path)
        if same.state == "loading" or (wanted and same.state != "ready"):
            await self.fill(same)

    async def _check_place(self, candidate: Version, same: Version) -> None:
        path = same.artifact.path
        if path in (None, candidate.artifact.path) or not await self.in_loader(
            os.path.exists, path
        ):
            return
        raise ServiceError(
            f"{candidate.artifact.path} would be version {candidate.number} of "
            f"{candidate.model!r}, which {path} is already. Give one of them another place or "
            "name: MODEL/VERSION/FILE in a folder of models, NAME:VERSION=FILE otherwise."
        )

    async def fill(self, version: Version) -> None:
        """Gives a version its engines.

        Raises:
            EdgeclfError: It has none now, and says why.
        """
        if version.leaving:  # it still has them
            version.leaving, version.on_demand = False, True
            version.state, version.reason = "ready", ""
            return
        version.state = "loading"
        version.reason = "it is loaded and replays its certificate; ask again in a while"
        try:
            await self.in_loader(load_engines, version, self._config)
        except Exception as exc:
            version.state, version.reason = "failed", str(exc) or type(exc).__name__
            self._lighten(version)
            if isinstance(exc, EdgeclfError):
                raise
            raise RuntimeLoadError(  # what a plugin's runtime may do must not end who loads it
                f"It cannot be loaded: {type(exc).__name__}: {exc}. See to its runtime."
            ) from exc
        version.state, version.reason, version.on_demand = "ready", "", True
        self.note_proof(version)

    def _place(self, candidate: Version, model: Model) -> None:
        """Where a version that can answer belongs."""
        present = model.current
        if present is not None and order(candidate.number) < order(present.number):
            replaced = model.versions.get(candidate.number)
            self.catalog.add(candidate)
            if replaced is not None and replaced is not candidate:
                self.keep_in_memory(replaced)
                self.retire(replaced, "its file is another one by now")
            return
        if present is None or present.state != "ready":
            self.switch(candidate, "it was loaded and proven")
            return
        if self.catalog.starting:  # all that it is started with is served, and nothing freed
            self.catalog.switch(candidate)
            return
        self.end_trial(model, f"version {candidate.number} has come instead")
        trial = Trial.of(candidate, present, self._config)
        if trial is None:
            self.switch(candidate, "it was loaded and proven")
            return
        if present.artifact.path == candidate.artifact.path:
            self.keep_in_memory(present)
        self.trials.begin(model, trial)
        self._say(candidate, f"is tried: {trial.text()}")

    def switch(self, version: Version, why: str, outcome: str = "switched") -> None:
        """Lets a version answer for its model, and the one that did leave."""
        before = self.catalog.switch(version)
        if before is None:
            return
        self.metrics.swaps.labels(outcome).inc()
        self._say(version, f"answers instead of {before.number} ({before.sha256[:12]}): {why}")
        if before.artifact.path == version.artifact.path:  # it is the new one's now
            self.keep_in_memory(before)
        if not before.pinned or before.number == version.number:
            self.retire(before, f"version {version.number} answers now")

    def _refuse(self, candidate: Version, reason: str) -> None:
        candidate.state, candidate.reason = "failed", reason
        if candidate.artifact.path is not None:
            self.refuse_file(str(candidate.artifact.path), reason, candidate)
        elif candidate.model in self.catalog.models:  # it was sent, and its sender is told
            self.catalog.drop(candidate)

    def refuse_file(self, path: str, reason: str, candidate: Version | None = None) -> None:
        """Names a file that is not served; what it would have replaced goes on from memory.

        Args:
            path: The file.
            reason: For people.
            candidate: What was read of it; None where it could not be read.
        """
        self.catalog.refused[path] = (
            Refusal(path, reason) if candidate is None
            else Refusal(path, reason, candidate.model, candidate.number, candidate.sha256)
        )  # fmt: skip
        log(f"edgeclf: {path} is not served: {reason}")
        for version in self.catalog:
            if version is not candidate and str(version.artifact.path) == path:
                self.keep_in_memory(version)

    def keep_in_memory(self, version: Version) -> None:
        """Notes that a version's file is gone or another one by now: it cannot be read again."""
        if version.artifact.content:
            version.artifact = dataclasses.replace(version.artifact, path=None)

    def _lighten(self, version: Version) -> None:
        """Forgets a version's bytes, unless a rollback may need them."""
        model = self.catalog.models.get(version.model)
        if model is None or version is not model.previous:
            version.drop_content()

    def retire(self, version: Version, why: str) -> None:
        """Lets a version answer what it has, and then frees its engines."""
        if version.state == "ready":
            version.state = "draining"
        version.reason = why
        version.leaving = True
        self.settled(version)

    def settled(self, version: Version) -> None:
        """Frees a version that is to leave, once it owes nothing; asked after each picture."""
        if not version.leaving or version.in_flight:
            return
        version.leaving = False
        if version.state == "draining":
            version.state = "unloaded"
        engines = version.take_engines()
        self._lighten(version)
        if engines:
            self._loader.submit(_free, engines)

    # Trials

    def end_trial(self, model: Model, why: str) -> None:
        """Takes a new version back out, where there is one that is tried."""
        trial = self.trials.end(model)
        if trial is not None:
            self._reject(trial, f"{why}; {trial.text()}")

    def _judged(self, trial: Trial, passed: bool, why: str) -> None:
        if passed:
            self.switch(trial.candidate, why)
        else:
            self._reject(trial, why)

    def _reject(self, trial: Trial, why: str) -> None:
        self.metrics.swaps.labels("rejected").inc()
        self._refuse(trial.candidate, why)
        self.retire(trial.candidate, why)

    # Memory

    def _wake(self, version: Version) -> None:
        """Loads a version that was asked for, for the requests after this one."""
        version.state = "loading"
        version.reason = "it had been unloaded and is loaded again; ask again in a while"
        self._spawn(self._load_again(version))

    async def _load_again(self, version: Version) -> None:
        async with self.changing:
            if version.state != "loading":  # somebody else has loaded it meanwhile
                return
            with suppress(EdgeclfError):  # which the version says
                await self.fill(version)
                await self.keep_below(version)

    async def keep_below(self, loaded: Version) -> None:
        """Unloads what was asked for longest ago while memory is above the limit."""
        if self._limit is None:
            return
        kept = [loaded, *self.trials.versions()]
        while await self.in_loader(_trimmed_bytes) > self._limit:
            version = least_used(self.catalog, kept)
            if version is None:
                self._say(loaded, "is loaded, and memory is above its limit with nothing to unload")
                return
            self.metrics.swaps.labels("unloaded").inc()
            self.retire(version, "memory was short, and it was asked for longest ago")

    # Proof

    async def replay(self, version: Version) -> None:
        """Replays a version's certificate between requests; one that fails stops answering."""
        engines = version.engines
        try:
            proof = await self.in_loader(prove, version.artifact, engines, self._config)
        except EdgeclfError as exc:
            if version.engines is engines and version.state == "ready":
                version.state = "failed"
                version.reason = f"its certificate does not hold here any more: {exc}"
                version.fail_proof(str(exc))
        else:
            version.proof = proof
            if version.engines is engines and version.state == "failed" and not version.leaving:
                version.state, version.reason = "ready", ""
        self.note_proof(version)

    def note_proof(self, version: Version) -> None:
        """Counts what a replay gave."""
        if version.proof is not None and version.proof.passed is not None:
            self.metrics.proof(version.model, version.number, version.proof.passed,
                                version.proof.at)  # fmt: skip

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _say(self, version: Version, text: str) -> None:
        log(f"edgeclf: {version.model} {version.number} ({version.sha256[:12]}) {text}")


def _free(engines: Sequence[Classifier]) -> None:
    close_engines(engines)
    give_back()


def _trimmed_bytes() -> int:
    give_back()
    return resident_bytes()
