"""A virtual environment for each peer, with nothing in it but what that peer needs."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from shared import ROOT

FOLDER = ROOT / "runs" / "peers"
REQUIREMENTS = {
    "edgeclf-litert": ("edgeclf[litert]",),
    "edgeclf-onnxruntime": ("edgeclf[onnxruntime]",),
    "litert": ("ai-edge-litert", "pillow"),
    "onnxruntime": ("onnxruntime", "pillow"),
    "mediapipe": ("mediapipe", "pillow"),
    "openvino": ("openvino", "pillow"),
    "model-api": ("openvino-model-api", "onnx"),  # without onnx it takes no .onnx file
    "keras": ("tensorflow", "pillow"),
}
_ENGINE = ("ai-edge-litert", "pillow")
# Servers of the same model, in the versions that were measured.
SERVERS = {
    "litserve": (*_ENGINE, "litserve==0.2.19"),
    "mlserver": (*_ENGINE, "mlserver==1.7.1"),  # needs Python < 3.13
    "bentoml": (*_ENGINE, "bentoml==1.4.40"),
    "ray": (*_ENGINE, "ray[serve]==2.60.0"),
    "mlflow": (*_ENGINE, "mlflow==3.17.2", "mlflow-skinny==3.17.2", "mlflow-tracing==3.17.2"),
}
_INSTALLED = "installed.json"  # written last


@dataclass(frozen=True)
class Environment:
    """An installed environment.

    Attributes:
        size_bytes: Of all installed files.
        packages: Versions by name.
    """

    size_bytes: int
    packages: dict[str, str]


def pip(*words: str) -> str:
    """Runs pip; ends the script with what pip says if that fails."""
    done = run_pip(*words)
    if done.returncode != 0:
        raise SystemExit(f"pip {' '.join(words)}\n{done.stderr}")
    return done.stdout


def run_pip(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def python_of(name: str) -> Path:
    """The environment's interpreter, which need not be there."""
    return FOLDER / name / "bin" / "python"


def find(name: str) -> Environment | None:
    """What is installed for a peer; None if that has not been done."""
    marker = FOLDER / name / _INSTALLED
    return Environment(**json.loads(marker.read_text())) if marker.exists() else None


def install(name: str, wheel: Path | None = None) -> Environment | str:
    """Installs what a peer needs, if that was not done before; our own wheel always afresh.

    Args:
        name: One of `REQUIREMENTS` or `SERVERS`.
        wheel: edgeclf's own; those of the second need none.

    Returns:
        What is installed, or the last line of what pip says if that fails.
    """
    ours = name.startswith("edgeclf")
    found = find(name)
    if found is not None and not ours:
        return found
    folder = FOLDER / name
    venv.create(folder, clear=True, with_pip=False, symlinks=True)
    needed = REQUIREMENTS.get(name) or SERVERS[name]
    wanted = [word.replace("edgeclf", str(wheel)) for word in needed]
    done = run_pip("--python", str(python_of(name)), "install", "--quiet", *wanted)
    if done.returncode != 0:
        return done.stderr.strip().splitlines()[-1]
    (library,) = (folder / "lib").glob("python*")
    listed = json.loads(pip("--python", str(python_of(name)), "list", "--format", "json"))
    size = sum(path.lstat().st_size for path in library.rglob("*") if not path.is_dir())
    environment = Environment(size, {entry["name"]: entry["version"] for entry in listed})
    (folder / _INSTALLED).write_text(
        json.dumps({"size_bytes": size, "packages": environment.packages})
    )
    return environment
