"""`edgeclf verify`: does this device still compute the model that was certified?"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from typing import TYPE_CHECKING, Any

from edgeclf.errors import VerificationError

if TYPE_CHECKING:
    from edgeclf.certificate import Verification
    from edgeclf.classifier import Classifier

# Integer kernels round elsewhere from one CPU to the next, and then a near tie tips over.
_TOP1_TOLERANCE = 0.01


def verify(
    model: str | os.PathLike[str],
    *,
    runtime: str = "auto",
    data: str | os.PathLike[str] | None = None,
) -> Verification:
    """Replays an artifact's certificate; needs nothing but the runtime.

    Args:
        model: An artifact that `edgeclf.convert` wrote.
        runtime: The runtime to prove.
        data: Photos in one folder a class, to measure the accuracy on as well. If they are those
            that the artifact was certified on, it must be the certified accuracy within a point.

    Returns:
        How close the answers are to the certified ones.

    Raises:
        IntegrityError: The file has changed since it was written.
        VerificationError: The answers differ by more than the precision's tolerance, or the
            accuracy on the same photos by more than a point.
        DataError: `data` does not hold the artifact's classes.
    """
    from edgeclf.certificate import replay
    from edgeclf.classifier import Classifier

    with Classifier(model, runtime=runtime) as classifier:
        result = replay(classifier)
        if data is None:
            return result
        return dataclasses.replace(result, accuracy=_measure(classifier, data))


def _measure(classifier: Classifier, data: str | os.PathLike[str]) -> dict[str, Any]:
    from edgeclf.measurement.accuracy import accuracy_record
    from edgeclf.photos import find_photos

    photos = find_photos(data, classifier.labels, partial=True)
    record = accuracy_record(classifier.probabilities(photos.paths), photos)
    certified = (classifier.artifact.metadata.accuracy or {}).get("artifact", {})
    if certified.get("data_sha256") == record["data_sha256"]:
        record["certified_top1"] = certified["top1"]
        if abs(record["top1"] - certified["top1"]) > _TOP1_TOLERANCE:
            raise VerificationError(
                f"On the {len(photos)} photos it was certified on, the model is right for "
                f"{record['top1']:.1%} here and was for {certified['top1']:.1%} there (allowed "
                f"difference: {_TOP1_TOLERANCE:.1%}). Update the runtime, or convert again with "
                "the one that this device has."
            )
    return record


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("models", nargs="+", help="artifacts that 'edgeclf convert' wrote")
    parser.add_argument("--runtime", default="auto", help="default: the file format's usual one")
    parser.add_argument("--data", metavar="DIR", help="photos to measure the accuracy on, in one "
                        "folder a class")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    for model in args.models:
        result = verify(model, runtime=args.runtime, data=args.data)
        print(
            f"{model}: verified on {result.runtime.library} {result.runtime.library_version} "
            f"({result.runtime.device}): {result.images} golden images, largest change of a "
            f"probability {result.max_change:.6f} (allowed {result.tolerance}); its JPEG is "
            f"{result.photo} at every stage"
        )
        if result.accuracy is not None:
            low, high = result.accuracy["top1_interval_95"]
            certified = result.accuracy.get("certified_top1")
            beside = "" if certified is None else f", certified {certified:.1%} on the same photos"
            print(
                f"  top-1 {result.accuracy['top1']:.1%} [{low:.1%} to {high:.1%}] on "
                f"{result.accuracy['images']} photos{beside}"
            )
    return 0


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["verify", *sys.argv[1:]]))
