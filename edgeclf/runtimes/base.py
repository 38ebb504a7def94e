"""The seam every runtime fills: one verb, a description, and an end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from edgeclf.artifact import Features
from edgeclf.errors import InferenceError, RuntimeLoadError
from edgeclf.image import ImageSpec, UInt8Array
from edgeclf.system.device import Device as Device

Float32Array = npt.NDArray[np.float32]
RunWithFeatures = Callable[[UInt8Array], tuple[Float32Array, Float32Array]]


@dataclass(frozen=True)
class RuntimeInfo:
    """What really runs, not what was asked for.

    Attributes:
        name: edgeclf's name of the runtime, for example ``litert``.
        library: The distribution behind it, for example ``ai-edge-litert``.
        library_version: Its version.
        device: Where the operations run.
        delegate: The engine's own name for what executes the graph.
        threads: Threads the engine may use for one call.
        waiting: What threads without work do, ``sleeping`` or ``spinning within a call``; empty
            where the engine does not let one choose.
        reason: Why this runtime was taken; the classifier fills it in.
    """

    name: str
    library: str
    library_version: str
    device: Device
    delegate: str
    threads: int
    reason: str = ""
    waiting: str = ""


@runtime_checkable
class Runtime(Protocol):
    """A loaded model. Built by calling a class with ``(artifact, device=..., threads=...)``.

    The class may say more about itself: ``formats``, a tuple of the artifact formats it takes;
    ``import_engine()``, a static method that only imports the engine, or raises
    `MissingDependencyError`; and ``accelerators()``, a static method that names the devices beside
    the cpu that the installed engine was built for, for `edgeclf doctor`.

    It may also have ``run_with_features(images)``, which gives the probabilities as `run` does and
    the features float32 [N, h, w, c] that the artifact's `Features` name; see `features_of`.
    """

    def run(self, images: UInt8Array) -> Float32Array:
        """Computes probabilities.

        Args:
            images: uint8 RGB [N, H, W, 3], 0..255, of the artifact's input size.

        Returns:
            float32 [N, classes]; each row sums to 1.

        Raises:
            InferenceError: `images` is something else (see `check_images`), or the engine failed.
        """
        ...

    def describe(self) -> RuntimeInfo:
        """What this runtime really runs on."""
        ...

    def close(self) -> None:
        """Frees the engine; the runtime cannot be used afterwards."""
        ...


def check_images(images: Any, spec: ImageSpec) -> None:
    """Checks what a runtime was given, as some engines cast or misread what they do not expect.

    Args:
        images: Expected to be uint8 [N, H, W, 3] of the model's input size; N may be 0, and the
            memory need not be contiguous.
        spec: The artifact's input.

    Raises:
        InferenceError: It is something else.

    Examples:
        >>> import numpy as np
        >>> from edgeclf import ImageSpec, InferenceError
        >>> from edgeclf.runtimes.base import check_images
        >>> check_images(np.zeros((4, 96, 96, 3), np.uint8), ImageSpec(96, 96))
        >>> try:
        ...     check_images(np.zeros((4, 96, 96, 3)), ImageSpec(96, 96))
        ... except InferenceError as error:
        ...     print(error)
        The runtime received float64 (4, 96, 96, 3); expected uint8 ('N', 96, 96, 3).
    """
    expected = (spec.height, spec.width, 3)
    if not isinstance(images, np.ndarray):
        received = type(images).__name__
    elif images.dtype != np.uint8 or images.shape[1:] != expected:
        received = f"{images.dtype} {images.shape}"
    else:
        return
    raise InferenceError(f"The runtime received {received}; expected uint8 {('N', *expected)}.")


def as_probabilities(output: Any, count: int, classes: int) -> Float32Array:
    """Checks what an engine returned against the contract.

    Args:
        output: The engine's output.
        count: Expected number of rows.
        classes: Expected number of columns.

    Returns:
        `output` as float32 [count, classes].

    Raises:
        InferenceError: Another shape, or values that are not finite.

    Examples:
        >>> from edgeclf.runtimes.base import as_probabilities
        >>> as_probabilities([[0.25, 0.75]], count=1, classes=2).dtype
        dtype('float32')
    """
    probabilities: Float32Array = np.asarray(output, dtype=np.float32)
    if probabilities.shape != (count, classes):
        raise InferenceError(
            f"The model returned shape {probabilities.shape}; expected ({count}, {classes}), "
            "a row of probabilities for each image. Labels and model do not fit together."
        )
    if not np.isfinite(probabilities).all():
        raise InferenceError("The model returned values that are not finite numbers.")
    return probabilities


def gives_features(runtime: Runtime) -> bool:
    """Whether a runtime has the method that `features_of` takes."""
    return getattr(runtime, "run_with_features", None) is not None


def features_of(runtime: Runtime) -> RunWithFeatures:
    """The method of a runtime that gives features beside the probabilities.

    Returns:
        From uint8 [N, H, W, 3] to probabilities float32 [N, classes] and features float32
        [N, h, w, c]. It raises `ArtifactError` where the file has none, or is not the one that was
        converted.

    Raises:
        RuntimeLoadError: This runtime has no such method.
    """
    method: RunWithFeatures | None = getattr(runtime, "run_with_features", None)
    if method is None:
        raise RuntimeLoadError(
            f"The runtime {runtime.describe().name} does not give features; litert, onnxruntime "
            "and tensorflow do."
        )
    return method


def as_features(parts: Sequence[Any], count: int, features: Features) -> Float32Array:
    """Checks the features that an engine returned against what the file says of them.

    Args:
        parts: What it gave for some images after others, in the layout of its graph.
        count: Expected number of images.
        features: What the file says.

    Returns:
        All of them as float32 [count, h, w, c].

    Raises:
        InferenceError: Another shape, or values that are not finite.
    """
    if not count:
        return np.empty((0, *features.shape), np.float32)
    found: Float32Array = np.concatenate(parts, dtype=np.float32)
    if features.layout == "nchw" and found.ndim == 4:
        found = np.ascontiguousarray(found.transpose(0, 2, 3, 1))
    if found.shape != (count, *features.shape) or not np.isfinite(found).all():
        raise InferenceError(
            f"The model returned features of shape {found.shape}, or values that are not finite "
            f"numbers; expected {(count, *features.shape)}, as the file says."
        )
    return found
