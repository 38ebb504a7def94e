"""The models that are served: their versions, which of them answers, and what was refused."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from edgeclf.service.problem import Problem

if TYPE_CHECKING:
    from edgeclf.artifact import Artifact
    from edgeclf.inference.classifier import Classifier
    from edgeclf.runtimes.base import RuntimeInfo
    from edgeclf.service.rollout import Trial

State = Literal["loading", "ready", "failed", "draining", "unloaded"]

_RETRY_S = 2.0


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


@dataclass(frozen=True)
class Refusal:
    """A file that is not served, and why; kept until it changes or goes.

    Attributes:
        path: The file.
        reason: For people.
        model: The model's name; None where the file could not be read.
        number: The version's, likewise.
        sha256: The file's, likewise.
    """

    path: str
    reason: str
    model: str | None = None
    number: str | None = None
    sha256: str | None = None


@dataclass(eq=False)
class Version:
    """One artifact under a model's name.

    Attributes:
        model: The model's name.
        number: The version's, a text without ``/``.
        artifact: The file; without its bytes where they can be read again.
        engines: One classifier for each worker; empty unless it is loaded.
        runtime: What they run on.
        state: Where it is in its life.
        reason: Why it failed, or what is being done, for people.
        proof: Of the last replay.
        batch: Pictures that a worker may answer by one run of the engine.
        in_flight: Pictures that it owes an answer; counted on the loop's thread.
        used_at: When it was last asked, by `time.monotonic`.
        pinned: Whether it stays loaded though others answer, or memory is short.
        on_demand: Whether it is loaded when it is asked for; not if it was unloaded by hand.
        leaving: Whether its engines are freed once nothing is in flight.
        sha256: Of the artifact's bytes, as any tool gives it.
        size_bytes: Of the file.
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
    pinned: bool = False
    on_demand: bool = True
    leaving: bool = False
    sha256: str = ""
    size_bytes: int = 0

    def __post_init__(self) -> None:
        self.sha256 = self.sha256 or self.artifact.sha256
        self.size_bytes = self.size_bytes or self.artifact.size_bytes

    def fail_proof(self, text: str) -> None:
        """Notes that the certificate does not hold any more."""
        self.proof = Proof(False, text, time.time())

    def take_engines(self) -> Sequence[Classifier]:
        """The engines, which are nobody's from now on; only once nothing is in flight."""
        engines, self.engines = self.engines, ()
        return engines

    def drop_content(self) -> None:
        """Forgets the file's bytes if they can be read again, and keeps what it says of itself."""
        if self.artifact.path is not None and not self.engines:
            self.artifact = dataclasses.replace(self.artifact, content=b"")


class Model:
    """A name with its versions; one of them answers where a request names none.

    Attributes:
        name: The name.
        versions: By number. A file that shall replace one of the same number is not among them
            until it does.
        current: Which of them answers.
        previous: What a rollback goes back to, with its bytes, whatever its file is by now.
        trial: Of a new version that does not answer yet, or answers a share.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.versions: dict[str, Version] = {}
        self.current: Version | None = None
        self.previous: Version | None = None
        self.trial: Trial | None = None

    def answers_by(self, version: Version) -> bool:
        """Whether a version is the one that answers where a request names none."""
        return self.current is version

    def below(self, version: Version) -> Version | None:
        """The highest of the versions below one that can answer, or could be loaded to."""
        lower = [
            v for v in self.versions.values()
            if v is not version and v.state in ("ready", "unloaded")
            and order(v.number) < order(version.number)
        ]  # fmt: skip
        return max(lower, key=lambda v: order(v.number), default=None)


class Catalog:
    """Every model that is served. Changed on the loop's thread alone.

    Args:
        wake: Called for a version that is asked for and not loaded, but could be.
    """

    def __init__(self, wake: Callable[[Version], None]) -> None:
        self.models: dict[str, Model] = {}
        self.refused: dict[str, Refusal] = {}
        self.starting = False  # until what it was started with has been loaded
        self._wake = wake

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

    def version(self, name: str | None, number: str) -> Version:
        """A version, whatever state it is in.

        Raises:
            Problem: 404; names those that there are.
        """
        model = self.model(name)
        if number in model.versions:
            return model.versions[number]
        known = ", ".join(sorted(model.versions, key=order)) or "none"
        raise Problem(
            404, "no_version",
            f"Model {model.name!r} has no version {number!r}; it has: {known}.",
        )  # fmt: skip

    def find(self, name: str | None = None, number: str | None = None) -> Version:
        """The version that answers; one that has been unloaded is loaded for the next request.

        Args:
            name: Of the model; None for the only one.
            number: Of the version; None for the current one.

        Raises:
            Problem: 404 there is none; 503 it is not ready, with the reason.
        """
        found = self.model(name).current if number is None else self.version(name, number)
        if found is not None and found.state == "ready":
            return found
        model = self.model(name)
        if found is not None and found.state == "unloaded" and found.on_demand:
            self._wake(found)
        states = [f"version {v.number} is {v.state}: {v.reason}" for v in (
            model.versions.values() if found is None else (found,))]  # fmt: skip
        raise Problem(
            503, "loading" if found is not None and found.state == "loading" else "not_ready",
            f"Model {model.name!r} cannot answer; {'; '.join(states) or 'it has no version'}",
            retry_after_s=_RETRY_S,
        )  # fmt: skip

    def add(self, version: Version) -> Model:
        """Enters a version under its model, without letting it answer for it."""
        model = self.models.setdefault(version.model, Model(version.model))
        model.versions[version.number] = version
        return model

    def switch(self, version: Version) -> Version | None:
        """Lets a version answer for its model from the next request on.

        Returns:
            The one that did so until now.
        """
        model = self.add(version)
        before, model.current = model.current, version
        if before is None or before is version:
            return None
        if before.sha256 == version.sha256:  # which had failed, and was loaded anew
            return before
        if model.previous not in (None, before, version):
            assert model.previous is not None
            model.previous.drop_content()
        model.previous = before
        return before

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
        """What keeps the service from being ready: nothing if it is.

        A model that has never answered, such as a new file that does not verify, is none of it
        once the others do: what they answer is worth more than the news, which the index has.
        """
        found, ready = [], False
        for model in self.models.values():
            current = model.current
            if current is not None and _answers(current):
                ready = True
                continue
            if current is not None and current.state == "unloaded":  # by hand: as it was wanted
                continue
            version = current or next(iter(model.versions.values()))
            found.append((current is None, {
                "model": model.name, "version": version.number, "state": version.state,
                "reason": version.reason,
            }))  # fmt: skip
        if ready and not self.starting:
            return [problem for is_new, problem in found if not is_new]
        if not found and not ready:
            return [{"model": None, "version": None, "state": "unloaded",
                     "reason": "no model is loaded"}]  # fmt: skip
        return [problem for _, problem in found]


def _answers(version: Version) -> bool:
    """Whether it does, or will once it is asked."""
    return (
        version.state == "ready"
        or (version.state == "unloaded" and version.on_demand)
        or (version.state == "loading" and version.proof is not None)
    )


def order(number: str) -> list[tuple[int, int, str]]:
    """A version's place among others: its numbers count as such, and ``1.0rc1`` is before ``1.0``.

    Examples:
        >>> sorted(["1.10", "1.9", "1.10.1", "1.10rc2"], key=order)
        ['1.9', '1.10rc2', '1.10', '1.10.1']
    """
    parts = re.findall(r"([0-9]+)|([A-Za-z]+)", number)
    return [(2, int(n), "") if n else (0, 0, text) for n, text in parts] + [(1, 0, "")]
