"""What a figure was measured on, to be stored beside it."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from edgeclf.system.cpu import available_cpus, cpu_flags, cpu_model
from edgeclf.system.sysfs import SYS, read_text
from edgeclf.system.variables import variables_in_force

RUNTIME_LIBRARIES = (
    "edgeclf",
    "numpy",
    "pillow",
    "ai-edge-litert",
    "tflite-runtime",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorflow",
    "keras",
)


def library_versions(names: Sequence[str]) -> dict[str, str]:
    """The installed ones of the distributions named, with their versions."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def environment() -> dict[str, Any]:
    """Machine, system and libraries, as plain JSON types. Names no user, host or path."""
    return {
        "cpu": cpu_model(),
        "cpu_flags": list(cpu_flags()),
        "cpus_available": available_cpus(),
        "cpus_of_machine": os.cpu_count(),
        "governor": read_text(SYS / "devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "libraries": library_versions(RUNTIME_LIBRARIES),
        "variables": variables_in_force(),
        "commit": _commit(),
        "command": shlex.join(["edgeclf", *sys.argv[1:]]),
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def _commit() -> str | None:
    """The commit of the working directory, with a + where files were changed since."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],
            capture_output=True, text=True, timeout=5, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None
