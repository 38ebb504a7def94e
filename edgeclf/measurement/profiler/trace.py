"""What an engine's own profiler gives: the operators it ran, and the time of each in each call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Arithmetic = Literal["int8", "fp32", "fp16"]


@dataclass(frozen=True)
class Step:
    """One operator as the engine runs it, which may be several of the file's in one.

    Attributes:
        type: The engine's name of it, as ``Convolution (NHWC, QC8) DWConv`` or ``QLinearConv``.
        name: Of the file's operator it comes from, "" where that is not known.
        arithmetic: What it multiplies; None where nothing says so.
        multiply_adds: For one image; 0 where nothing is multiplied, None where that is not known.
        by: What ran it, as ``XNNPACK``.
    """

    type: str
    name: str
    arithmetic: Arithmetic | None
    multiply_adds: int | None
    by: str


@dataclass(frozen=True)
class Trace:
    """A model's operators in the order they ran, and their times.

    Attributes:
        steps: The operators.
        times_us: float64 [calls, operators], whole microseconds as the engines record them.
    """

    steps: tuple[Step, ...]
    times_us: npt.NDArray[np.float64]


class Profiler(Protocol):
    """A model loaded twice into one engine: as it runs for users, and with its profiler on."""

    library: str
    fast_path: str  # what the engine runs operators by when all is well

    def call(self) -> None:
        """Runs the model on one image without the profiler."""
        ...

    def call_profiled(self) -> None:
        """Runs it on one image with the profiler on."""
        ...

    def trace(self) -> Trace:
        """What was recorded in all profiled calls; ends the recording."""
        ...


def random_tensor(shape: Sequence[int], dtype: Any) -> npt.NDArray[Any]:
    """The same noise every time: all values of an integer type, 0..1 of a float one."""
    rng = np.random.default_rng(0)
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, tuple(shape), dtype, endpoint=True)
    return rng.random(tuple(shape)).astype(dtype)


def quiet_means(times: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The mean of each column over the quieter half of the rows.

    The rows kept are those whose sum is no larger than the median of the sums: a disturbed call is
    left out with all its columns, so the means still sum to the mean of a call.

    Args:
        times: [calls, operators], at least one call.
    """
    sums = times.sum(axis=1)
    means: npt.NDArray[np.float64] = times[sums <= np.median(sums)].mean(axis=0)
    return means
