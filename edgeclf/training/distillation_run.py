"""One run of `edgeclf.distill`: from a teacher, photos and a config to a student's artifact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from edgeclf.artifact import Artifact
from edgeclf.converters.calibration import CALIBRATION_IMAGES
from edgeclf.converters.sources import SourceModel
from edgeclf.datasets.photos import sample_photos
from edgeclf.errors import OptionError
from edgeclf.image import ImageSpec
from edgeclf.networks.builder import Backbone, find_backbone, input_spec
from edgeclf.system.progress import log
from edgeclf.training.data import TrainingData
from edgeclf.training.distillation import distill_student, distillation_settings, start_student
from edgeclf.training.distillation_config import DistillationConfig
from edgeclf.training.fit import use_seed
from edgeclf.training.models import save_model
from edgeclf.training.online_distillation import OnlineSoftTargets
from edgeclf.training.recovery import finished, keeping_good_weights
from edgeclf.training.run_folder import RunFolder, run_config
from edgeclf.training.seed_study import SeedStudy
from edgeclf.training.soft_targets import (
    PhotoPairs,
    SoftTargetCache,
    SoftTargets,
    compute_soft_targets,
)
from edgeclf.training.teachers import Teacher, open_teacher


def train_student_of(
    model: Artifact | SourceModel, data: TrainingData, config: DistillationConfig
) -> Artifact:
    """Lets a teacher answer the photos, trains a student on it and writes ``NAME.keras``.

    Args:
        model: The teacher.
        data: What the student learns and is judged by.
        config: How; of several seeds, a `SeedStudy` is made.

    Raises:
        ArtifactError: The teacher does not know a class of the photos.
        OptionError: The teacher shows no features, and they are to be learnt.
        TrainingError: The loss is not a number.
        MissingDependencyError: A package for comparing int8 students is not installed.
    """
    use_seed(config.seed)
    teacher = open_teacher(model, data.photos.labels)
    if config.feature_weight and teacher.feature_width is None:
        raise OptionError(
            f"feature_weight is {config.feature_weight} and the teacher shows only its "
            "probabilities; expected a .keras artifact from 'edgeclf train', or feature_weight 0."
        )
    backbone = find_backbone(config.student)
    config = replace(config, student=backbone.name)
    spec = input_spec(backbone, config.student_size)
    if config.seeds == 1:
        return _train(teacher, backbone, data, spec, config)
    soft_targets = _soft_targets(teacher, data, spec, config)
    assert isinstance(soft_targets, SoftTargets), "of several seeds, the config takes no others"
    as_int8 = _int8_converter(data, spec) if config.int8 else None
    return SeedStudy(data, teacher, backbone, spec, soft_targets, config, as_int8).run()


def _train(
    teacher: Teacher,
    backbone: Backbone,
    data: TrainingData,
    spec: ImageSpec,
    config: DistillationConfig,
) -> Artifact:
    """Trains one student, from where an earlier run was stopped."""
    settings = distillation_settings(config, teacher)
    folder = RunFolder(data.folder / f"{data.name}.run", run_config(data, settings))
    soft_targets = _soft_targets(teacher, data, spec, config)
    model, inherited = start_student(backbone, spec, teacher, seed=config.seed)
    log(f"{inherited} layers of the student start from the teacher's")
    told = {**settings, "inherited_layers": inherited}

    def save(name: str, more: dict[str, Any]) -> Artifact:
        return save_model(data, name, model, spec, {**told, **more})

    with keeping_good_weights(folder, partial(save, f"{data.name}-last-good")):
        distill_student(model, backbone, inherited, soft_targets, config, folder)
    return finished(folder, save(data.name, {}))


def _soft_targets(
    teacher: Teacher, data: TrainingData, spec: ImageSpec, config: DistillationConfig
) -> SoftTargets | OnlineSoftTargets:
    photos = PhotoPairs(
        data.images(data.photos, teacher.spec),
        data.images(data.photos, spec),
        data.photos.targets,
    )
    if config.soft_targets == "online":
        return OnlineSoftTargets(teacher, photos, config.views, mirror=not config.no_mirror)
    return compute_soft_targets(
        teacher,
        photos,
        student_spec=spec,
        views=config.views,
        seed=config.seed,
        mirror=not config.no_mirror,
        features=config.feature_weight > 0,
        cache=SoftTargetCache(data.folder / "cache", data.photos),
    )


def _int8_converter(data: TrainingData, spec: ImageSpec) -> Callable[[Artifact], Artifact]:
    """Writes the int8 file of a student; all of them are calibrated on the same photos."""
    from edgeclf.converters.unchecked import convert_unchecked

    photos = sample_photos(data.photos, CALIBRATION_IMAGES, seed=0)
    images = data.images(photos, spec)
    return lambda artifact: convert_unchecked(artifact, "int8", images)
