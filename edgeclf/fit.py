"""`edgeclf fit`: a student as good as a device's budget allows."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgeclf.errors import MissingDependencyError
from edgeclf.options import declaration as options
from edgeclf.training.budget_config import BudgetConfig
from edgeclf.training.teacher_file import read_teacher

if TYPE_CHECKING:
    from edgeclf.artifact import Artifact

_NEEDED = {
    "optuna": ("search", "Searching designs"),
    "litert_quantizer": ("convert", "Converting students"),
    "jinja2": ("report", "Writing the report"),
    "matplotlib": ("report", "Writing the report"),
}


@options.takes(BudgetConfig)
def fit(data: str | os.PathLike[str], config: BudgetConfig) -> tuple[Artifact, ...]:
    """Searches a student that keeps to a device's budget, trains and converts it.

    What a design costs is predicted from a table that was measured on the device; designs that
    are over the budget are never trained. Of the others, some are taught by the teacher, judged by
    the answers of their converted files to training photos that are set aside, and stopped early
    where they fall behind. The best are taught again on all photos, converted through the gate,
    and measured, where this machine is the device. A search that was stopped goes on to the same
    trials when it is asked for again with the same settings and photos.

    Args:
        data: The photos to learn from: a folder that holds one folder a class, or a CSV as for
            `edgeclf.train`.
        config: All of the following at once, instead of one by one.

    Returns:
        The recommended student ``NAME.keras``, then its files in the order of `to`. Beside them,
        ``NAME.fit.json``, ``.md`` and ``.html`` tell of all finalists, which lie in the folder
        ``NAME.students``, and of all trials.

    Raises:
        ArtifactError: The teacher cannot be read, or does not know a class of the photos.
        ConversionError: The teacher is from elsewhere and no image classifier, or not trusted.
        DataError: The photos cannot be used.
        MeasurementError: A file cannot be run here.
        MissingDependencyError: TensorFlow, or a package of ``search``, ``convert`` or ``report``,
            is not installed.
        OptionError: An option is out of its range or does not fit another, there is no teacher,
            limit or device, the device's table is damaged, of another version or tells nothing of
            a file in `to`, or `out` cannot be written to.
        QualityGateError: No design is predicted to keep to the budget, and nothing was trained; or
            no finalist does.
        TrainingError: No trial came to its end, or another process works in the same folder.

    Examples:
        ```python
        student, file = edgeclf.fit(
            "photos/train",
            teacher="runs/photos-teacher.keras",
            device="pi.json",
            max_latency_ms=0.5,
            max_size_kb=200,
            out="runs",
        )
        print(file.path, file.size_bytes)
        ```
    """
    from edgeclf.system.files import check_out

    # All that can be refused is, before TensorFlow is imported, which takes seconds.
    if config.out is not None:
        check_out(config.out, is_folder=True)
    for package, (extra, purpose) in _NEEDED.items():
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(package, extra, purpose)
    from edgeclf.measurement.latency_table import LatencyTable
    from edgeclf.training.data import open_training_data

    assert config.teacher is not None and config.device is not None, "the config asks for them"
    table = LatencyTable.load(Path(config.device))
    model = read_teacher(Path(config.teacher), config.source)
    opened = open_training_data(
        data, config.evaluation, config.out, config.seed, skip_unreadable=config.skip_unreadable
    )
    from edgeclf.training.budget_run import fit_to_budget

    return fit_to_budget(model, table, opened, config)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("data", help="folder that holds a folder of photos a class, "
                        "or a CSV with path,label")  # fmt: skip
    options.add_arguments(parser, BudgetConfig)


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    for artifact in fit(args.data, options.from_arguments(args, BudgetConfig)):
        print(artifact.path)
    return 0


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["fit", *sys.argv[1:]]))
