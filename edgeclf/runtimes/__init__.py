"""Runtimes by name: the built-in ones, and those that other distributions register.

A third party adds a runtime with one class and one entry point in the group
``edgeclf.runtimes``; see `edgeclf.runtimes.base.Runtime` for the seam.
"""

from __future__ import annotations

from typing import Any, cast

from edgeclf.artifact import Artifact, Format
from edgeclf.errors import EdgeclfError, RuntimeLoadError
from edgeclf.runtimes.base import Device, Runtime, RuntimeInfo
from edgeclf.system.plugins import Plugins

__all__ = [
    "DEFAULT_RUNTIME",
    "Device",
    "Runtime",
    "RuntimeInfo",
    "import_runtime",
    "load_runtime",
    "runtime_names",
    "runtimes_for",
    "takes_format",
]

_RUNTIMES = Plugins(
    "edgeclf.runtimes",
    {
        "fake": "edgeclf.runtimes.fake:FakeRuntime",
        "litert": "edgeclf.runtimes.litert:LiteRTRuntime",
        "onnxruntime": "edgeclf.runtimes.onnxruntime:OnnxRuntime",
        "onnxruntime-spinning": "edgeclf.runtimes.onnxruntime:SpinningOnnxRuntime",
        "tensorflow": "edgeclf.runtimes.tensorflow:TensorFlowRuntime",
        "tflite-micro": "edgeclf.runtimes.tflite_micro:TFLiteMicroRuntime",
    },
)

DEFAULT_RUNTIME: dict[Format, str] = {
    "tflite": "litert",
    "onnx": "onnxruntime",
    "keras": "tensorflow",
}


def runtime_names() -> tuple[str, ...]:
    """The names `load_runtime` takes, built-in and registered, sorted."""
    return _RUNTIMES.names()


def load_runtime(
    name: str, artifact: Artifact, *, device: Device = "cpu", threads: int | None = None
) -> Runtime:
    """Loads an artifact into the runtime of that name.

    Args:
        name: One of `runtime_names`.
        artifact: What to load.
        device: Where it must run; anything else is an error, never a quiet change.
        threads: Threads for one call; by default what this process may use.

    Raises:
        RuntimeLoadError: No such runtime, or it cannot load this artifact as asked.
        MissingDependencyError: Its package is not installed.

    Examples:
        >>> from edgeclf.runtimes import load_runtime
        >>> from edgeclf.runtimes.fake import fake_artifact
        >>> load_runtime("fake", fake_artifact(["dark", "bright"])).describe().name
        'fake'
    """
    runtime_class = _find(name)
    return cast(Runtime, runtime_class(artifact, device=device, threads=threads))


def import_runtime(name: str) -> Any:
    """Imports a runtime's class and, where it says how, the engine behind it.

    Loading a model does that too; apart, its cost in memory and time can be measured.

    Args:
        name: One of `runtime_names`.

    Returns:
        The class.
    """
    runtime_class = _find(name)
    getattr(runtime_class, "import_engine", lambda: None)()
    return runtime_class


def takes_format(name: str, format_: Format) -> bool:
    """Whether a runtime takes artifacts of a format by its own word, installed or not.

    One that names no formats is believed to take all.

    Raises:
        RuntimeLoadError: There is no runtime of that name.
    """
    formats = getattr(_find(name), "formats", ())
    return not formats or format_ in formats


def runtimes_for(format_: Format) -> tuple[str, ...]:
    """The names of the runtimes that take artifacts of a format and are installed."""
    return tuple(name for name in runtime_names() if _takes(name, format_))


def _takes(name: str, format_: Format) -> bool:
    """By the runtime's own word, and only if its engine can be imported."""
    try:
        if format_ not in getattr(_find(name), "formats", ()):
            return False
        import_runtime(name)
    except EdgeclfError:
        return False
    return True


def _find(name: str) -> Any:
    try:
        return _RUNTIMES.find(name)
    except KeyError:
        raise RuntimeLoadError(
            f"There is no runtime {name!r}; expected one of {', '.join(runtime_names())}, or auto."
        ) from None
