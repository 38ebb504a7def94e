"""Limits from a YAML file, held against what was measured: exit 1 and which, where one is missed.

python examples/end_to_end/gate.py --limits limits.yaml --facts runs/signs/facts.json
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from plan import NotHeld

import edgeclf

_BOUNDS = ("at_least", "at_most")
_EXPECTED = "expected figures with at_least or at_most, such as top1: {at_least: 0.9}"


@dataclass(frozen=True)
class Limit:
    """One line of the file, and what was measured.

    Attributes:
        figure: Its name, parts joined by dots.
        bound: ``at_least`` or ``at_most``.
        wanted: The limit.
        measured: None where nobody has.
    """

    figure: str
    bound: str
    wanted: float
    measured: float | None

    @property
    def held(self) -> bool:
        if self.measured is None:
            return False
        if self.bound == "at_least":
            return self.measured >= self.wanted
        return self.measured <= self.wanted

    def text(self) -> str:
        measured = "not measured" if self.measured is None else f"{self.measured:.4g}"
        words = self.bound.replace("_", " ")
        return f"{self.figure} is {measured}; the limit is {words} {self.wanted:g}"


def read_limits(path: Path, part: str) -> dict[str, dict[str, float]]:
    """The limits of ``model`` or ``service``.

    Raises:
        OptionError: The file cannot be read, or says something else.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise edgeclf.OptionError(f"Cannot read the limits {path}: {exc.strerror}.") from exc
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        words = " ".join(str(exc).split())
        raise edgeclf.OptionError(f"{path} is no YAML: {words}. {_EXPECTED}.") from exc
    limits = found.get(part) if isinstance(found, dict) else None
    if not isinstance(limits, dict) or not limits:
        raise edgeclf.OptionError(f"{path} has no part {part!r} with limits; {_EXPECTED}.")
    for figure, bounds in limits.items():
        good = isinstance(bounds, dict) and bounds and all(
            name in _BOUNDS and isinstance(value, int | float) and not isinstance(value, bool)
            for name, value in bounds.items()
        )  # fmt: skip
        if not good:
            raise edgeclf.OptionError(f"{path}: {figure} is {bounds!r}; {_EXPECTED}.")
    return limits


def compare(limits: dict[str, dict[str, float]], facts: dict[str, Any]) -> list[Limit]:
    """Each limit beside what was measured."""
    return [
        Limit(figure, bound, wanted, _figure(facts, figure))
        for figure, bounds in limits.items()
        for bound, wanted in bounds.items()
    ]


def _figure(facts: dict[str, Any], name: str) -> float | None:
    found: Any = facts
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return float(found) if isinstance(found, int | float) else None


def check(found: list[Limit], what: str) -> None:
    """Raises what names every limit that is missed.

    Raises:
        NotHeld: There is one.
    """
    missed = [each for each in found if not each.held]
    if missed:
        lines = "".join(f"\n  {each.text()}" for each in missed)
        raise NotHeld(f"{len(missed)} of {len(found)} limits of {what} are missed:{lines}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limits", type=Path, required=True)
    parser.add_argument("--facts", type=Path, required=True)
    parser.add_argument("--part", choices=("model", "service"), default="model")
    args = parser.parse_args()
    try:
        facts = json.loads(args.facts.read_text(encoding="utf-8"))
        found = compare(read_limits(args.limits, args.part), facts)
        check(found, f"the {args.part}")
    except (OSError, ValueError, edgeclf.OptionError) as exc:
        print(f"gate.py: {exc}", file=sys.stderr)
        return 2
    except NotHeld as exc:
        print(f"gate.py: {exc}", file=sys.stderr)
        return 1
    print(f"all {len(found)} limits hold")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
