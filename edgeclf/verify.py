"""`edgeclf verify`: does this device still compute the model that was certified?"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeclf.certificate import Verification


def verify(model: str | os.PathLike[str], *, runtime: str = "auto") -> Verification:
    """Replays an artifact's certificate; needs nothing but the runtime.

    Args:
        model: An artifact that `edgeclf.convert` wrote.
        runtime: The runtime to prove.

    Returns:
        How close the answers are to the certified ones.

    Raises:
        IntegrityError: The file has changed since it was written.
        VerificationError: The answers differ by more than the precision's tolerance.
    """
    from edgeclf.certificate import replay
    from edgeclf.classifier import Classifier

    with Classifier(model, runtime=runtime) as classifier:
        return replay(classifier)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("models", nargs="+", help="artifacts that 'edgeclf convert' wrote")
    parser.add_argument("--runtime", default="auto", help="default: the file format's usual one")


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    for model in args.models:
        result = verify(model, runtime=args.runtime)
        print(
            f"{model}: verified on {result.runtime.library} {result.runtime.library_version} "
            f"({result.runtime.device}): {result.images} golden images, largest change of a "
            f"probability {result.max_change:.6f} (allowed {result.tolerance}); its JPEG is "
            f"{result.photo} at every stage"
        )
    return 0


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["verify", *sys.argv[1:]]))
