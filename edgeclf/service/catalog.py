"""The models that are served: their versions, which of them answers, and when one may be freed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from edgeclf.service.problem import Problem

if TYPE_CHECKING:
    from edgeclf.artifact import Artifact
    from edgeclf.inference.classifier import Classifier
    from edgeclf.runtimes.base import RuntimeInfo

State = Literal["loading", "ready", "failed", "draining", "unloaded"]


@dataclass(frozen=True)
class Proof:
    """What the last replay of a version's certificate gave.

    Attributes:
        passed: Whether every engine answered as certified; None where the file has no certificate.
        text: What was found, for people.
        at: When, in seconds since 1970.
        max_change: Largest difference to a certified probability; None where nothing was compared.
        tolerance: What was allowed.
        photo: How the certificate's JPEG came through, as in `Verification`.
    """

    passed: bool | None
    text: str
    at: float
    max_change: float | None = None
    tolerance: float | None = None
    photo: str | None = None


@dataclass(eq=False)
class Version:
    """One artifact under a model's name.

    Attributes:
        model: The model's name.
        number: The version's, a text without ``/``.
        artifact: The file.
        engines: One classifier for each worker; empty unless it is loaded.
        runtime: What they run on.
        state: Where it is in its life.
        reason: Why it failed, or what is being done, for people.
        proof: Of the last replay.
        batch: Pictures that a worker may answer by one run of the engine.
        in_flight: Pictures that it owes an answer; counted on the loop's thread.
        used_at: When it was last asked, by `time.monotonic`.
    """

    model: str
    number: str
    artifact: Artifact
    engines: Sequence[Classifier] = ()
    runtime: RuntimeInfo | None = None
    state: State = "loading"
    reason: str = ""
    proof: Proof | None = None
    batch: int = 1
    in_flight: int = 0
    used_at: float = field(default_factory=time.monotonic)

    @property
    def sha256(self) -> str:
        """Of the artifact's bytes, as any tool gives it."""
        return self.artifact.sha256

    def fail_proof(self, text: str) -> None:
        """Notes that the certificate does not hold any more."""
        self.proof = Proof(False, text, time.time())

    def free(self) -> None:
        """Frees the engines; only once nothing is in flight."""
        engines, self.engines = self.engines, ()
        self.state = "unloaded"
        for engine in engines:
            engine.close()


class Model:
    """A name with its versions; one of them answers where a request names none."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.versions: dict[str, Version] = {}
        self.current: Version | None = None
        self.previous: Version | None = None  # what a rollback goes back to


class Catalog:
    """Every model that is served. Changed on the loop's thread alone."""

    def __init__(self) -> None:
        self.models: dict[str, Model] = {}

    def __iter__(self) -> Iterator[Version]:
        return (v for model in self.models.values() for v in model.versions.values())

    def model(self, name: str | None) -> Model:
        """A model by its name; None stands for the only one.

        Raises:
            Problem: 404; names those that there are.
        """
        if name is None and len(self.models) == 1:
            return next(iter(self.models.values()))
        if name in self.models:
            return self.models[name]
        served = ", ".join(sorted(self.models)) or "none"
        if name is None:
            raise Problem(
                404, "no_model",
                f"Several models are served, or none: {served}. Name one, as in "
                "/v1/models/NAME/classify.",
            )  # fmt: skip
        raise Problem(404, "no_model", f"There is no model {name!r}; served: {served}.")

    def find(self, name: str | None = None, number: str | None = None) -> Version:
        """The version that answers.

        Args:
            name: Of the model; None for the only one.
            number: Of the version; None for the current one.

        Raises:
            Problem: 404 there is none; 503 it is not ready, with the reason.
        """
        model = self.model(name)
        if number is not None:
            found = model.versions.get(number)
            if found is None:
                known = ", ".join(sorted(model.versions)) or "none"
                raise Problem(
                    404, "no_version",
                    f"Model {model.name!r} has no version {number!r}; it has: {known}.",
                )  # fmt: skip
        else:
            found = model.current
        if found is None or found.state != "ready":
            states = [f"version {v.number} is {v.state}: {v.reason}" for v in (
                model.versions.values() if found is None else (found,))]  # fmt: skip
            raise Problem(
                503, "not_ready",
                f"Model {model.name!r} cannot answer; {'; '.join(states) or 'it has no version'}",
                retry_after_s=2,
            )  # fmt: skip
        return found

    def add(self, version: Version) -> Model:
        """Enters a version under its model, without letting it answer."""
        model = self.models.setdefault(version.model, Model(version.model))
        model.versions[version.number] = version
        return model

    def switch(self, version: Version) -> Version | None:
        """Lets a version answer for its model from the next request on.

        Returns:
            The one that did so until now.
        """
        model = self.models[version.model]
        before, model.current = model.current, version
        if before is not None and before is not version:
            model.previous = before
            return before
        return None

    def drop(self, version: Version) -> None:
        """Takes a version out; its model as well, once it has none."""
        model = self.models[version.model]
        if model.versions.get(version.number) is version:
            del model.versions[version.number]
        if model.current is version:
            model.current = None
        if model.previous is version:
            model.previous = None
        if not model.versions:
            del self.models[version.model]

    def problems(self) -> list[dict[str, Any]]:
        """What keeps the service from being ready: nothing if it is."""
        if not self.models:
            return [{"model": None, "version": None, "state": "unloaded",
                     "reason": "no model is served"}]  # fmt: skip
        found = []
        for model in self.models.values():
            current = model.current
            if current is not None and current.state == "ready":
                continue
            version = current or next(iter(model.versions.values()))
            found.append({"model": model.name, "version": version.number,
                          "state": version.state, "reason": version.reason})  # fmt: skip
        return found
