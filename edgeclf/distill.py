"""`edgeclf distill`: a large teacher to a small student."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgeclf.errors import MissingDependencyError
from edgeclf.options import declaration as options
from edgeclf.training.distillation_config import DistillationConfig
from edgeclf.training.teacher_file import read_teacher

if TYPE_CHECKING:
    from edgeclf.artifact import Artifact


@options.takes(DistillationConfig)
def distill(
    teacher: str | os.PathLike[str], data: str | os.PathLike[str], config: DistillationConfig
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
        config: All of the following at once, instead of one by one.

    Returns:
        The artifact ``NAME.keras``, the first seed's; its metadata tell how well it does. The other
        students of several seeds lie in the folder ``NAME.students``.

    Raises:
        ArtifactError: `teacher` cannot be read, or does not know a class of the photos.
        ConversionError: `teacher` is from elsewhere and no image classifier, or not trusted.
        DataError: The photos cannot be used.
        MissingDependencyError: TensorFlow, or for int8 a package of the extra ``convert``, is not
            installed.
        OptionError: An option is out of its range or does not fit another, `out` cannot be written
            to, there is no such student, `teacher` shows no features, or what was said of it does
            not fit.
        TrainingError: The loss is not a number. The weights of the epoch before are in
            ``NAME-last-good.keras``.

    Examples:
        ```python
        student = edgeclf.distill(
            "runs/photos-teacher.keras", "photos/train", evaluation="photos/eval", out="runs"
        )
        ```
    """
    from edgeclf.networks.registry import check_start
    from edgeclf.training.data import open_training_data

    # All that can be refused is, before TensorFlow is imported, which takes seconds.
    if config.int8 and importlib.util.find_spec("litert_quantizer") is None:
        raise MissingDependencyError("litert_quantizer", "convert", "Comparing int8 students")
    check_start(config.student)
    model = read_teacher(Path(teacher), config.source)
    opened = open_training_data(
        data, config.evaluation, config.out, config.seed, skip_unreadable=config.skip_unreadable
    )
    from edgeclf.training.distillation_run import train_student_of

    return train_student_of(model, opened, config)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("teacher", help="the .keras artifact that 'edgeclf train' wrote, any "
                        ".tflite or .onnx one, or a model from elsewhere")  # fmt: skip
    parser.add_argument("data", help="folder that holds a folder of photos a class, "
                        "or a CSV with path,label")  # fmt: skip
    options.add_arguments(parser, DistillationConfig)


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    print(distill(args.teacher, args.data, options.from_arguments(args, DistillationConfig)).path)
    return 0


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["distill", *sys.argv[1:]]))
