"""Every exception edgeclf raises on purpose.

    EdgeclfError
    ├── OptionError               an argument has a value that cannot work
    ├── ImageError                a picture cannot be read, or is refused
    ├── DataError                 a folder of photos is not a usable data set
    ├── ArtifactError             a model file is not an artifact of ours
    │   └── IntegrityError        it was one, and its bytes have changed since
    ├── RuntimeLoadError          a runtime cannot load a model the way it was asked to
    │   └── MissingDependencyError  a package is not installed; names the pip line
    ├── InferenceError            a runtime failed while it was computing
    ├── TrainingError             a model did not learn (loss is not a number)
    ├── ConversionError           a model cannot be converted
    │   └── QualityGateError      it can, but the result answers differently
    ├── VerificationError         an artifact does not repeat its certified answers
    ├── MeasurementError          a figure could not be measured
    ├── RegistryError             a registry of models is away, or has not what was asked for
    ├── ServiceError              a service cannot start, load, switch or answer as asked
    └── FleetError                a fleet's repository or a device of it cannot do as asked

Each message says what was received, what was expected and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


class EdgeclfError(Exception):
    """The root of all errors raised by edgeclf.

    Examples:
        >>> import edgeclf
        >>> try:
        ...     edgeclf.load_artifact("nosuch.tflite")
        ... except edgeclf.EdgeclfError as error:
        ...     print(error)
        Cannot read the model nosuch.tflite: No such file or directory.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are made again by `type(error)(*error.args)`, which fails where `__init__`
        # takes something else than the message; a `multiprocessing.Pool` then waits for ever.
        reduced: Any = super().__reduce__()
        return (_made_again, (type(self), *reduced[1]), *reduced[2:])


def _made_again(error: type[EdgeclfError], *arguments: object) -> EdgeclfError:
    made = error.__new__(error, *arguments)
    super(EdgeclfError, made).__init__(*arguments)
    return made


class OptionError(EdgeclfError, ValueError):
    """An argument has a value that cannot work."""


class ImageError(EdgeclfError):
    """A picture cannot be read, or is refused by policy."""


class DataError(EdgeclfError):
    """A folder of photos is not a usable data set."""


class ArtifactError(EdgeclfError):
    """A model file is not an edgeclf artifact, or not one this version reads."""


class IntegrityError(ArtifactError):
    """An artifact's bytes are not the bytes that were written."""


class RuntimeLoadError(EdgeclfError):
    """A runtime is unknown, or cannot load this model on this device."""


class MissingDependencyError(RuntimeLoadError, ImportError):
    """A package that the call needs is not installed.

    Args:
        package: The import name that is missing, for example ``"ai_edge_litert"``.
        extra: The edgeclf extra that brings it, for example ``"litert"``.
        purpose: What it is needed for, in a few words.

    Examples:
        >>> from edgeclf import MissingDependencyError
        >>> error = MissingDependencyError("onnxruntime", "onnxruntime", "Running .onnx")
        >>> error.extra, isinstance(error, ImportError)
        ('onnxruntime', True)
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed. "
            f"Install it with: pip install 'edgeclf[{extra}]'"
        )
        self.package = package
        self.extra = extra


class InferenceError(EdgeclfError):
    """A runtime failed while it was computing probabilities."""


class TrainingError(EdgeclfError):
    """Training cannot go on, for example because the loss is not a number."""


class ConversionError(EdgeclfError):
    """A model cannot be converted to the format and precision asked for."""


class QualityGateError(ConversionError):
    """A converted model answers too differently from its source."""


class VerificationError(EdgeclfError):
    """An artifact does not repeat the answers of its certificate on this machine."""


class MeasurementError(EdgeclfError):
    """A figure could not be measured, with the reason."""


class RegistryError(EdgeclfError):
    """A registry of models cannot be reached, or does not hold what was asked for."""


class ServiceError(EdgeclfError):
    """A service cannot start, load a model, switch to it, or answer as asked."""


class FleetError(EdgeclfError):
    """A device takes no update, or a fleet's repository cannot be changed as asked.

    Attributes:
        reason: Why, as one word that programs and reports can count: ``expired``, ``replayed``...
    """

    def __init__(self, message: str, reason: str = "refused") -> None:
        super().__init__(message)
        self.reason = reason


@contextmanager
def mapped(error: type[EdgeclfError], words: str, advice: str = "") -> Iterator[None]:
    """Raises whatever a library raises in the block as one of ours.

    The one place that catches `Exception`: what protobuf, ONNX Runtime, TensorFlow's loaders and
    Pillow's parsers raise on a damaged or unusual file shares no base class below it, and grows
    with every release. So keep the block to the library's own calls. Errors of edgeclf pass.

    Args:
        error: What to raise.
        words: What failed; the library's own message follows behind a colon.
        advice: What to do; it follows that message, which then takes one line.
    """
    try:
        yield
    except EdgeclfError:
        raise
    except Exception as exc:
        reason = str(exc) or type(exc).__name__
        if advice:
            reason = f"{' '.join(reason.split()).rstrip('.')}. {advice}"
        raise error(f"{words}: {reason}") from exc


def listed(names: Iterable[str], separator: str = ", ", shown: int = 8) -> str:
    """Names in one message: the first few, and how many more there are.

    Examples:
        >>> from edgeclf.errors import listed
        >>> listed(["cat", "dog", "cow"], shown=2)
        'cat, dog, and 1 more'
    """
    every = list(names)
    more = [f"and {len(every) - shown:,} more"] if len(every) > shown else []
    return separator.join(every[:shown] + more)
