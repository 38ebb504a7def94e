"""`edgeclf calibrate`: confidence to believe, what is unknown, and sets of labels, for one file."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeclf.errors import MissingDependencyError
from edgeclf.system.arguments import add_device, add_runtime
from edgeclf.system.device import Device

if TYPE_CHECKING:
    from edgeclf.artifact import Artifact

_RATE = 0.05


def calibrate(
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    unknown: str | os.PathLike[str] | None = None,
    trained: str | os.PathLike[str] | None = None,
    rate: float = _RATE,
    runtime: str = "auto",
    device: Device = "cpu",
) -> Artifact:
    """Fits confidence, novelty and prediction sets to a file's own answers, and seals them into it.

    Half of the photos, told by their hashes, are fitted to; the others say how well it holds. The
    file is replaced in one step; its model, probabilities and certified answers stay.

    Args:
        model: An artifact.
        data: Photos in one folder a class, or a CSV (its rows of split eval), that did not train
            the model.
        unknown: Photos of anything else, in whatever folders; with them the best of several
            scores is chosen, and their recall is measured.
        trained: Photos that trained the model, of every class: what is known is learnt from them,
            and where unknown begins from `data`. More of them recognise more.
        rate: The share of pictures of known things that may be called unknown, above 0, at most
            0.5.
        runtime: The runtime whose answers are fitted to.
        device: ``cpu`` or ``cuda``.

    Returns:
        The artifact. ``NAME.trust.json``, ``.md`` and ``.html`` beside it tell how well each figure
        holds and what to do; without the extra ``report`` there is the JSON alone, which
        `edgeclf.report` makes the others of.

    Raises:
        ArtifactError: The model is no artifact, or its features are not where it says.
        DataError: The photos trained the model, are too few, lack a class, or the unknown ones
            are not unknown; or nearly everything would be unknown. Nothing was written.
        OptionError: `rate` is out of its range, or the file cannot be replaced.

    Examples:
        ```python
        edgeclf.calibrate("mugs.int8.tflite", "photos/eval", unknown="photos/unknown")
        answer = edgeclf.classify("mugs.int8.tflite", "photo.jpg")
        print(answer.label, answer.confidence, answer.unknown, answer.set(0.9))
        ```
    """
    return _calibrate(Path(model), data, unknown, trained, rate, runtime, device)[0]


def _calibrate(
    model: Path,
    data: str | os.PathLike[str],
    unknown: str | os.PathLike[str] | None,
    trained: str | os.PathLike[str] | None,
    rate: float,
    runtime: str,
    device: Device,
) -> tuple[Artifact, dict[str, Any], Path]:
    from edgeclf.artifact import save_artifact
    from edgeclf.datasets.photos import find_photos, find_unlabelled
    from edgeclf.inference.classifier import Classifier
    from edgeclf.system import files
    from edgeclf.trust.calibration import calibrate_artifact
    from edgeclf.trust.photos import TrustPhotos
    from edgeclf.trust.record import record_path, write_record

    folder = model.parent
    with Classifier(model, runtime=runtime, device=device) as classifier:
        metadata = classifier.artifact.metadata
        for path in (model, record_path(folder, metadata)):
            files.check_out(path)
        photos = TrustPhotos(
            find_photos(data, classifier.labels),
            None if unknown is None else find_unlabelled(unknown),
            None if trained is None else find_photos(trained, classifier.labels, split="train"),
            folder / "cache",
        )
        artifact, result = calibrate_artifact(classifier, photos, rate)
    artifact = save_artifact(artifact, model)
    record = write_record(folder, model.name, metadata, result)
    write_pages(record)
    return artifact, result, record


def write_pages(record: Path) -> None:
    """Writes the pages of a record; says so where what the verb `report` needs is not there."""
    from edgeclf.system.progress import log
    from edgeclf.verbs import import_verb

    try:
        import_verb("report").report(record)
    except MissingDependencyError as exc:
        log(f"  no page was written: {exc}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("models", nargs="+", metavar="FILE", help="artifacts of any format")
    parser.add_argument("--data", metavar="DIR", required=True, help="photos in one folder a "
                        "class, or a CSV, that did not train the model")  # fmt: skip
    parser.add_argument("--unknown", metavar="DIR", help="photos of anything else, to choose the "
                        "score by and to measure how many are recognised")  # fmt: skip
    parser.add_argument("--trained", metavar="DIR", help="photos that trained the model, to learn "
                        "from what is known; more is recognised then")  # fmt: skip
    parser.add_argument("--rate", type=float, default=_RATE, metavar="SHARE", help="known "
                        "pictures that may be called unknown (default: %(default)s)")  # fmt: skip
    add_runtime(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    for model in map(Path, args.models):
        _, result, path = _calibrate(
            model, args.data, args.unknown, args.trained, args.rate, args.runtime, args.device
        )
        print(f"{model}: {describe(result)}\n  {path}")
    return 0


def describe(result: dict[str, Any]) -> str:
    """What was found, in a few lines."""
    trust, reliability, novel = (result[key] for key in ("trust", "reliability", "novelty"))
    held_out = trust["data"]["held_out"]["images"]
    low, high = trust["temperature"]["interval_95"]
    score = trust["novelty"]["score"].replace("_", " ")
    lines = [
        f"fitted to {trust['data']['fitted']['images']} photos; of {held_out} others:",
        f"  confidence: temperature {trust['temperature']['value']:.3f} [{low:.3f} to {high:.3f}], "
        f"calibration error {reliability['before']['calibration_error']:.3f} before, "
        f"{reliability['after']['calibration_error']:.3f} after",
        f"  unknown: by {score}, as {trust['novelty']['why']}; of known ones "
        f"{_share(novel, 'false_unknown')}, asked for {trust['novelty']['false_unknown_rate']:.1%}",
    ]
    if "recall" in novel:
        lines.append(f"  of unknown ones {_share(novel, 'recall')}, AUROC {novel['auroc']:.3f}")
    lines += [
        f"  sets of {each['coverage']:.0%}: right in {each['observed']:.1%}, "
        f"{each['mean_size']:.2f} labels"
        for each in result["sets"]
    ]
    return "\n".join([*lines, *(f"  remark: {remark}" for remark in result["remarks"])])


def _share(record: dict[str, Any], name: str) -> str:
    low, high = record[f"{name}_interval_95"]
    return f"{record[name]:.1%} [{low:.1%} to {high:.1%}] are called unknown"


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["calibrate", *sys.argv[1:]]))
