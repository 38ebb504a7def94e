"""What one look at the calibration photos tells of a float graph, for every recipe and format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from edgeclf.converters.calibration import CalibrationMethod, Ranges
from edgeclf.converters.gptq import Factor


@dataclass(frozen=True)
class Known:
    """What was measured.

    Attributes:
        ranges: By each method but ``percentile``, each tensor's range.
        factors: What a layer's weights are rounded by, by the layer's name.
        means: Of a tensor's channels, float [channels].
    """

    ranges: dict[CalibrationMethod, Ranges] = field(repr=False)
    factors: dict[str, Factor] = field(repr=False)
    means: dict[str, Any] = field(repr=False)

    def update(self, other: Known) -> None:
        """Takes what another look told of what this one did not see."""
        for method, ranges in other.ranges.items():
            self.ranges.setdefault(method, {}).update(ranges)
        self.factors.update(other.factors)
        self.means.update(other.means)


class ChannelMeans:
    """The means of some tensors' channels, over positions and images.

    Args:
        names: Of the tensors.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._sums: dict[str, Any] = dict.fromkeys(names, 0.0)
        self._images = 0

    def add(self, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        """Adds one image's tensors, of shapes that end in [channels]."""
        self._images += 1
        for name in self._sums:
            values = tensors[name]
            self._sums[name] += values.mean(axis=tuple(range(values.ndim - 1)))

    def means(self) -> dict[str, Any]:
        """By the tensor's name, float [channels]."""
        return {name: total / self._images for name, total in self._sums.items()}
