"""What the checks of a runtime share: pictures to ask about, and what to expect of the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from edgeclf.artifact import Artifact
from edgeclf.errors import EdgeclfError
from edgeclf.image import UInt8Array
from edgeclf.runtimes import Runtime
from edgeclf.runtimes.base import Float32Array

Load = Callable[..., Runtime]

_TOLERANCE = 1e-5  # of a probability, between two ways to ask for the same


def pictures(artifact: Artifact, count: int) -> UInt8Array:
    """Coarse random patterns between dark and bright, uint8 [count, H, W, 3].

    Unlike noise, which is one grey for a network, they get different answers, so that an answer
    to the wrong picture shows.
    """
    image = artifact.metadata.image
    rng = np.random.default_rng(0)
    images: UInt8Array = np.empty((count, image.height, image.width, 3), np.uint8)
    rows, columns = (np.arange(size) * 4 // size for size in (image.height, image.width))
    for number, picture in enumerate(images):
        low = 224 * number // max(1, count - 1)
        blocks = rng.integers(low, low + 32, (4, 4, 3), np.uint8)
        picture[:] = blocks[rows][:, columns]
    return images


@contextmanager
def loaded(load: Load, **options: Any) -> Iterator[Runtime]:
    """A runtime that is closed afterwards."""
    runtime = load(**options)
    try:
        yield runtime
    finally:
        runtime.close()


def answers(runtime: Runtime, images: UInt8Array) -> Float32Array:
    """An answer to what a runtime must take."""
    try:
        return runtime.run(images)
    except EdgeclfError as exc:
        raise AssertionError(
            f"run() refused {images.dtype} {images.shape} with strides {images.strides}, "
            f"writeable={images.flags.writeable}: {exc}"
        ) from exc


def assert_close(
    answer: Float32Array, expected: Float32Array, words: str, tolerance: float = _TOLERANCE
) -> None:
    """Holds two answers against each other that must be the same.

    Args:
        answer: float32 [N, classes].
        expected: Likewise.
        words: What the two are answers to.
        tolerance: Of a probability.
    """
    assert answer.shape == expected.shape, f"{words} have shapes {answer.shape}, {expected.shape}."
    difference = float(np.abs(answer - expected).max(initial=0))
    assert difference <= tolerance, (
        f"{words} differ by {difference:.6f} in a probability (allowed: {tolerance})."
    )


def assert_raises(expected: type[Exception], action: Callable[[], Any], words: str) -> None:
    """Expects an error, and says by its type what came instead."""
    try:
        action()
    except expected:
        return
    except Exception as exc:
        raise AssertionError(
            f"{words} raised {type(exc).__name__} ({exc}); expected {expected.__name__}."
        ) from exc
    raise AssertionError(f"{words} raised nothing; expected {expected.__name__}.")
