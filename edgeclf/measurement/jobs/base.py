"""What all jobs share, and their way through JSON and back."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from edgeclf.errors import MeasurementError

if TYPE_CHECKING:
    from edgeclf.inference.classifier import Classifier
    from edgeclf.runtimes.base import Device

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Job(Generic[R]):
    """Something to measure in a process of its own, with a result of the type `R`.

    Attributes:
        cpus: The only CPUs that the process runs on; empty for those of its parent.
    """

    kind: ClassVar[str]
    result: ClassVar[type]  # of `R`

    cpus: tuple[int, ...] = ()

    @property
    def pictures(self) -> int:
        """How many the process answers beside what it measures; it gets time for each."""
        return 0

    def run(self, started_s: float) -> R:
        """Measures, in the process that was started for it.

        Args:
            started_s: When that was, on its parent's monotonic clock.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ModelJob(Job[R]):
    """A job that runs an artifact.

    Attributes:
        model: The artifact's path.
        runtime: A runtime's name.
        device: Where it must run.
        threads: Threads for one call; None for the CPUs that the process may use.
    """

    model: str
    runtime: str
    device: Device = "cpu"
    threads: int | None = None

    def load(self) -> Classifier:
        """The artifact in its runtime."""
        from edgeclf.inference.classifier import Classifier

        return Classifier(
            self.model, runtime=self.runtime, device=self.device, threads=self.threads
        )

    def load_lean(self) -> Classifier:
        """`load`, where no figure tells what the import of the engine took: as a verb does it."""
        from edgeclf.runtimes import import_runtime
        from edgeclf.system.lean import running_a_verb

        with running_a_verb():
            import_runtime(self.runtime)
        gc.unfreeze()  # the calls to come wait for Python's garbage as they do in any process
        return self.load()


@dataclass(frozen=True, kw_only=True)
class CallJob(ModelJob[R]):
    """A job that makes the calls of a row: always the same pictures, so many at a time.

    Attributes:
        images: Paths of image files; without any, random pixels.
        batch: Pictures in one call.
    """

    images: tuple[str, ...] = ()
    batch: int = 1

    @property
    def pictures(self) -> int:
        """See `Job.pictures`."""
        return len(self.images)

    def answering(self, classifier: Classifier) -> Callable[[], object]:
        """What makes one call, on the same pictures every time."""
        if not self.images:
            from edgeclf.measurement.workloads.latency import random_pixels

            pixels = random_pixels(classifier, self.batch)
            return lambda: classifier.probabilities(pixels)
        with open(self.images[0], "rb") as file:
            content = file.read()
        if self.batch == 1:
            return lambda: classifier.classify(content)
        together = [content] * self.batch
        return lambda: list(classifier.classify_batch(together, batch_size=self.batch))


def to_json(record: Any) -> Any:
    """A record as plain JSON types; what already is of them stays as it is."""
    if is_dataclass(record) and not isinstance(record, type):
        return {field.name: to_json(getattr(record, field.name)) for field in fields(record)}
    if isinstance(record, tuple):
        return [to_json(each) for each in record]
    if isinstance(record, dict):
        return {name: to_json(value) for name, value in record.items()}
    return record


def from_json(kind: type[Any], document: Mapping[str, Any]) -> Any:
    """The record of a document that `to_json` made; lists become tuples.

    A class whose fields are records themselves names their classes in a static method `nested`.

    Raises:
        MeasurementError: Its fields are not those of the record.
    """
    known = {field.name for field in fields(kind)}
    needed = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    if not needed <= document.keys() <= known:
        raise MeasurementError(
            f"Received a {kind.__name__} with the fields {_words(document)}; expected "
            f"{_words(known)}. The process runs another version of edgeclf."
        )
    nested = kind.nested() if hasattr(kind, "nested") else {}

    def restored(name: str, value: Any) -> Any:
        if name in nested and value is not None:
            return from_json(nested[name], value)
        return tuple(value) if isinstance(value, list) else value

    return kind(**{name: restored(name, value) for name, value in document.items()})


def _words(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
