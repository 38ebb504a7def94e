"""Predicts the time of a call from the shapes of its operators, by what probe networks took.

In three steps, all of them small least squares:

1. A line for each kind of operator: overhead, multiply-adds, numbers read, numbers written and
   weights, none of them negative, fitted to relative errors. That is a roofline in sums.
2. What the line misses is interpolated between the operators that were measured: a Gaussian process
   over logarithms of the shape (Rasmussen and Williams 2006, algorithm 2.1), which knows how far
   channels fill up a kernel's blocks of 16 and 32, and falls back to the line far from them.
3. Profilers add to what they time, and an engine does more than its operators. So sums by kind
   and counts of operators are weighted to give the calls that were timed without a profiler, as
   little changed as those calls allow (ridge regression).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, prod

import numpy as np
import numpy.typing as npt

from edgeclf.metrics.operator_shapes import OperatorShape

Floats = npt.NDArray[np.float64]

# Each with a line and a process of its own; those in front take nearly all of the time.
_HEAVY = ("conv", "stem", "depthwise")
_LIGHT = ("quantize", "add", "pool", "dense", "softmax")
_RESOLUTION_MS = 5e-4  # half of a profiler's microsecond, which it rounds down by
_LENGTH, _SPREAD, _NOISE = 1.5, 0.3, 0.1  # of the process, in logarithms
_BLOCKS = (16, 32)  # channels that kernels compute at once
_SWEEPS = 300
# What is expected of the weights of step 3, and how far they may be from that: of a call, the
# heavy kinds, the light ones together, and the number of operators of each sort.
_EXPECTED = np.array([0.01, 1, 1, 1, 1, 0, 0])
_LEEWAY = np.array([0.02, 0.2, 0.2, 0.2, 0.3, 0.003, 0.003])
_CALL_NOISE = 0.03  # of a call's time
_LEAST = 0.3  # of the operators' sum that a call takes at least, where weights are stretched


@dataclass(frozen=True)
class Timed:
    """A network that was timed.

    Attributes:
        operators: What it runs.
        operators_ms: The time of each, by the engine's profiler.
        call_ms: Of a call without it.
    """

    operators: tuple[OperatorShape, ...]
    operators_ms: tuple[float, ...]
    call_ms: float


class LatencyModel:
    """What a network takes in one engine and one precision.

    Args:
        networks: That were timed there, some ten at least.
    """

    def __init__(self, networks: Sequence[Timed]) -> None:
        self._kinds = {}
        for kind in (*_HEAVY, *_LIGHT):
            pairs = [
                (operator, ms)
                for network in networks
                for operator, ms in zip(network.operators, network.operators_ms, strict=True)
                if _kind(operator) == kind
            ]
            self._kinds[kind] = _Kind([o for o, _ in pairs], np.array([ms for _, ms in pairs]))
        rows = np.array([self._sums(network.operators) for network in networks])
        calls = np.array([network.call_ms for network in networks])
        weight = 1 / (calls * _CALL_NOISE)
        self._weights = np.linalg.lstsq(
            np.vstack([rows * weight[:, np.newaxis], np.diag(1 / _LEEWAY)]),
            np.concatenate([calls * weight, _EXPECTED / _LEEWAY]),
            rcond=None,
        )[0]

    def predict_ms(self, operators: Sequence[OperatorShape]) -> float:
        """The time of one call of a network of those operators, in milliseconds."""
        sums = self._sums(operators)
        return float(max(sums @ self._weights, _LEAST * sums[1:5].sum()))

    def _sums(self, operators: Sequence[OperatorShape]) -> Floats:
        """What step 3 weighs; as many as `_EXPECTED`."""
        sums = {}
        for kind, model in self._kinds.items():
            sums[kind] = float(model.predict([o for o in operators if _kind(o) == kind]).sum())
        heavy = sum(_kind(o) in _HEAVY for o in operators)
        return np.array([1.0, *(sums[kind] for kind in _HEAVY), sum(sums[kind] for kind in _LIGHT),
                         heavy, len(operators) - heavy])  # fmt: skip


class _Kind:
    """Operators of one kind: steps 1 and 2."""

    def __init__(self, operators: Sequence[OperatorShape], times_ms: Floats) -> None:
        self._line = np.zeros(5)
        if not operators:
            return
        times = times_ms + _RESOLUTION_MS
        terms = np.array([_terms(o) for o in operators])
        self._line = non_negative(terms / times[:, np.newaxis], np.ones(len(times)))
        self._places = np.array([_place(o) for o in operators])
        missed = np.log(times / (terms @ self._line))
        near = _nearness(self._places, self._places)
        near[np.diag_indices_from(near)] += (_NOISE / _SPREAD) ** 2
        self._pulls = np.linalg.solve(near, missed)

    def predict(self, operators: Sequence[OperatorShape]) -> Floats:
        """The time of each operator, in ms."""
        if not operators or not self._line.any():
            return np.zeros(len(operators))
        line = np.array([_terms(o) for o in operators]) @ self._line
        places = np.array([_place(o) for o in operators])
        made: Floats = line * np.exp(_nearness(places, self._places) @ self._pulls)
        return made


def _kind(o: OperatorShape) -> str:
    return "stem" if o.kind == "conv" and o.kernel > 1 else o.kind


def _terms(o: OperatorShape) -> tuple[float, ...]:
    return (1.0, o.multiply_adds / 1e5, prod(o.input) / 1e4, prod(o.output) / 1e4, o.weights / 1e4)


def _place(o: OperatorShape) -> tuple[float, ...]:
    """Where an operator lies among its kind; near ones take like times a multiply-add."""
    side = o.input if o.kind == "pool" else o.output
    positions, read, written = side[0] * side[1], o.input[2], o.output[2]
    first, second = _BLOCKS
    place = (log(positions), log(written), 2 * _unfilled(written, first),
             _unfilled(written, second), 1.0 * (written % first > 0))  # fmt: skip
    if o.kind == "conv":
        return (*place, log(read), _unfilled(read, first), 0.7 * (read % first > 0))
    return (*place, 1.0 * (o.kernel == 5), 1.5 * (o.stride == 2))


def _unfilled(channels: int, block: int) -> float:
    return log(-(-channels // block) * block / channels)


def _nearness(these: Floats, those: Floats) -> Floats:
    squares = (these**2).sum(1)[:, np.newaxis] + (those**2).sum(1) - 2 * these @ those.T
    near: Floats = np.exp(-np.maximum(squares, 0) / (2 * _LENGTH**2))
    return near


def non_negative(rows: Floats, wanted: Floats) -> Floats:
    """Least squares with no weight below zero, one weight after the other (coordinate descent)."""
    square, given = rows.T @ rows, rows.T @ wanted
    weights = np.zeros(rows.shape[1])
    for _ in range(_SWEEPS):
        for i in range(len(weights)):
            if square[i, i] > 0:
                step = (given[i] - square[i] @ weights) / square[i, i]
                weights[i] = max(0.0, weights[i] + step)
    return weights
