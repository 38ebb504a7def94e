"""Which rate comes next, until the knee is found: the most that a server answers in time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgeclf.measurement.workloads.load_record import open_steps, why_beyond

_REFINEMENTS = 3
_CLOSE = 1.08  # two rates that are no farther apart need none between them


class Ramp:
    """Doubles the rate until a step lies beyond the knee, then halves what is between.

    Args:
        first: The first rate, in requests a second.
        last: No rate is higher.
        deadline_ms: An answer after it is late.
    """

    def __init__(self, first: float, last: float, deadline_ms: float) -> None:
        self._first = first
        self._last = last
        self._deadline_ms = deadline_ms

    @property
    def most_steps(self) -> int:
        """There are never more."""
        return math.ceil(math.log2(self._last / self._first)) + 1 + _REFINEMENTS

    def next_rate(self, steps: Sequence[Mapping[str, Any]]) -> float | None:
        """The next step's rate; None if the knee is found, or cannot be.

        Args:
            steps: Those done so far.
        """
        rates = [step["rate_per_s"] for step in open_steps(steps)]
        if not rates:
            return self._first
        held, beyond = _borders(steps, self._deadline_ms)
        if beyond is None:
            highest = max(rates)
            return None if highest >= self._last else min(2 * highest, self._last)
        if held is None:
            return None
        doubled = math.ceil(math.log2(max(rates) / self._first) - 1e-9) + 1
        if len(rates) - doubled >= _REFINEMENTS or beyond / held <= _CLOSE:
            return None
        return float(f"{math.sqrt(held * beyond):.3g}")


def find_knee(steps: Sequence[Mapping[str, Any]], deadline_ms: float) -> dict[str, Any] | None:
    """The highest rate below all that lie beyond the knee.

    Args:
        steps: Of a test; those of the open loop count.
        deadline_ms: An answer after it is late.

    Returns:
        ``rate_per_s`` (None: even the lowest lies beyond), ``beyond_per_s`` (None: none does) and
        ``why`` in words; None without a step.
    """
    if not open_steps(steps):
        return None
    held, beyond = _borders(steps, deadline_ms)
    first = next((s for s in open_steps(steps) if s["rate_per_s"] == beyond), None)
    return {
        "rate_per_s": held,
        "beyond_per_s": beyond,
        "why": None if first is None else why_beyond(first, deadline_ms),
    }


def _borders(
    steps: Sequence[Mapping[str, Any]], deadline_ms: float
) -> tuple[float | None, float | None]:
    """The highest rate that held before one did not, and the lowest that did not."""
    held: float | None = None
    for step in open_steps(steps):
        if why_beyond(step, deadline_ms):
            return held, step["rate_per_s"]
        held = step["rate_per_s"]
    return held, None
