"""`edgeclf verify`: does this device still compute the model that was certified?"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from typing import TYPE_CHECKING, Any

from edgeclf.errors import EdgeclfError, VerificationError
from edgeclf.system.arguments import add_runtime
from edgeclf.system.words import json_line, printable

if TYPE_CHECKING:
    from edgeclf.inference.classifier import Classifier
    from edgeclf.trust.certificate import Verification

# Integer kernels round elsewhere from one CPU to the next, and then a near tie tips over.
_TOP1_TOLERANCE = 0.01
_DATA_TIMEOUT_S = 3600.0  # for a child that classifies photos; how many is up to the caller


def verify(
    model: str | os.PathLike[str],
    *,
    runtime: str = "auto",
    data: str | os.PathLike[str] | None = None,
    isolated: bool = False,
) -> Verification:
    """Replays an artifact's certificate; needs nothing but the runtime.

    Args:
        model: An artifact that `edgeclf.convert` wrote.
        runtime: The runtime to prove.
        data: Photos in one folder a class, or a CSV, to measure the accuracy on as well. If they
            are those that the artifact was certified on, it must be the certified accuracy within
            a point.
        isolated: Load and run the model in a child process with limits of time and memory, which
            a broken or hostile model may kill without harm to this one.

    Returns:
        How close the answers are to the certified ones.

    Raises:
        IntegrityError: The file has changed since it was written.
        VerificationError: The answers differ by more than the precision's tolerance, or the
            accuracy on the same photos by more than a point; or the child died.
        DataError: `data` does not hold the artifact's classes.

    Examples:
        ```python
        result = edgeclf.verify("mugs.int8.tflite")
        print(result.max_change, result.tolerance, result.runtime.library)
        ```
    """
    if isolated:
        return _verify_isolated(os.fspath(model), runtime, data)
    from edgeclf.inference.classifier import Classifier
    from edgeclf.trust.certificate import replay

    with Classifier(model, runtime=runtime) as classifier:
        result = replay(classifier)
        if data is None:
            return result
        return dataclasses.replace(result, accuracy=_measure(classifier, data))


def _measure(classifier: Classifier, data: str | os.PathLike[str]) -> dict[str, Any]:
    from edgeclf.datasets.photos import find_photos
    from edgeclf.datasets.validation import check_contents
    from edgeclf.metrics.accuracy import accuracy_record

    photos = find_photos(data, classifier.labels, partial=True)
    check_contents(photos)
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


def _verify_isolated(model: str, runtime: str, data: str | os.PathLike[str] | None) -> Verification:
    """Lets a child verify, and takes over its answer or its error."""
    from edgeclf.runtimes.base import RuntimeInfo
    from edgeclf.system import child_process
    from edgeclf.system.limits import Limits
    from edgeclf.trust.certificate import Verification

    timeout_s = child_process.TIMEOUT_S if data is None else _DATA_TIMEOUT_S
    job = {"model": model, "runtime": runtime, "data": None if data is None else os.fspath(data)}
    try:
        found = child_process.run_child(
            child_process.function_command("edgeclf.verify:verify_job"),
            job,
            timeout_s=timeout_s,
            limits=Limits.for_stranger(timeout_s),
        ).document
    except child_process.ChildError as exc:
        raise VerificationError(
            f"{model} was verified in a child process, and {exc}. The file is intact, so its model "
            "is broken or hostile: do not load it without a probe, and convert it again from a "
            "source you trust."
        ) from exc
    return Verification(**{**found, "runtime": RuntimeInfo(**found["runtime"])})


def verify_job(job: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
    """What the child does; see `edgeclf.system.child.serve`."""
    return dataclasses.asdict(verify(job["model"], runtime=job["runtime"], data=job["data"])), b""


def _to_json(model: str, result: Verification | EdgeclfError) -> str:
    """One line: the fields of a verification, or which error it was."""
    if isinstance(result, EdgeclfError):
        document = {"error": type(result).__name__, "message": str(result)}
    else:
        document = dataclasses.asdict(result)
    return json_line({"model": model, **document}, sys.stdout)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("models", nargs="+", help="artifacts that 'edgeclf convert' wrote")
    add_runtime(parser)
    parser.add_argument("--data", metavar="DIR", help="photos to measure the accuracy on, in one "
                        "folder a class or a CSV")  # fmt: skip
    parser.add_argument("--isolated", action="store_true", help="load each model in a child "
                        "process with limits, which a hostile one may kill")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON document a model")


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    for model in args.models:
        try:
            result = verify(model, runtime=args.runtime, data=args.data, isolated=args.isolated)
        except EdgeclfError as exc:
            if args.json:
                print(_to_json(model, exc), flush=True)
            raise
        print(_to_json(model, result) if args.json else _as_text(model, result), flush=True)
    return 0


def _as_text(model: str, result: Verification) -> str:
    text = (
        f"{printable(model)}: verified on {result.runtime.library} "
        f"{result.runtime.library_version} ({result.runtime.device}): "
        f"{result.images} golden images, largest change of a "
        f"probability {result.max_change:.6f} (allowed {result.tolerance}); its JPEG is "
        f"{result.photo} at every stage"
    )
    if result.confidence_change is not None:
        novelty = "not compared: this runtime gives no features"
        if result.novelty_change is not None:
            novelty = f"{result.novelty_change:.4f}"
        text += f"; confidence within {result.confidence_change:.4f}, novelty {novelty}"
    if result.accuracy is None:
        return text
    low, high = result.accuracy["top1_interval_95"]
    certified = result.accuracy.get("certified_top1")
    beside = "" if certified is None else f", certified {certified:.1%} on the same photos"
    return (
        f"{text}\n  top-1 {result.accuracy['top1']:.1%} [{low:.1%} to {high:.1%}] on "
        f"{result.accuracy['images']} photos{beside}"
    )


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["verify", *sys.argv[1:]]))
