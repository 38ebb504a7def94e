"""`edgeclf train`: a folder of photos to a trained classifier."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgeclf.errors import OptionError

if TYPE_CHECKING:
    from edgeclf.artifact import Artifact


def train(
    data: str | os.PathLike[str],
    *,
    evaluation: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    backbone: str = "efficientnet-lite0",
    weights: str | os.PathLike[str] = "imagenet",
    input_size: int | None = None,
    download: bool = False,
    epochs: int = 5,
    seed: int = 0,
    skip_unreadable: bool = False,
) -> Artifact:
    """Trains a classifier on photos by transfer learning, or from scratch.

    Args:
        data: A folder that holds one folder of photos a class; or a CSV with the columns
            ``path`` and ``label``, and perhaps ``split``.
        evaluation: The same with other photos of the same classes; by default the rows of split
            ``eval``, else ``eval`` beside `data`, else 15 % of `data` set aside.
        out: Folder for the artifact; by default ``runs/NAME``, NAME being the data set's.
        backbone: The network; `edgeclf.backbones` lists them.
        weights: Where it starts: ``imagenet``, a file of its weights (``.weights.h5``,
            ``.keras``, ``.h5``), or ``none``.
        input_size: Rows and columns of its images; the network's own by default.
        download: Whether Keras may fetch ImageNet weights that are not on this machine.
        epochs: Passes over augmented photos, after a head was fitted to frozen features;
            without weights there are only these passes, over the whole network.
        seed: Decides order, augmentation and any split.
        skip_unreadable: Leaves out files that cannot be read and counts them, in a printed line
            and in the artifact, instead of refusing the whole set.

    Returns:
        The artifact ``NAME-teacher.keras``; its metadata tell how well it does.

    Raises:
        DataError: The photos cannot be used.
        OptionError: There is no such backbone, or its weights are not on this machine.
        ArtifactError: `weights` holds another network.
        MissingDependencyError: TensorFlow or the package of the weights is not installed.
    """
    if epochs < 1:
        raise OptionError(f"epochs is {epochs}; expected at least 1.")
    from edgeclf.task import open_task

    # Before TensorFlow, which takes seconds to import.
    task = open_task(data, evaluation, out, seed, skip_unreadable=skip_unreadable)
    from edgeclf.training.backbones import build_classifier, find_backbone, input_spec
    from edgeclf.training.fit import fit_from_scratch, fit_pretrained, use_seed
    from edgeclf.training.models import save_model

    use_seed(seed)
    chosen = find_backbone(backbone)
    spec = input_spec(chosen, input_size)
    model = build_classifier(
        chosen, len(task.photos.labels), spec, weights=weights, download=download
    )
    images, targets = task.images(task.photos, spec), task.photos.targets
    if weights == "none":
        fit_from_scratch(model, images, targets, epochs=epochs, seed=seed)
    else:
        fit_pretrained(
            model, images, targets, unfreeze_from=chosen.unfreeze_from, epochs=epochs, seed=seed
        )
    settings = {
        "backbone": chosen.name,
        "weights": Path(weights).name,
        "epochs": epochs,
        "seed": seed,
    }
    return save_model(task, f"{task.name}-teacher", model, spec, settings)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("data", help="folder that holds a folder of photos a class, "
                        "or a CSV with path,label")  # fmt: skip
    parser.add_argument("--evaluation", metavar="DIR", help="photos to judge by "
                        "(default: eval/ beside DATA or split eval in "
                        "its CSV, else 15 %% of it)")  # fmt: skip
    parser.add_argument("--out", metavar="DIR", help="where results go (default: runs/NAME)")
    parser.add_argument("--backbone", metavar="NAME", default="efficientnet-lite0",
                        help="network, see 'edgeclf backbones' (default: %(default)s)")  # fmt: skip
    parser.add_argument("--weights", metavar="imagenet|none|FILE", default="imagenet",
                        help="where it starts (default: %(default)s)")  # fmt: skip
    parser.add_argument("--input-size", type=int, metavar="N", help="rows and columns of its "
                        "images (default: the network's own)")  # fmt: skip
    parser.add_argument("--download", action="store_true", help="let Keras fetch ImageNet "
                        "weights that are not on this machine")  # fmt: skip
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
        backbone=args.backbone,
        weights=args.weights,
        input_size=args.input_size,
        download=args.download,
        epochs=args.epochs,
        seed=args.seed,
        skip_unreadable=args.skip_unreadable,
    )
    print(artifact.path)
    return 0


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["train", *sys.argv[1:]]))
