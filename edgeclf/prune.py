"""`edgeclf prune`: a trained network without the channels it can best do without."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from edgeclf.errors import ArtifactError
from edgeclf.options import declaration as options
from edgeclf.training.pruning_config import PruningConfig

if TYPE_CHECKING:
    from edgeclf.artifact import Artifact


@options.takes(PruningConfig)
def prune(
    model: str | os.PathLike[str], data: str | os.PathLike[str], config: PruningConfig
) -> Artifact:
    """Removes channels from a trained network, and teaches it again what it lost.

    Whole channels go, sixteen at a time, so that what is left is an ordinary network that runs
    faster on every runtime; those go first that matter least for the loss of the photos, for the
    time that they cost. Then the network learns from the answers of what it was before. A
    run that was stopped goes on when it is asked for again with the same settings and photos.

    Args:
        model: A ``.keras`` artifact that `edgeclf.train` or `edgeclf.distill` wrote.
        data: The photos to learn from: a folder that holds one folder a class, or a CSV as for
            `edgeclf.train`.
        config: All of the following at once, instead of one by one.

    Returns:
        The artifact ``NAME-pruned.keras``, or of the name that is asked for; its metadata tell what
        it was pruned from, how many channels of each layer are left, and how well it does.

    Raises:
        ArtifactError: `model` is no ``.keras`` artifact, or does not know a class of the photos.
        ConversionError: The network has a layer whose channels cannot be followed; it is named.
        DataError: The photos cannot be used, or there are none of some of the model's classes.
        MissingDependencyError: TensorFlow is not installed.
        OptionError: An option is out of its range or does not fit another, `out` cannot be written
            to, the result would replace `model`, so much cannot go, the model is as fast as asked
            already, or `device` is damaged, of another version, or holds no times of `target`.
        QualityGateError: However small, the network is predicted to be slower than asked.
        TrainingError: The loss is not a number. The weights of the epoch before are in
            ``NAME-pruned-last-good.keras``.

    Examples:
        ```python
        smaller = edgeclf.prune(
            "runs/photos.keras", "photos/train", keep=0.5, evaluation="photos/eval", out="runs"
        )
        ```
    """
    from edgeclf.artifact import load_artifact
    from edgeclf.system.files import check_out
    from edgeclf.training.data import open_training_data

    # All that can be refused is, before TensorFlow is imported, which takes seconds.
    if config.out is not None:
        check_out(config.out, is_folder=True)
    artifact = load_artifact(model)
    if artifact.format != "keras":
        raise ArtifactError(
            f"{model} is a .{artifact.format} artifact, whose channels are settled; expected the "
            ".keras one that it was converted from."
        )
    teacher = None if config.teacher is None else load_artifact(config.teacher)
    table = None
    if config.max_latency_ms is not None:
        assert config.device is not None, "the config asks for it"
        from edgeclf.measurement.latency_table import LatencyTable

        table = LatencyTable.load(config.device)
    opened = open_training_data(
        data, config.evaluation, config.out, config.seed, skip_unreadable=config.skip_unreadable
    )
    from edgeclf.training.pruning_run import prune_model

    return prune_model(artifact, teacher, table, opened, config)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("model", help="the .keras artifact that 'edgeclf train' or 'distill' wrote")
    parser.add_argument("data", help="folder that holds a folder of photos a class, "
                        "or a CSV with path,label")  # fmt: skip
    options.add_arguments(parser, PruningConfig)


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    print(prune(args.model, args.data, options.from_arguments(args, PruningConfig)).path)
    return 0


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["prune", *sys.argv[1:]]))
