"""`edgeclf distill`: a large teacher to a small student."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from edgeclf.errors import OptionError

if TYPE_CHECKING:
    from edgeclf.artifact import Artifact


def distill(
    teacher: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    evaluation: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    student: str = "student",
    views: int = 8,
    epochs: int = 3,
    temperature: float = 4.0,
    seed: int = 0,
    skip_unreadable: bool = False,
) -> Artifact:
    """Trains a small student on a teacher's answers.

    A student of the teacher's own family starts from the teacher's first layers.

    Args:
        teacher: A ``.keras`` artifact, from `edgeclf.train`.
        data: The photos to learn from: a folder that holds one folder a class, or a CSV as for
            `edgeclf.train`.
        evaluation: Other photos of the same classes; by default as for `edgeclf.train`.
        out: Folder for the artifact; by default ``runs/NAME``.
        student: The network; `edgeclf.backbones` lists them. ``student`` has about 100,000
            parameters, ``student-xs`` to ``student-xl`` 20,000 to 2,000,000.
        views: How many variations of each photo the teacher answers.
        epochs: Passes over all views.
        temperature: Softens the answers before they are compared; 1 or more.
        seed: Decides weights, views, order and any split.
        skip_unreadable: Leaves out files that cannot be read and counts them, in a printed line
            and in the artifact, instead of refusing the whole set.

    Returns:
        The artifact ``NAME.keras``; its metadata tell how well it does.

    Raises:
        ArtifactError: `teacher` is no ``.keras`` artifact, or knows other classes.
        DataError: The photos cannot be used.
        OptionError: There is no such student.
    """
    if views < 1 or epochs < 1 or temperature < 1:
        raise OptionError(
            f"views, epochs and temperature are {views}, {epochs} and {temperature}; "
            "expected at least 1 each."
        )
    from edgeclf.artifact import load_artifact
    from edgeclf.errors import ArtifactError
    from edgeclf.progress import say
    from edgeclf.task import open_task

    source = load_artifact(teacher)
    task = open_task(data, evaluation, out, seed, skip_unreadable=skip_unreadable)
    if source.metadata.labels != task.photos.labels:
        raise ArtifactError(
            f"{teacher} knows the classes {', '.join(source.metadata.labels)}; {data} holds "
            f"{', '.join(task.photos.labels)}. Train the teacher on these photos first."
        )
    from edgeclf.training.backbones import build_classifier, find_backbone, input_spec
    from edgeclf.training.distill import (
        fit_student,
        inherit_weights,
        teach_views,
        train_from,
    )
    from edgeclf.training.fit import use_seed
    from edgeclf.training.models import load_model, save_model

    use_seed(seed)
    teacher_model = load_model(source)
    backbone = find_backbone(student)
    spec = input_spec(backbone)
    lessons = teach_views(
        teacher_model,
        task.images(task.photos, source.metadata.image),
        task.images(task.photos, spec),
        task.photos.targets,
        views=views,
        seed=seed,
    )
    model = build_classifier(backbone, len(task.photos.labels), spec)
    inherited = inherit_weights(model, teacher_model)
    say(f"{inherited} layers of the student start from the teacher's")
    fit_student(
        model,
        lessons,
        epochs=epochs,
        temperature=temperature,
        seed=seed,
        unfreeze_from=train_from(model, inherited, backbone.unfreeze_from),
    )
    settings = {
        "backbone": backbone.name,
        "teacher_sha256": source.sha256,
        "inherited_layers": inherited,
        "views": views,
        "epochs": epochs,
        "temperature": temperature,
        "seed": seed,
    }
    return save_model(task, task.name, model, spec, settings)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("teacher", help="the .keras artifact that 'edgeclf train' wrote")
    parser.add_argument("data", help="folder that holds a folder of photos a class, "
                        "or a CSV with path,label")  # fmt: skip
    parser.add_argument("--evaluation", metavar="DIR", help="photos to judge by "
                        "(default: eval/ beside DATA or split eval in "
                        "its CSV, else 15 %% of it)")  # fmt: skip
    parser.add_argument("--out", metavar="DIR", help="where results go (default: runs/NAME)")
    parser.add_argument("--student", metavar="NAME", default="student",
                        help="network, see 'edgeclf backbones' (default: %(default)s)")  # fmt: skip
    parser.add_argument("--views", type=int, default=8, help="variations of each photo that "
                        "the teacher answers (default: %(default)s)")  # fmt: skip
    parser.add_argument("--epochs", type=int, default=3,
                        help="passes over all views (default: %(default)s)")  # fmt: skip
    parser.add_argument("--temperature", type=float, default=4.0, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--skip-unreadable", action="store_true",
                        help="leave out files that cannot be read, and count them")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    artifact = distill(
        args.teacher,
        args.data,
        evaluation=args.evaluation,
        out=args.out,
        student=args.student,
        views=args.views,
        epochs=args.epochs,
        temperature=args.temperature,
        seed=args.seed,
        skip_unreadable=args.skip_unreadable,
    )
    print(artifact.path)
    return 0


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["distill", *sys.argv[1:]]))
