"""Image classifiers for the edge: train, distil, convert to int8, and prove it.

    import edgeclf

    teacher = edgeclf.train("photos/train")
    student = edgeclf.distill(teacher.path, "photos/train")
    artifacts = edgeclf.convert(student.path, calibration="photos/train", evaluation="photos/eval")
    with edgeclf.Classifier("runs/photos/photos.int8.tflite") as classifier:
        print(classifier.classify("photo.jpg").label)

Importing this package imports no framework, not even numpy: each name is looked up when it is
first used, and each verb imports what it needs when it is called.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeclf import fleet
    from edgeclf.artifact import Artifact, Metadata, load_artifact
    from edgeclf.autotune import autotune
    from edgeclf.backbones import backbones
    from edgeclf.benchmark import benchmark
    from edgeclf.bulk import bulk
    from edgeclf.calibrate import calibrate
    from edgeclf.classify import classify
    from edgeclf.compare import compare
    from edgeclf.convert import convert
    from edgeclf.converters.config import ConversionConfig
    from edgeclf.converters.source_spec import SourceSpec
    from edgeclf.demo import demo
    from edgeclf.distill import distill
    from edgeclf.doctor import doctor
    from edgeclf.errors import (
        ArtifactError,
        ConversionError,
        DataError,
        EdgeclfError,
        FleetError,
        ImageError,
        InferenceError,
        IntegrityError,
        MeasurementError,
        MissingDependencyError,
        OptionError,
        QualityGateError,
        RegistryError,
        RuntimeLoadError,
        ServiceError,
        TrainingError,
        VerificationError,
    )
    from edgeclf.explain import explain
    from edgeclf.explanation.methods import Explanation
    from edgeclf.fit import fit
    from edgeclf.image import ImageSpec, load_image
    from edgeclf.inference.classifier import Classifier
    from edgeclf.inference.prediction import Failure, Frame, Prediction, Score, Timing
    from edgeclf.inspect import inspect
    from edgeclf.load import load
    from edgeclf.measurement.matrix.cases import BenchmarkMatrix
    from edgeclf.monitor import monitor
    from edgeclf.profile import profile
    from edgeclf.promote import promote
    from edgeclf.prune import prune
    from edgeclf.register import register
    from edgeclf.report import report
    from edgeclf.serve import serve
    from edgeclf.service.load.config import LoadConfig
    from edgeclf.tables.config import BulkConfig
    from edgeclf.train import train
    from edgeclf.training.budget_config import BudgetConfig
    from edgeclf.training.config import TrainingConfig
    from edgeclf.training.distillation_config import DistillationConfig
    from edgeclf.training.pruning_config import PruningConfig
    from edgeclf.ui import ui
    from edgeclf.update import update
    from edgeclf.verify import verify
    from edgeclf.zoo import zoo

__all__ = [
    "Artifact",
    "ArtifactError",
    "BenchmarkMatrix",
    "BudgetConfig",
    "BulkConfig",
    "Classifier",
    "ConversionConfig",
    "ConversionError",
    "DataError",
    "DistillationConfig",
    "EdgeclfError",
    "Explanation",
    "Failure",
    "FleetError",
    "Frame",
    "ImageError",
    "ImageSpec",
    "InferenceError",
    "IntegrityError",
    "LoadConfig",
    "MeasurementError",
    "Metadata",
    "MissingDependencyError",
    "OptionError",
    "Prediction",
    "PruningConfig",
    "QualityGateError",
    "RegistryError",
    "RuntimeLoadError",
    "Score",
    "ServiceError",
    "SourceSpec",
    "Timing",
    "TrainingConfig",
    "TrainingError",
    "VerificationError",
    "autotune",
    "backbones",
    "benchmark",
    "bulk",
    "calibrate",
    "classify",
    "compare",
    "convert",
    "demo",
    "distill",
    "doctor",
    "explain",
    "fit",
    "fleet",
    "inspect",
    "load",
    "load_artifact",
    "load_image",
    "monitor",
    "profile",
    "promote",
    "prune",
    "register",
    "report",
    "serve",
    "train",
    "ui",
    "update",
    "verify",
    "zoo",
]

_ROOMS = frozenset({"fleet"})  # public as they are
# One word in lower case: a verb, which is also a module of that name.
_VERBS = frozenset(name for name in __all__ if name.isalpha() and name.islower()) - _ROOMS
_MODULES = {
    "artifact": ("Artifact", "Metadata", "load_artifact"),
    "converters.config": ("ConversionConfig",),
    "converters.source_spec": ("SourceSpec",),
    "explanation.methods": ("Explanation",),
    "image": ("ImageSpec", "load_image"),
    "inference.classifier": ("Classifier",),
    "measurement.matrix.cases": ("BenchmarkMatrix",),
    "service.load.config": ("LoadConfig",),
    "tables.config": ("BulkConfig",),
    "training.budget_config": ("BudgetConfig",),
    "training.config": ("TrainingConfig",),
    "training.distillation_config": ("DistillationConfig",),
    "training.pruning_config": ("PruningConfig",),
    "inference.prediction": ("Failure", "Frame", "Prediction", "Score", "Timing"),
    **{verb: (verb,) for verb in _VERBS},
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'edgeclf' has no attribute {name!r}")
    from edgeclf.verbs import import_room, import_verb

    if name in _ROOMS:
        return import_room(name)
    module = import_verb(_HOME.get(name, "errors"))
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keeps `edgeclf.convert` the function, also once the module of that name is imported.

    Each verb is a module, for ``python -m edgeclf.convert``, and a function of the same name.
    Python binds a submodule to its package when it is first imported; for the verbs that binding
    is passed over, so that what `edgeclf.convert` means does not depend on who imported what.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _VERBS and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
