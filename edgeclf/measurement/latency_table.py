"""A device's latency table: what operators take there, and so what a network will take.

`edgeclf.measurement.table_run` measures one; docs/benchmarking.md describes the file.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf.errors import OptionError
from edgeclf.measurement.latency_model import LatencyModel, Timed, non_negative
from edgeclf.metrics.operator_shapes import KINDS, OperatorShape
from edgeclf.system import files

SCHEMA = "edgeclf.latency-table/2"
_HINT = (
    "Expected a device file of this version of edgeclf: run 'edgeclf profile --table --out "
    "pi.json' on the device."
)
_FOLDS = 5
_MEGA = 1e6
_MOST = 1e9  # of ms and MB


class LatencyTable:
    """Predicts latency and memory of networks on the device that it was measured on.

    Args:
        document: What the file holds.

    Raises:
        OptionError: It is damaged.

    Attributes:
        device: ``cpu``, ``cpu_flags``, ``engines`` (versions by name), ``threads``, ``date`` and
            ``edgeclf``.
        errors: By ``format.precision``: how far ``latency`` and ``memory`` of probe networks are
            from what is predicted without them; ``median`` and ``worst`` as shares of the measured,
            and of how many ``networks``.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self._models: dict[str, LatencyModel] = {}
        self._weights: dict[str, Any] = {}  # of memory
        try:
            self.device: Mapping[str, Any] = _device(document["device"])
            self.errors: Mapping[str, Any] = dict(document["errors"])
            self._networks = [_network(each) for each in document["networks"]]
            self._memory = {
                key: [_numbers(row, "memory", count=3, above=0) for row in rows]
                for key, rows in document["memory"].items()
            }
        except KeyError as exc:
            raise OptionError(f"The device file is damaged: {exc} is missing. {_HINT}") from exc
        except ValueError as exc:
            raise OptionError(f"The device file is damaged: {exc}. {_HINT}") from exc
        except (TypeError, AttributeError) as exc:  # a list instead of a mapping, and the like
            raise OptionError(
                f"The device file is damaged: a part of it is of another type ({exc}). {_HINT}"
            ) from exc

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LatencyTable:
        """Reads a device file.

        Raises:
            OptionError: It cannot be read, is none, is damaged, or another version's.
        """
        document = files.read_record(Path(path), SCHEMA, "networks", _HINT)
        try:
            return cls(document)
        except OptionError as exc:
            raise OptionError(f"{path}: {exc}") from exc

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the device file in one step."""
        files.write_json(Path(path), self.document)

    def unlike_here(self) -> list[str]:
        """What this machine has else than the one of the table, one reason a line; [] if nothing.

        Times that are measured here are then no test of what the table predicts.
        """
        from edgeclf.system.environment import environment

        here = environment()
        engines = self.device.get("engines", {})
        pairs = [("CPU", self.device.get("cpu"), here["cpu"])]
        pairs += [(name, version, here["libraries"].get(name)) for name, version in engines.items()]
        return [f"{what} is {own} here, {its} there" for what, its, own in pairs if its != own]

    @cached_property
    def measured(self) -> tuple[str, ...]:
        """What it has, as ``format.precision``."""
        return tuple(sorted({key for _, times in self._networks for key in times}))

    def predict_ms(
        self, operators: Iterable[OperatorShape], *, format: str, precision: str
    ) -> float:
        """The time of one `Runtime.run` of one image, in milliseconds.

        Args:
            operators: Of the network, as `edgeclf.networks.operators.operators_of` gives them.
            format: ``tflite`` (LiteRT) or ``onnx`` (ONNX Runtime).
            precision: ``int8`` or ``fp32``.

        Raises:
            OptionError: The table has nothing of that format and precision.
        """
        key = self._key(format, precision)
        if key not in self._models:
            self._models[key] = LatencyModel(self.timed(key))
        return self._models[key].predict_ms(tuple(operators))

    def predict_memory_mb(
        self,
        operators: Iterable[OperatorShape],
        size_bytes: int,
        *,
        format: str,
        precision: str,
    ) -> float:
        """The proportional set size of a process that classifies by the network, in MB (10^6).

        It is what the engine, Python and edgeclf take there, and a share of the file and of the
        largest pair of tensors that is alive at once.

        Args:
            operators: As for `predict_ms`.
            size_bytes: Of the file, as `edgeclf.networks.operators.size_bytes_of` gives it.
            format: As for `predict_ms`.
            precision: As for `predict_ms`.

        Raises:
            OptionError: The table has nothing of that format and precision, or no memory.
        """
        key = self._key(format, precision)
        if not self._memory.get(key):
            raise OptionError(f"The device file has no memory measured of {key}. {_HINT}")
        if key not in self._weights:
            self._weights[key] = memory_weights(np.array(self._memory[key], float))
        number_bytes = 1 if precision == "int8" else 4
        given = np.array([1.0, size_bytes / _MEGA, largest_pair(operators) * number_bytes / _MEGA])
        return float(given @ self._weights[key])

    def timed(self, key: str) -> list[Timed]:
        """The probe networks of one ``format.precision``."""
        return [
            Timed(operators, tuple(times[key]["operators_ms"]), times[key]["call_ms"])
            for operators, times in self._networks
            if key in times
        ]

    def _key(self, format: str, precision: str) -> str:
        key = f"{format}.{precision}"
        if key not in self.measured:
            raise OptionError(
                f"The device file has no times of {key}, only of {', '.join(self.measured)}. "
                "Install that engine on the device and measure again."
            )
        return key


def _device(found: Any) -> dict[str, Any]:
    device = dict(found)
    words = device["cpu"], device["date"], *device["engines"].values()
    if not all(isinstance(each, str) for each in words):
        raise ValueError(f"cpu, date and engines are {words}, which are no words")
    if type(device["threads"]) is not int or device["threads"] < 1:
        raise ValueError(f"threads is {device['threads']!r}")
    return device


def _network(found: Any) -> tuple[tuple[OperatorShape, ...], dict[str, Any]]:
    """Operators, and ``call_ms`` and ``operators_ms`` by ``format.precision``."""
    operators = tuple(read_operator(text) for text in found["operators"])
    times = {}
    for key, each in found["times"].items():
        (call_ms,) = _numbers([each["call_ms"]], "call_ms", above=0)
        own = _numbers(each["operators_ms"], "operators_ms", count=len(operators) or 1)
        times[key] = {"call_ms": call_ms, "operators_ms": own}
    return operators, times


def _numbers(
    found: Any, name: str, *, count: int | None = None, above: float = -1e-9
) -> tuple[float, ...]:
    """Finite numbers, not below zero.

    Raises:
        ValueError: They are not, or not so many.
    """
    numbers = list(found)
    for each in numbers:
        if type(each) not in (int, float) or not above < each < _MOST:
            raise ValueError(f"{name} holds {each!r}")
    if count not in (None, len(numbers)):
        raise ValueError(f"{name} holds {len(numbers)} numbers, not {count}")
    return tuple(map(float, numbers))


def memory_weights(rows: Any) -> Any:
    """The weights of 1, the file's and the tensors' MB, from rows of those two and the PSS."""
    terms = np.column_stack([np.ones(len(rows)), rows[:, :2]])
    return non_negative(terms / rows[:, 2:], np.ones(len(rows)))


def largest_pair(operators: Iterable[OperatorShape]) -> int:
    """Numbers in the input and the output of the operator that has the most in both."""
    return max(prod(o.input) + prod(o.output) for o in operators)


def latency_errors(networks: Sequence[Timed]) -> dict[str, Any]:
    """How far predictions are off for networks that are left out of the fit, a fifth at a time."""
    errors = []
    for fold in range(_FOLDS):
        rest = [each for number, each in enumerate(networks) if number % _FOLDS != fold]
        model = LatencyModel(rest)
        errors += [abs(model.predict_ms(each.operators) / each.call_ms - 1)
                   for each in networks[fold::_FOLDS]]  # fmt: skip
    return _summary(errors)


def memory_errors(rows: Sequence[Sequence[float]]) -> dict[str, Any]:
    """The same of memory, one network left out at a time."""
    table = np.array(rows, float)
    errors = []
    for number, row in enumerate(table):
        weights = memory_weights(np.delete(table, number, 0))
        errors.append(abs(float(np.array([1.0, *row[:2]]) @ weights) / row[2] - 1))
    return _summary(errors)


def _summary(errors: Sequence[float]) -> dict[str, Any]:
    return {"median": round(statistics.median(errors), 4), "worst": round(max(errors), 4),
            "networks": len(errors)}  # fmt: skip


def write_operator(o: OperatorShape) -> str:
    """An operator as one word of the device file: ``conv 96x96x3 48x48x32 3 2``."""
    sizes = ("x".join(map(str, side)) for side in (o.input, o.output))
    return " ".join([o.kind, *sizes, str(o.kernel), str(o.stride)])


def read_operator(text: str) -> OperatorShape:
    """What `write_operator` wrote.

    Raises:
        ValueError: It did not.
    """
    kind, given, made, kernel, stride = text.split(" ")
    if kind not in KINDS:
        raise ValueError(f"an operator {kind!r}")
    if min(int(kernel), int(stride)) < 1:
        raise ValueError(f"an operator {text!r}")
    return OperatorShape(kind, _sizes(given), _sizes(made), int(kernel), int(stride))


def _sizes(text: str) -> tuple[int, int, int]:
    rows, columns, channels = map(int, text.split("x"))
    if min(rows, columns, channels) < 1:
        raise ValueError(f"a size of {text}")
    return rows, columns, channels
