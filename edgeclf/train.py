"""`edgeclf train`: a folder of photos to a trained classifier."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeclf.errors import MissingDependencyError, OptionError
from edgeclf.training.config import TrainingConfig, add_training_arguments, training_config_from

if TYPE_CHECKING:
    from edgeclf.artifact import Artifact
    from edgeclf.image import ImageSpec
    from edgeclf.training.data import TrainingData
    from edgeclf.training.fit import Examples

_VALIDATION = 0.15  # of the training photos, for early stopping and for the search


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
    training_config: TrainingConfig | None = None,
    search: int | None = None,
) -> Artifact:
    """Trains a classifier on photos by transfer learning, or from scratch.

    Its state is kept in the folder ``NAME-teacher.run`` after each epoch. A run that was stopped,
    however, goes on from there when it is asked for again with the same settings and photos.

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
        training_config: Batch size, learning rate, early stopping and the like.
        search: How many trials vary learning rate, augmentation and, for a student from nothing,
            the width, before the best of them is trained; the first trial is what was asked for.
            They are judged by 15 % of the training photos, set aside, and kept in
            ``NAME-teacher.search.db``, from where a search that was stopped goes on.

    Returns:
        The artifact ``NAME-teacher.keras``; its metadata tell how well it does.

    Raises:
        DataError: The photos cannot be used.
        OptionError: There is no such backbone, its weights are not on this machine, or there is no
            GPU for mixed precision; or there is no trial, or a search over several machines.
        TrainingError: The loss is not a number. The weights of the epoch before are in
            ``NAME-teacher-last-good.keras``. Or no trial of a search came to its end.
        ArtifactError: `weights` holds another network.
        MissingDependencyError: TensorFlow, the package of the weights or, to search, Optuna is not
            installed.
    """
    if epochs < 1:
        raise OptionError(f"epochs is {epochs}; expected at least 1.")
    from edgeclf.networks.registry import check_start
    from edgeclf.training.data import open_training_data

    check_start(backbone, weights, input_size, download=download)
    # Before TensorFlow, which takes seconds to import.
    training_config = TrainingConfig() if training_config is None else training_config
    if search is not None:
        _check_search(search, training_config)
    training_data = open_training_data(data, evaluation, out, seed, skip_unreadable=skip_unreadable)
    from edgeclf.networks.builder import build_classifier, find_backbone, input_spec
    from edgeclf.training.distribution import data_of_worker
    from edgeclf.training.fit import TrainingRun, fit_from_scratch, fit_pretrained, use_seed
    from edgeclf.training.models import save_model
    from edgeclf.training.precision import as_float32, computing_in, prepare
    from edgeclf.training.recovery import finished, keeping_good_weights
    from edgeclf.training.run_folder import RunFolder, run_config

    name = f"{training_data.name}-teacher"
    prepare(training_config)
    if training_config.distribute == "multi-worker":
        training_data = data_of_worker(training_data, f"{name}.run")
    chosen = find_backbone(backbone)
    spec = input_spec(chosen, input_size)
    common: dict[str, Any] = {"weights": Path(weights).name, "epochs": epochs, "seed": seed}
    if search is not None:
        from edgeclf.training.search import Search

        asked = {"backbone": chosen.name, **common, **training_config.settings()}
        config = run_config(training_data, {**asked, "input_size": spec.height}, weights)
        del config["data"]["evaluation_sha256"]  # those photos decide nothing
        examples, judges = _set_aside(training_data, spec, seed)
        finder = Search(
            chosen, len(training_data.photos.labels), spec, weights, download,
            TrainingRun(examples, epochs, seed, training_config, judges), config,
            training_data.folder / f"{name}.search.db",
        )  # fmt: skip
        chosen, training_config = finder.run(search)
        common["search"] = search
    use_seed(seed)
    with computing_in(training_config):
        model = build_classifier(
            chosen, len(training_data.photos.labels), spec, weights=weights, download=download
        )
    settings = {"backbone": chosen.name, **common, **training_config.settings()}
    folder = RunFolder(
        training_data.folder / f"{name}.run",
        run_config(training_data, {**settings, "input_size": spec.height}, weights),
    )
    if training_config.early_stopping is None:
        examples, validation = (
            (training_data.images(training_data.photos, spec), training_data.photos.targets),
            None,
        )
    else:
        examples, validation = _set_aside(training_data, spec, seed)
    training = TrainingRun(examples, epochs, seed, training_config, validation, folder)

    def save(name: str, more: dict[str, Any]) -> Artifact:
        plain = as_float32(model, chosen, spec)
        return save_model(training_data, name, plain, spec, {**settings, **more})

    with keeping_good_weights(folder, partial(save, f"{name}-last-good")):
        if weights == "none":
            fit_from_scratch(model, training)
        else:
            fit_pretrained(model, training, unfreeze_from=chosen.unfreeze_from)
    return finished(folder, save(name, {}))


def _check_search(trials: int, training_config: TrainingConfig) -> None:
    """Refuses a search that cannot be made.

    Raises:
        OptionError: No trial is asked for, or several machines.
        MissingDependencyError: Optuna is not installed.
    """
    if trials < 1:
        raise OptionError(f"The number of trials is {trials}; expected at least 1.")
    if training_config.distribute == "multi-worker":
        raise OptionError(
            f"The way to distribute is {training_config.distribute}; expected none or mirrored "
            "beside a search. Search on one machine, then train on several with what it found."
        )
    if importlib.util.find_spec("optuna") is None:
        raise MissingDependencyError("optuna", "search", "Searching settings")


def _set_aside(
    training_data: TrainingData, spec: ImageSpec, seed: int
) -> tuple[Examples, Examples]:
    """The training photos without a part of each class, and that part to judge by."""
    from edgeclf.datasets.photos import split_photos

    rest, judges = split_photos(training_data.photos, _VALIDATION, seed)
    return (training_data.images(rest, spec), rest.targets), (
        training_data.images(judges, spec),
        judges.targets,
    )


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
    parser.add_argument("--search", type=int, metavar="N", help="vary learning rate, augmentation "
                        "and, for a student from nothing, width in N trials, and train the best; "
                        "judged by 15 %% of the training photos, set aside")  # fmt: skip
    add_training_arguments(parser)


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
        training_config=training_config_from(args),
        search=args.search,
    )
    print(artifact.path)
    return 0


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["train", *sys.argv[1:]]))
