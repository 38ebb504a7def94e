"""`edgeclf doctor`: which runtimes work on this machine, and what stands in their way."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeclf.system.arguments import add_device
from edgeclf.system.device import Device
from edgeclf.system.int8 import int8_advice

_SECONDS = 1.0


@dataclass(frozen=True)
class RuntimeCheck:
    """Whether one runtime's engine can be imported here.

    Attributes:
        name: The runtime's name.
        works: Whether it can be used.
        detail: How long its import took, or why it fails and what to do.
        devices: What the installed engine was built for, beside the cpu.
    """

    name: str
    works: bool
    detail: str
    devices: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelCheck:
    """One second of an artifact on one runtime.

    Attributes:
        file: The artifact's file name.
        runtime: The runtime's name.
        works: Whether it answered.
        detail: What ran, or why it failed.
        p50_ms: Median time of one inference without decoding; None if it failed.
        n: Number of inferences timed.
    """

    file: str
    runtime: str
    works: bool
    detail: str
    p50_ms: float | None = None
    n: int = 0


@dataclass(frozen=True)
class Diagnosis:
    """What edgeclf found on this machine.

    Attributes:
        environment: CPU, system and library versions.
        runtimes: One check a runtime.
        models: One check for each artifact given and runtime that takes it.
        remarks: What is worth knowing and no fault.
        problems: What is wrong, each with its remedy; empty when all is well.
    """

    environment: dict[str, Any]
    runtimes: tuple[RuntimeCheck, ...]
    models: tuple[ModelCheck, ...]
    remarks: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        """Whether at least one runtime works, nothing conflicts and every artifact runs."""
        return (
            any(check.works for check in self.runtimes)
            and not self.problems
            and {c.file for c in self.models} == {c.file for c in self.models if c.works}
        )


def doctor(*models: str | os.PathLike[str], device: Device = "cpu") -> Diagnosis:
    """Imports every runtime's engine and looks for wheels that break one another.

    Each engine is tried in a process of its own, so that one that crashes is a finding.

    Args:
        models: Artifacts to run for a second on each runtime that takes them.
        device: Where they must run.

    Raises:
        ArtifactError: A model is no artifact.

    Examples:
        ```python
        diagnosis = edgeclf.doctor("mugs.int8.tflite")
        print(diagnosis.healthy, *diagnosis.problems)
        ```
    """
    from edgeclf.artifact import load_artifact
    from edgeclf.runtimes import runtime_names, runtimes_for
    from edgeclf.system.environment import environment

    artifacts = [load_artifact(model) for model in models]
    found = environment()
    checks = tuple(_check(name) for name in runtime_names() if name != "fake")
    measured = tuple(
        _measure(artifact.path, name, device)
        for artifact in artifacts
        if artifact.path is not None
        for name in runtimes_for(artifact.format)
    )
    problems = _conflicts(found["libraries"])
    if not any(check.works for check in checks):
        problems.append("No runtime works here. Start with: pip install 'edgeclf[litert]'")
    return Diagnosis(found, checks, measured, tuple(_remarks(found)), tuple(problems))


def _conflicts(libraries: dict[str, str]) -> list[str]:
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
    return problems


def _remarks(environment: dict[str, Any]) -> list[str]:
    remarks = []
    available, machine = environment["cpus_available"], environment["cpus_of_machine"]
    if available < machine:
        remarks.append(
            f"This process may use {available} of {machine} CPUs (affinity or cgroup quota); "
            "that is the default for threads."
        )
    remarks.append(int8_advice(environment["cpu_flags"]))
    if _has_nvidia_card() and "onnxruntime-gpu" not in environment["libraries"]:
        remarks.append(
            "There is an NVIDIA card, and onnxruntime-gpu is not installed: "
            "pip install 'edgeclf[onnxruntime-gpu]' in an environment without onnxruntime."
        )
    return remarks


def _has_nvidia_card() -> bool:
    return Path("/dev/nvidia0").exists() or Path("/dev/nvhost-gpu").exists()  # card, or Jetson


def _check(name: str) -> RuntimeCheck:
    from edgeclf.errors import MeasurementError
    from edgeclf.measurement.harness.process import measure
    from edgeclf.measurement.jobs.imports import ImportJob

    try:
        result = measure(ImportJob(runtime=name))
    except MeasurementError as exc:
        return RuntimeCheck(name, False, str(exc))
    return RuntimeCheck(name, True, f"imports in {result.import_ms:.0f} ms", result.devices)


def _measure(path: Path, runtime: str, device: Device) -> ModelCheck:
    from edgeclf.errors import MeasurementError
    from edgeclf.measurement.harness.process import measure
    from edgeclf.measurement.jobs.inference import InferenceJob

    job = InferenceJob(model=str(path.resolve()), runtime=runtime, device=device, seconds=_SECONDS)
    try:
        result = measure(job)
    except MeasurementError as exc:
        return ModelCheck(path.name, runtime, False, str(exc))
    ran, times = result.runtime, result.inference_ms
    detail = (
        f"{ran.library} {ran.library_version}, {ran.device}, {ran.delegate}, {ran.threads} threads"
    )
    return ModelCheck(path.name, runtime, True, detail, times.p50, times.n)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("models", nargs="*", help="artifacts to run for a second each")
    add_device(parser)
    parser.add_argument("--json", action="store_true", help="the findings as JSON")


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    diagnosis = doctor(*args.models, device=args.device)
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
    ]
    for check in diagnosis.runtimes:
        built = f"; built for {', '.join(check.devices)}" if check.devices else ""
        lines.append(f"{'ok' if check.works else '--'}  {check.name:<12} {check.detail}{built}")
    lines += ["", *(f"{name} {number}" for name, number in env["libraries"].items()), ""]
    for model in diagnosis.models:
        result = f"p50 {model.p50_ms:.2f} ms (n = {model.n})  " if model.works else ""
        lines.append(f"{'ok' if model.works else '--'}  {model.file} on {model.runtime}  "
                     f"{result}{model.detail}")  # fmt: skip
    lines += [f"note: {remark}" for remark in diagnosis.remarks]
    return lines + [f"problem: {problem}" for problem in diagnosis.problems]


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["doctor", *sys.argv[1:]]))
