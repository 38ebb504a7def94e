"""A device that was never measured: a table whose figures follow from multiply-adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeclf.metrics.operator_shapes import OperatorShape


class MadeUpTable:
    """Stands for `edgeclf.measurement.latency_table.LatencyTable`: 10 million a millisecond."""

    device: Mapping[str, Any] = {
        "cpu": "one that nobody has", "threads": 1, "engines": {"litert": "0"}, "date": "2026-01-01"
    }  # fmt: skip

    def unlike_here(self) -> list[str]:
        """Its processor."""
        return ["CPU is yours here, one that nobody has there"]

    def predict_ms(
        self, operators: Sequence[OperatorShape], *, format: str, precision: str
    ) -> float:
        """More in float."""
        factor = 1.0 if precision == "int8" else 2.5
        return factor * sum(each.multiply_adds for each in operators) / 1e7

    def predict_memory_mb(
        self, operators: Sequence[OperatorShape], size_bytes: int, *, format: str, precision: str
    ) -> float:
        """A process, and the file in it twice."""
        return 25.0 + 2 * size_bytes / 1e6
