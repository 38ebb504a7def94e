"""What people, programs and folders ask of versions that are known: go back, go there, leave."""

from __future__ import annotations

from contextlib import suppress

from edgeclf.errors import EdgeclfError
from edgeclf.service.catalog import Model, Version, order
from edgeclf.service.problem import Problem
from edgeclf.service.versions import Versions


async def rollback(versions: Versions, name: str | None) -> Version:
    """Goes back to what answered before; ends a trial instead where there is one.

    Returns:
        The version that answers now.

    Raises:
        Problem: 404 no such model, 409 there is nothing to go back to.
        EdgeclfError: It cannot be loaded any more; what answers goes on.
    """
    async with versions.changing:
        model = versions.catalog.model(name)
        present = model.current
        if model.trial is not None and present is not None:
            versions.end_trial(model, "it was called back by hand")
            return present
        before = model.previous or (None if present is None else model.below(present))
        if before is None:
            raise Problem(
                409, "no_previous",
                f"Model {model.name!r} has had no other version that it could go back to.",
            )  # fmt: skip
        return await _go_to(versions, before, "it was rolled back to", "rolled back")


async def promote(versions: Versions, name: str | None, number: str) -> Version:
    """Lets a version answer for its model, whatever its number; ends a trial.

    Raises:
        Problem: 404 there is none.
        EdgeclfError: It cannot be loaded; what answers goes on.
    """
    async with versions.changing:
        model = versions.catalog.model(name)
        trial = model.trial
        if trial is not None and trial.candidate.number == number:
            versions.trials.end(model)
            versions.switch(trial.candidate, "it was promoted by hand", "promoted")
            return trial.candidate
        version = versions.catalog.version(name, number)
        versions.end_trial(model, f"version {number} was promoted by hand")
        return await _go_to(versions, version, "it was promoted by hand", "promoted")


async def _go_to(versions: Versions, version: Version, why: str, outcome: str) -> Version:
    if version.state != "ready":
        await versions.fill(version)
    if versions.catalog.models[version.model].current is not version:
        versions.switch(version, why, outcome)
    await versions.keep_below(version)
    return version


async def unload(versions: Versions, name: str | None, number: str | None = None) -> None:
    """Frees versions until they are loaded again by hand.

    Args:
        name: Of the model; None for the only one.
        number: Of the version; None for all of them, so that the model does not answer.

    Raises:
        Problem: 404 there is none, 409 it is the one that answers while others could.
    """
    async with versions.changing:
        model = versions.catalog.model(name)
        chosen = list(model.versions.values()) if number is None else [
            versions.catalog.version(name, number)]  # fmt: skip
        if number is not None and chosen[0] is model.current and len(model.versions) > 1:
            raise Problem(
                409, "in_use",
                f"Version {number} answers for model {model.name!r}. Promote another one "
                "first, or unload the model.",
            )  # fmt: skip
        trial = model.trial
        if trial is not None and (number is None or trial.candidate in chosen):
            versions.end_trial(model, "it was unloaded by hand")
        for version in chosen:
            version.on_demand = False
            if version.state in ("ready", "unloaded"):
                versions.retire(version, "it was unloaded by hand; load it again to ask it")


async def reload(versions: Versions, name: str | None, number: str | None = None) -> Version:
    """Loads a version that is known, by default the one that answers for its model.

    Raises:
        Problem: 404 there is none.
        EdgeclfError: It cannot be loaded.
    """
    async with versions.changing:
        model = versions.catalog.model(name)
        version = model.current if number is None else versions.catalog.version(name, number)
        version = version or max(model.versions.values(), key=lambda v: order(v.number))
        if version.state != "ready":
            await versions.fill(version)
        if model.current is None:
            versions.switch(version, "it was loaded by hand")  # the first: nothing leaves
        await versions.keep_below(version)
        return version


def pin(versions: Versions, name: str | None, number: str, pinned: bool = True) -> Version:
    """Keeps a version loaded though others answer, or memory is short; or no longer.

    Raises:
        Problem: 404 there is none.
    """
    version = versions.catalog.version(name, number)
    version.pinned = pinned
    return version


async def file_gone(versions: Versions, path: str) -> None:
    """Takes out the version of a file that is not there any more.

    One that answers for its model leaves only if another can: else it goes on from memory, as
    a folder that was emptied or lost is no reason to stop answering.
    """
    async with versions.changing:
        versions.catalog.refused.pop(path, None)
        known = {*versions.catalog, *versions.trials.versions()}
        for version in [v for v in known if str(v.artifact.path) == path]:
            model = versions.catalog.models[version.model]
            if model.trial is not None and version is model.trial.candidate:
                versions.end_trial(model, "its file is gone")
            if model.answers_by(version):
                await _replace_gone(versions, model, version)
            if model.answers_by(version) and (version.engines or version.artifact.content):
                versions.keep_in_memory(version)
                version.reason = "its file is gone; it answers from memory"
                continue
            versions.catalog.refused.pop(path, None)
            versions.retire(version, "its file is gone")
            versions.catalog.drop(version)
            versions.metrics.forget(version.model, version.number)


async def _replace_gone(versions: Versions, model: Model, gone: Version) -> None:
    others = [v for v in model.versions.values()
              if v is not gone and v.state in ("ready", "unloaded")]  # fmt: skip
    for other in sorted(others, key=lambda v: order(v.number), reverse=True):
        with suppress(EdgeclfError):
            await _go_to(versions, other, f"the file of version {gone.number} is gone", "switched")
            return
