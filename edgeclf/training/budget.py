"""Designs that a device has room and time for, found by prediction before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from edgeclf.artifact import Format, Precision
from edgeclf.errors import QualityGateError
from edgeclf.metrics.operator_shapes import OperatorShape
from edgeclf.networks.operators import artifact_bytes
from edgeclf.networks.student_design import StudentDesign, operators
from edgeclf.system.words import counted
from edgeclf.training.budget_config import BudgetConfig

INPUT_SIZES = (48, 64, 80, 96, 112, 128, 144, 160)
BLOCKS = (4, 5, 6, 7, 8, 9, 10, 11, 12)  # Lite0's beyond these hold most of its weights
EXPANSIONS = (2, 3, 4, 6)
HEADS = (64, 128, 192)
WIDTHS = (1.0, 0.75, 0.65, 0.5, 0.35, 0.25)  # the widest first
_UNITS = {"latency_ms": "{:.3g} ms", "size_kb": "{:,.0f} kB", "memory_mb": "{:,.1f} MB"}
_NAMES = {"latency_ms": "latency", "size_kb": "size", "memory_mb": "memory"}


class Table(Protocol):
    """What predicts a device's figures: `edgeclf.measurement.latency_table.LatencyTable`."""

    def predict_ms(  # noqa: D102
        self, operators: Sequence[OperatorShape], *, format: Format, precision: Precision
    ) -> float: ...

    def predict_memory_mb(  # noqa: D102
        self,
        operators: Sequence[OperatorShape],
        size_bytes: int,
        *,
        format: Format,
        precision: Precision,
    ) -> float: ...


@dataclass(frozen=True)
class Cost:
    """What one file costs on a device, predicted or measured.

    Attributes:
        latency_ms: Of one picture in the runtime.
        size_kb: Of the file, in 1,000 bytes.
        memory_mb: Of a process that answers pictures, in 10^6 bytes.
    """

    latency_ms: float
    size_kb: float
    memory_mb: float


@dataclass(frozen=True)
class Candidate:
    """A design with what it is predicted to cost.

    Attributes:
        design: Which.
        costs: Of each target, in the order they were asked for.
        load: The largest share of a limit that any of them takes; above 1, it is over it.
        limit: The name of that limit.
        multiply_adds: For one photo.
    """

    design: StudentDesign
    costs: Mapping[str, Cost]
    load: float
    limit: str
    multiply_adds: int

    @property
    def latency_ms(self) -> float:
        """Of the first target."""
        return next(iter(self.costs.values())).latency_ms


class Budget:
    """The limits, and the device's table that tells what keeps to them.

    Args:
        config: Names the limits and the targets.
        table: Of the device.
        classes: Outputs of every student.
    """

    def __init__(self, config: BudgetConfig, table: Table, classes: int) -> None:
        given = {name: getattr(config, f"max_{name}") for name in _UNITS}
        self.limits: dict[str, float] = {k: v for k, v in given.items() if v is not None}
        self._targets = tuple(config.to)
        self._table, self._classes = table, classes

    def candidate(self, design: StudentDesign) -> Candidate:
        """A design with its predicted cost."""
        found = operators(design, self._classes)
        costs = {target: self._cost(found, target) for target in self._targets}
        load, limit = max(self.load(cost) for cost in costs.values())
        return Candidate(design, costs, load, limit, sum(each.multiply_adds for each in found))

    def load(self, cost: Cost) -> tuple[float, str]:
        """The largest share of a limit that a cost takes, and the limit's name."""
        return max((getattr(cost, name) / most, name) for name, most in self.limits.items())

    def words(self, cost: Cost, name: str) -> str:
        """A figure beside its limit, as ``latency 0.61 ms (at most 0.5 ms)``."""
        unit, value, most = _UNITS[name], getattr(cost, name), self.limits[name]
        shown, limit = unit.format(value), unit.format(most)
        if shown == limit and value > most:  # by less than those digits tell
            shown = f"{value:.8g} {unit.split()[-1]}"
        return f"{_NAMES[name]} {shown} (at most {limit})"

    def over(self, costs: Mapping[str, Cost]) -> list[str]:
        """What bars a design or a student: each file and figure that is over its limit, in words.

        Args:
            costs: Of its files.
        """
        return [
            f"as {target}, {self.words(cost, name)}"
            for target, cost in costs.items()
            for name, most in self.limits.items()
            if getattr(cost, name) > most
        ]

    def __str__(self) -> str:
        parts = [f"{_NAMES[n]} at most {_UNITS[n].format(m)}" for n, m in self.limits.items()]
        return ", ".join(parts)

    def _cost(self, found: tuple[OperatorShape, ...], target: str) -> Cost:
        precision, _, format_ = target.partition(".")
        as_file: dict[str, Any] = {"format": cast(Format, format_),
                                   "precision": cast(Precision, precision)}  # fmt: skip
        size = artifact_bytes(found, **as_file)
        return Cost(
            latency_ms=self._table.predict_ms(found, **as_file),
            size_kb=size / 1e3,
            memory_mb=self._table.predict_memory_mb(found, size, **as_file),
        )


@dataclass(frozen=True)
class Room:
    """All designs of the family, and which of them keep to a budget.

    Attributes:
        within: Those that do, the most multiply-adds first.
        looked_at: How many were held against it.
    """

    within: tuple[Candidate, ...]
    looked_at: int

    def values(self, name: str) -> tuple[Any, ...]:
        """The values of a field of the designs that keep to the budget, in order."""
        return tuple(sorted({getattr(each.design, name) for each in self.within}))

    def find(self, share: float, **fixed: Any) -> Candidate | None:
        """Of the designs with these fields the one with the most multiply-adds.

        Args:
            share: Of the budget, that it may take.
            **fixed: Names and values.
        """
        for each in self.within:
            same = all(getattr(each.design, name) == value for name, value in fixed.items())
            if each.load <= share and same:
                return each
        return None


def find_room(budget: Budget) -> Room:
    """Holds every design against a budget.

    Raises:
        QualityGateError: None keeps to it; the message tells the nearest, and what bars it.
    """
    every = [budget.candidate(design) for design in all_designs()]
    within = [each for each in every if each.load <= 1]
    if not within:
        raise QualityGateError(_nothing_fits(budget, every))
    within.sort(key=lambda each: (-each.multiply_adds, str(each.design)))
    return Room(tuple(within), len(every))


def all_designs() -> Iterator[StudentDesign]:
    """Every design that is looked at."""
    for size in INPUT_SIZES:
        for blocks in BLOCKS:
            for width in WIDTHS:
                stem = 32 if width == 1 else 24 if width > 0.5 else 16
                for expansion in EXPANSIONS:
                    for head in HEADS:
                        yield StudentDesign(size, width, blocks, head, stem, expansion)


def _nothing_fits(budget: Budget, every: Sequence[Candidate]) -> str:
    nearest = min(every, key=lambda each: each.load)
    bars = budget.over(nearest.costs)
    return (
        f"None of {counted(len(every), 'design')} is predicted to keep to the budget: {budget}. "
        f"The nearest is {nearest.design}: {'; '.join(bars)}. Raise that limit"
        f"{' and the others' if len(bars) > 1 else ''}, or ask for another file with --to. "
        "Nothing was trained."
    )
