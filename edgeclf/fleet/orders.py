"""What is ordered of whom: the part of the signed metadata that is ours.

A target of the repository is a file and an order. Its ``custom`` says the model's name, a counter
that only grows, which share of which groups it is for, and what a device has to find before it
takes it. Shares count in ten-thousandths, as canonical JSON has no fractions.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeclf.errors import FleetError

ALL = 10_000  # of a share: everyone
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}")
SIGNED_AT = "edgeclf_signed_at"  # of the timestamp, seconds since 1970
LIMITS = ("max_p99_us", "max_memory_kb", "min_agreement")
PROBATION = ("minutes", "starts", "confirm")


@dataclass(frozen=True)
class Order:
    """A file for some devices.

    Attributes:
        path: Of the target.
        sha256: Of the file, hex.
        size_bytes: Likewise.
        name: The model's.
        counter: Larger than that of every order before.
        version: What the publisher calls it.
        groups: The share of each group that it is for, of `ALL`.
        limits: ``max_p99_us`` and ``max_memory_kb`` on the device, and ``min_agreement`` with the
            present model on kept frames, of `ALL`.
        probation: ``minutes``, ``starts`` and ``confirm`` of its trial.
        rollback: Of a return to what was ordered before: ``from`` and ``to``, counters, and
            ``reason``.
    """

    path: str
    sha256: str
    size_bytes: int
    name: str
    counter: int
    version: str = ""
    groups: Mapping[str, int] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    probation: Mapping[str, int] = field(default_factory=dict)
    rollback: Mapping[str, Any] | None = None

    @property
    def file_name(self) -> str:
        """The file's own name, which begins with the counter."""
        return self.path.rpartition("/")[2]

    def custom(self) -> dict[str, Any]:
        """What the target says besides size and hash."""
        said: dict[str, Any] = {
            "name": self.name, "counter": self.counter, "version": self.version,
            "groups": dict(self.groups), "limits": dict(self.limits),
            "probation": dict(self.probation),
        }  # fmt: skip
        return said if self.rollback is None else {**said, "rollback": dict(self.rollback)}

    def is_for(self, group: str, device: str) -> bool:
        """Whether a device is in the share of its group.

        Whoever is in a share is in every larger one; another release begins with other devices.
        """
        place = hashlib.sha256(f"{self.name}/{self.counter}/{device}".encode()).digest()
        return int.from_bytes(place[:8], "big") % ALL < self.groups.get(group, 0)


def read_order(path: str, sha256: str, size_bytes: int, custom: object) -> Order:
    """Reads a target's order.

    Raises:
        FleetError: It says something else than orders do.
    """
    try:
        assert isinstance(custom, dict)
        order = Order(path, sha256, size_bytes, **custom)
        numbers = [order.counter, size_bytes, *order.groups.values(), *order.limits.values(),
                   *order.probation.values()]  # fmt: skip
        back = order.rollback
        assert back is None or (type(back["from"]), type(back["to"])) == (int, int)
        assert all(isinstance(each, int) and each >= 0 for each in numbers)
        assert NAME.fullmatch(order.name) and _FILE.fullmatch(order.file_name)
        assert path == f"{order.name}/{order.file_name}" and isinstance(order.version, str)
        assert order.file_name.startswith(f"{order.counter}.") and len(sha256) == 64
        assert set(order.limits) <= set(LIMITS) and set(order.probation) <= set(PROBATION)
    except (AssertionError, TypeError, AttributeError, LookupError) as exc:
        raise FleetError(
            f"The target {path[:200]!r} is signed, and its order is not one that this version of "
            f"edgeclf reads ({type(exc).__name__} {str(exc)[:100]}). Update edgeclf on the device, "
            "or publish again with its version.",
            "order",
        ) from exc
    return order
