"""The verbs: what each does, and which extra brings those that a device does not store."""

from __future__ import annotations

import importlib
from types import ModuleType

from edgeclf.errors import MissingDependencyError

# Kept here as text, so that the help is printed without importing any verb.
VERBS = {
    "train": "train a classifier on a folder of photos",
    "backbones": "list the networks that can be trained, and what they cost",
    "distill": "train a small student on a teacher's answers",
    "convert": "turn a trained model into verified TFLite and ONNX artifacts",
    "verify": "replay an artifact's certificate on this machine",
    "inspect": "print what an artifact knows about itself",
    "classify": "classify photos",
    "autotune": "find the fastest runtime and threads for a file on this device",
    "compare": "hold students against their teacher: size, speed, accuracy, answers",
    "benchmark": "measure artifacts on this machine",
    "profile": "time every operator of a model, and hold it against this CPU's peak",
    "report": "write benchmark results as HTML, Markdown, CSV and JSON",
    "doctor": "tell which runtimes work here",
    "demo": "run all of it on the mugs example",
}
_WORKSTATION = "edgeclf-workstation"  # the distribution; its modules install into this package
_EXTRAS = {
    "train": "train",
    "backbones": "train",
    "distill": "train",
    "convert": "convert",
    "converters.config": "convert",
    "converters.source_spec": "convert",
    "training.config": "train",
    "training.distillation_config": "train",
    "compare": "all",
    "report": "report",
    "demo": "all",
}


def import_verb(name: str) -> ModuleType:
    """Imports `edgeclf.NAME`, the module of a verb or of a public name.

    Raises:
        MissingDependencyError: It belongs to the workstation's side, which is not installed.
    """
    module = f"edgeclf.{name}"
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        if name in _EXTRAS and exc.name is not None and module.startswith(exc.name):
            purpose = f"'edgeclf {name}'" if name in VERBS else module
            raise MissingDependencyError(_WORKSTATION, _EXTRAS[name], purpose) from None
        raise
