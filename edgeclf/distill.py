"""`edgeclf distill`: a large teacher to a small student."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import math
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeclf.converters.source_spec import (
    SourceSpec,
    add_source_arguments,
    source_spec_from,
)
from edgeclf.errors import MissingDependencyError, OptionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeclf.artifact import Artifact
    from edgeclf.converters.sources import SourceModel
    from edgeclf.image import ImageSpec
    from edgeclf.training.data import TrainingData

_LEARNING_RATE = 2e-3
_LEAST_SEEDS = 3
_TEACHER_ANSWERS = ("cached", "fly")
_CONVERTIBLE = (".keras", ".h5", ".hdf5", ".tflite", ".onnx")


def distill(
    teacher: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    evaluation: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    student: str = "student",
    teacher_answers: str = "cached",
    views: int = 8,
    epochs: int = 3,
    temperature: float = 4.0,
    label_weight: float = 0.2,
    features: float = 0.0,
    learning_rate: float = _LEARNING_RATE,
    seed: int = 0,
    seeds: int = 1,
    int8: bool = False,
    skip_unreadable: bool = False,
    source_spec: SourceSpec | None = None,
) -> Artifact:
    """Trains a small student on a teacher's answers.

    A student of the teacher's own family starts from the teacher's first layers, where the teacher
    is a ``.keras`` artifact. Its state is kept in the folder ``NAME.run`` after each epoch. A run
    that was stopped, however, goes on from there when it is asked for again with the same settings
    and photos.

    Args:
        teacher: An artifact, ``.keras``, ``.tflite`` or ``.onnx``; or a model from elsewhere,
            ``.keras``, ``.h5``, ``.tflite``, ``.onnx`` or the folder of a SavedModel.
        data: The photos to learn from: a folder that holds one folder a class, or a CSV as for
            `edgeclf.train`.
        evaluation: Other photos of the same classes; by default as for `edgeclf.train`.
        out: Folder for the artifact; by default ``runs/NAME``.
        student: The network; `edgeclf.backbones` lists them. ``student`` has about 100,000
            parameters, ``student-xs`` to ``student-xl`` 20,000 to 2,000,000.
        teacher_answers: ``cached``: the teacher answers each view once, and the answers are kept
            beside the decoded photos, so that the next student of the same teacher, photos, views
            and seed does not ask again. ``fly``: it answers other views in every epoch, while the
            student trains, and nothing is kept.
        views: How many variations of each photo the teacher answers; with ``fly`` in each epoch.
        epochs: Passes over all views.
        temperature: Softens the answers before they are compared; 1 or more.
        label_weight: Share of the true labels in the loss, 0..1; the rest is the teacher's.
        features: Weight of the teacher's pooled features beside its answers; 0 leaves them out,
            more needs a ``.keras`` teacher.
        learning_rate: The peak rate, which falls to zero along a cosine.
        seed: Decides weights, views, order and any split.
        seeds: 1, or at least 3: then the student is trained from so many seeds, each time by the
            labels alone too, and ``NAME.distillation.json``, ``.md`` and ``.html`` tell whether
            distillation helped. The views stay those of the first seed.
        int8: With several seeds, whether every student is also converted to int8 TFLite, by the
            usual recipe and calibrated on the photos to learn from, and those files are compared
            too. They lie with the students in the folder ``NAME.students``.
        skip_unreadable: Leaves out files that cannot be read and counts them, in a printed line
            and in the artifact, instead of refusing the whole set.
        source_spec: What a teacher from elsewhere expects and answers, and its classes' names.

    Returns:
        The artifact ``NAME.keras``, the first seed's; its metadata tell how well it does.

    Raises:
        ArtifactError: `teacher` cannot be read, or does not know a class of the photos.
        ConversionError: `teacher` is from elsewhere and no image classifier, or not trusted.
        DataError: The photos cannot be used.
        MissingDependencyError: TensorFlow, or for `int8` a package of the extra ``convert``, is
            not installed.
        OptionError: There is no such student, a number is out of its range, `teacher` shows no
            features, `int8` is wanted of one seed, several seeds are to share answers that are
            not kept, or `conventions` do not fit the teacher.
        TrainingError: The loss is not a number. The weights of the epoch before are in
            ``NAME-last-good.keras``.
    """
    _check_answers(teacher_answers, seeds)
    _check_numbers(views, epochs, temperature, label_weight, features, seeds)
    _check_rate(learning_rate)
    if int8 and seeds == 1:
        raise OptionError(
            "int8 compares the students of several seeds; expected seeds of at least "
            f"{_LEAST_SEEDS}. One student becomes int8 by 'edgeclf convert'."
        )
    if int8 and importlib.util.find_spec("litert_quantizer") is None:
        raise MissingDependencyError("litert_quantizer", "convert", "Comparing int8 students")
    from edgeclf.networks.registry import check_start
    from edgeclf.system.progress import log
    from edgeclf.training.data import open_training_data

    check_start(student)
    model_of_teacher = _read_teacher(Path(teacher), source_spec)  # before the photos
    training_data = open_training_data(data, evaluation, out, seed, skip_unreadable=skip_unreadable)
    from edgeclf.networks.builder import find_backbone, input_spec
    from edgeclf.training.distillation import DistillationConfig, distill_student, start_student
    from edgeclf.training.fit import use_seed
    from edgeclf.training.models import save_model
    from edgeclf.training.online_distillation import OnlineSoftTargets
    from edgeclf.training.recovery import finished, keeping_good_weights
    from edgeclf.training.run_folder import RunFolder, run_config
    from edgeclf.training.soft_targets import SoftTargetCache, SoftTargets, compute_soft_targets
    from edgeclf.training.teachers import open_teacher

    use_seed(seed)
    source = open_teacher(model_of_teacher, training_data.photos.labels)
    if features and source.feature_width is None:
        raise OptionError(
            f"features is {features} and the teacher {teacher}, which shows only its "
            "probabilities; expected a .keras artifact from 'edgeclf train', or features 0."
        )
    backbone = find_backbone(student)
    spec = input_spec(backbone)
    distillation_config = DistillationConfig(
        epochs, temperature, label_weight, features, learning_rate
    )
    settings = {
        "backbone": backbone.name,
        "teacher_sha256": source.sha256,
        "teacher_answers": teacher_answers,
        "views": views,
        **dataclasses.asdict(distillation_config),
        "seed": seed,
    }
    photos = (
        training_data.images(training_data.photos, source.spec),
        training_data.images(training_data.photos, spec),
    )

    def kept_targets() -> SoftTargets:
        return compute_soft_targets(
            source,
            *photos,
            training_data.photos.targets,
            student_spec=spec,
            views=views,
            seed=seed,
            features=features > 0,
            cache=SoftTargetCache(training_data.folder / "cache", training_data.photos),
        )

    if seeds > 1:
        soft_targets = kept_targets()
        from edgeclf.training.seed_study import SeedStudy

        as_int8 = _int8_converter(training_data, spec) if int8 else None
        return SeedStudy(
            training_data,
            source,
            backbone,
            spec,
            soft_targets,
            distillation_config,
            settings,
            as_int8,
        ).run(seeds)
    folder = RunFolder(
        training_data.folder / f"{training_data.name}.run", run_config(training_data, settings)
    )
    given: SoftTargets | OnlineSoftTargets = (
        OnlineSoftTargets(source, *photos, training_data.photos.targets, views)
        if teacher_answers == "fly"
        else kept_targets()
    )
    model, inherited = start_student(backbone, spec, source, seed=seed)
    log(f"{inherited} layers of the student start from the teacher's")
    told = {**settings, "inherited_layers": inherited}

    def save(name: str, more: dict[str, Any]) -> Artifact:
        return save_model(training_data, name, model, spec, {**told, **more})

    with keeping_good_weights(folder, partial(save, f"{training_data.name}-last-good")):
        distill_student(
            model, backbone, inherited, given, distillation_config, seed=seed, folder=folder
        )
    return finished(folder, save(training_data.name, {}))


def _check_answers(teacher_answers: str, seeds: int) -> None:
    if teacher_answers not in _TEACHER_ANSWERS:
        raise OptionError(
            f"teacher_answers is {teacher_answers!r}; expected {' or '.join(_TEACHER_ANSWERS)}."
        )
    if teacher_answers == "fly" and seeds > 1:
        raise OptionError(
            f"seeds is {seeds} and teacher_answers 'fly'; expected 'cached' beside several seeds: "
            "the students distilled and alone are compared on the same views, which are kept."
        )


def _check_numbers(
    views: int,
    epochs: int,
    temperature: float,
    label_weight: float,
    features: float,
    seeds: int,
) -> None:
    if views < 1 or epochs < 1 or temperature < 1:
        raise OptionError(
            f"views, epochs and temperature are {views}, {epochs} and {temperature}; "
            "expected at least 1 each."
        )
    if not 0 <= label_weight <= 1 or not 0 <= features < math.inf:
        raise OptionError(
            f"label_weight and features are {label_weight} and {features}; expected a share of "
            "0 to 1, and 0 or more."
        )
    if seeds != 1 and seeds < _LEAST_SEEDS:
        raise OptionError(
            f"seeds is {seeds}; expected 1, or at least {_LEAST_SEEDS} to tell the teacher's part "
            "from chance."
        )


def _check_rate(learning_rate: float) -> None:
    if not 0 < learning_rate < math.inf:
        raise OptionError(
            f"learning_rate is {learning_rate}; expected more than 0, say {_LEARNING_RATE}."
        )


def _int8_converter(training_data: TrainingData, spec: ImageSpec) -> Callable[[Artifact], Artifact]:
    """Writes the int8 file of a student; all of them are calibrated on the same photos."""
    from edgeclf.converters.calibration import CALIBRATION_IMAGES
    from edgeclf.converters.unchecked import convert_unchecked
    from edgeclf.datasets.photos import sample_photos

    photos = sample_photos(training_data.photos, CALIBRATION_IMAGES, seed=0)
    images = training_data.images(photos, spec)
    return lambda artifact: convert_unchecked(artifact, "int8", images)


def _read_teacher(path: Path, source_spec: SourceSpec | None) -> Artifact | SourceModel:
    """An artifact; or a model from elsewhere, of which must be said what its file does not."""
    from edgeclf.artifact import is_artifact, load_artifact

    foreign = path.is_dir() or (path.suffix.lower() in _CONVERTIBLE and path.is_file())
    if foreign and (path.is_dir() or not is_artifact(path.read_bytes())):
        from edgeclf.converters.sources import open_model

        return open_model(path, source_spec or SourceSpec())
    return load_artifact(path)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("teacher", help="the .keras artifact that 'edgeclf train' wrote, any "
                        ".tflite or .onnx one, or a model from elsewhere")  # fmt: skip
    parser.add_argument("data", help="folder that holds a folder of photos a class, "
                        "or a CSV with path,label")  # fmt: skip
    parser.add_argument("--evaluation", metavar="DIR", help="photos to judge by "
                        "(default: eval/ beside DATA or split eval in "
                        "its CSV, else 15 %% of it)")  # fmt: skip
    parser.add_argument("--out", metavar="DIR", help="where results go (default: runs/NAME)")
    parser.add_argument("--student", metavar="NAME", default="student",
                        help="network, see 'edgeclf backbones' (default: %(default)s)")  # fmt: skip
    parser.add_argument("--teacher-answers", choices=_TEACHER_ANSWERS, default="cached",
                        help="cached: to the same views in every epoch, kept on disk; fly: to "
                        "other views in every epoch, none kept (default: %(default)s)")  # fmt: skip
    parser.add_argument("--views", type=int, default=8, help="variations of each photo that "
                        "the teacher answers (default: %(default)s)")  # fmt: skip
    parser.add_argument("--epochs", type=int, default=3,
                        help="passes over all views (default: %(default)s)")  # fmt: skip
    parser.add_argument("--temperature", type=float, default=4.0,
                        help="softens the answers before they are compared "
                        "(default: %(default)s)")  # fmt: skip
    parser.add_argument("--label-weight", type=float, default=0.2, metavar="SHARE",
                        help="of the true labels in the loss; the rest is the teacher's "
                        "(default: %(default)s)")  # fmt: skip
    parser.add_argument("--features", type=float, default=0.0, metavar="WEIGHT",
                        help="of the teacher's pooled features beside its answers; needs a .keras "
                        "teacher (default: left out)")  # fmt: skip
    parser.add_argument("--learning-rate", type=float, default=_LEARNING_RATE, metavar="RATE",
                        help="peak rate (default: %(default)s)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=1, metavar="N",
                        help="3 or more: train with N seeds, each also by the labels alone, and "
                        "report whether distillation helps (default: %(default)s)")  # fmt: skip
    parser.add_argument("--int8", action="store_true", help="with --seeds: compare the students "
                        "as int8 TFLite files too")  # fmt: skip
    parser.add_argument("--skip-unreadable", action="store_true",
                        help="leave out files that cannot be read, and count them")  # fmt: skip
    add_source_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    artifact = distill(
        args.teacher,
        args.data,
        evaluation=args.evaluation,
        out=args.out,
        student=args.student,
        teacher_answers=args.teacher_answers,
        views=args.views,
        epochs=args.epochs,
        temperature=args.temperature,
        label_weight=args.label_weight,
        features=args.features,
        learning_rate=args.learning_rate,
        seed=args.seed,
        seeds=args.seeds,
        int8=args.int8,
        skip_unreadable=args.skip_unreadable,
        source_spec=source_spec_from(args),
    )
    print(artifact.path)
    return 0


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["distill", *sys.argv[1:]]))
