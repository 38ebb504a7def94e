"""`edgeclf train`: a folder of photos to a trained classifier."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from typing import TYPE_CHECKING

from edgeclf.errors import MissingDependencyError
from edgeclf.options import declaration as options
from edgeclf.training.config import TrainingConfig

if TYPE_CHECKING:
    from edgeclf.artifact import Artifact


@options.takes(TrainingConfig)
def train(data: str | os.PathLike[str], config: TrainingConfig) -> Artifact:
    """Trains a classifier on photos by transfer learning, or from scratch.

    Its state is kept in the folder ``NAME-teacher.run`` after each epoch. A run that was stopped,
    however, goes on from there when it is asked for again with the same settings and photos.

    Args:
        data: A folder that holds one folder of photos a class; or a CSV with the columns
            ``path`` and ``label``, and perhaps ``split``.
        config: All of the following at once, instead of one by one.

    Returns:
        The artifact ``NAME-teacher.keras``; its metadata tell how well it does.

    Raises:
        DataError: The photos cannot be used.
        OptionError: An option is out of its range, `out` cannot be written to, there is no such
            backbone, its weights are not on this machine, or there is no GPU for mixed precision.
        TrainingError: The loss is not a number. The weights of the epoch before are in
            ``NAME-teacher-last-good.keras``. Or no trial of a search came to its end.
        ArtifactError: The weights are those of another network.
        RegistryError: There is no MLflow at the address that was given; or it went away until the
            run was finished, whose file is stored then.
        MissingDependencyError: TensorFlow, the package of the weights or, to search, Optuna is not
            installed.

    Examples:
        ```python
        teacher = edgeclf.train("photos/train", evaluation="photos/eval", out="runs", epochs=3)
        print(teacher.path, teacher.metadata.accuracy)
        ```
    """
    from edgeclf.networks.registry import check_start
    from edgeclf.training.data import open_training_data

    # All that can be refused is, before TensorFlow is imported, which takes seconds.
    check_start(config.backbone, config.weights, download=config.download)
    if config.search is not None and importlib.util.find_spec("optuna") is None:
        raise MissingDependencyError("optuna", "search", "Searching settings")
    if config.mlflow is not None:
        from edgeclf.training.mlflow_log import check_tracking

        check_tracking(config.mlflow)
    opened = open_training_data(
        data, config.evaluation, config.out, config.seed, skip_unreadable=config.skip_unreadable
    )
    from edgeclf.training.train_run import train_classifier

    return train_classifier(opened, config)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("data", help="folder that holds a folder of photos a class, "
                        "or a CSV with path,label")  # fmt: skip
    options.add_arguments(parser, TrainingConfig)


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    print(train(args.data, options.from_arguments(args, TrainingConfig)).path)
    return 0


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["train", *sys.argv[1:]]))
