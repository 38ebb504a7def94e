"""`edgeclf doctor`: which runtimes work on this machine, and what stands in their way."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RuntimeCheck:
    """Whether one runtime's engine can be imported here.

    Attributes:
        name: The runtime's name.
        works: Whether it can be used.
        detail: Library and version, or why not and what to do.
    """

    name: str
    works: bool
    detail: str


@dataclass(frozen=True)
class Diagnosis:
    """What edgeclf found on this machine.

    Attributes:
        environment: CPU, system and library versions.
        runtimes: One check a runtime.
        problems: What is wrong, each with its remedy; empty when all is well.
    """

    environment: dict[str, Any]
    runtimes: tuple[RuntimeCheck, ...]
    problems: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        """Whether at least one runtime works and nothing conflicts."""
        return any(check.works for check in self.runtimes) and not self.problems


def doctor() -> Diagnosis:
    """Imports every runtime's engine and looks for wheels that break one another.

    Each engine is tried in a process of its own, so that one that crashes is a finding.
    """
    from edgeclf.measurement.environment import environment
    from edgeclf.runtimes import runtime_names

    found = environment()
    checks = tuple(_check(name) for name in runtime_names() if name != "fake")
    libraries = found["libraries"]
    problems = []
    if "onnxruntime" in libraries and "onnxruntime-gpu" in libraries:
        problems.append(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files. "
            "Run: pip uninstall onnxruntime onnxruntime-gpu, then install one of them."
        )
    if "tflite-runtime" in libraries and int(libraries["numpy"].split(".")[0]) >= 2:
        problems.append(
            "tflite-runtime was built for numpy 1 and fails with numpy "
            f"{libraries['numpy']}. Run: pip install 'edgeclf[litert]', or 'numpy<2'."
        )
    elif "tflite-runtime" in libraries and "ai-edge-litert" not in libraries:
        problems.append(
            "tflite-runtime is no longer developed and much slower than its successor on x86. "
            "Run: pip install 'edgeclf[litert]'"
        )
    if not any(check.works for check in checks):
        problems.append("No runtime works here. Start with: pip install 'edgeclf[litert]'")
    return Diagnosis(found, checks, tuple(problems))


def _check(name: str) -> RuntimeCheck:
    from edgeclf.errors import MeasurementError
    from edgeclf.measurement.process import measure

    try:
        result = measure({"measure": "import", "runtime": name})
    except MeasurementError as exc:
        return RuntimeCheck(name, False, str(exc))
    return RuntimeCheck(name, True, f"imports in {result['import_ms']:.0f} ms")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("--json", action="store_true", help="the findings as JSON")


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    diagnosis = doctor()
    if args.json:
        print(json.dumps(dataclasses.asdict(diagnosis), indent=2))
    else:
        print("\n".join(_lines(diagnosis)))
    return 0 if diagnosis.healthy else 1


def _lines(diagnosis: Diagnosis) -> list[str]:
    env = diagnosis.environment
    flags = " ".join(env["cpu_flags"]) or "none of those that int8 profits from"
    lines = [
        f"{env['system']}, {env['cpu']} ({flags})",
        f"{env['cpus_available']} of {env['cpus_of_machine']} CPUs for this process; "
        f"Python {env['python']}",
        "",
        *(f"{'ok' if c.works else '--'}  {c.name:<12} {c.detail}" for c in diagnosis.runtimes),
        "",
        *(f"{name} {number}" for name, number in env["libraries"].items()),
    ]
    return lines + ["", *(f"problem: {p}" for p in diagnosis.problems)] * bool(diagnosis.problems)


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["doctor", *sys.argv[1:]]))
