"""`edgeclf train`: a folder of photos to a trained classifier."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from edgeclf.errors import OptionError

if TYPE_CHECKING:
    from edgeclf.artifact import Artifact


def train(
    data: str | os.PathLike[str],
    *,
    evaluation: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    epochs: int = 5,
    seed: int = 0,
    skip_unreadable: bool = False,
) -> Artifact:
    """Trains EfficientNet-Lite0 on photos by transfer learning from its ImageNet weights.

    Args:
        data: A folder that holds one folder of photos a class; or a CSV with the columns
            ``path`` and ``label``, and perhaps ``split``.
        evaluation: The same with other photos of the same classes; by default the rows of split
            ``eval``, else ``eval`` beside `data`, else 15 % of `data` set aside.
        out: Folder for the artifact; by default ``runs/NAME``, NAME being the data set's.
        epochs: Passes over augmented photos, after a head was fitted to frozen features.
        seed: Decides order, augmentation and any split.
        skip_unreadable: Leaves out files that cannot be read and counts them, in a printed line
            and in the artifact, instead of refusing the whole set.

    Returns:
        The artifact ``NAME-teacher.keras``; its metadata tell how well it does.

    Raises:
        DataError: The photos cannot be used.
        MissingDependencyError: TensorFlow or the package of the weights is not installed.
    """
    if epochs < 1:
        raise OptionError(f"epochs is {epochs}; expected at least 1.")
    from edgeclf.image import ImageSpec
    from edgeclf.task import open_task

    # Before TensorFlow, which takes seconds to import.
    task = open_task(data, evaluation, out, seed, skip_unreadable=skip_unreadable)
    from edgeclf.training.backbones import build_classifier, find_backbone
    from edgeclf.training.fit import fit_pretrained, use_seed
    from edgeclf.training.models import save_model

    use_seed(seed)
    backbone = find_backbone("efficientnet-lite0")
    spec = ImageSpec(backbone.input_size, backbone.input_size)
    images = task.images(task.photos, spec)
    model = build_classifier(backbone, len(task.photos.labels), spec, pretrained=True)
    fit_pretrained(
        model,
        images,
        task.photos.targets,
        unfreeze_from=backbone.unfreeze_from,
        epochs=epochs,
        seed=seed,
    )
    settings = {"backbone": backbone.name, "epochs": epochs, "seed": seed}
    return save_model(task, f"{task.name}-teacher", model, spec, settings)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("data", help="folder that holds a folder of photos a class, "
                        "or a CSV with path,label")  # fmt: skip
    parser.add_argument("--evaluation", metavar="DIR", help="photos to judge by "
                        "(default: eval/ beside DATA or split eval in "
                        "its CSV, else 15 %% of it)")  # fmt: skip
    parser.add_argument("--out", metavar="DIR", help="where results go (default: runs/NAME)")
    parser.add_argument("--epochs", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--skip-unreadable", action="store_true",
                        help="leave out files that cannot be read, and count them")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    artifact = train(
        args.data,
        evaluation=args.evaluation,
        out=args.out,
        epochs=args.epochs,
        seed=args.seed,
        skip_unreadable=args.skip_unreadable,
    )
    print(artifact.path)
    return 0


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["train", *sys.argv[1:]]))
