"""`edgeclf promote`: a version gets an alias if it has shown that it may have it."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from edgeclf.errors import OptionError

if TYPE_CHECKING:
    from edgeclf.registry.promotion import Promotion

_TOLERANCE = 0.01


def promote(
    name: str,
    version: str | int,
    *,
    to: str = "champion",
    tracking_uri: str | None = None,
    data: str | os.PathLike[str] | None = None,
    tolerance: float = _TOLERANCE,
    max_p99_ms: float | None = None,
    runtime: str = "auto",
) -> Promotion:
    """Sets an alias of a registered model, if the version shows on this machine what is asked.

    Its file is downloaded and held against its SHA-256, and its certificate is replayed. On photos
    it is compared with the version that the alias names; a limit of latency is measured. What was
    found is written to the version's tags, of a refusal too.

    Args:
        name: The registered model's.
        version: The version's number.
        to: The alias.
        tracking_uri: Where the registry is, as for `edgeclf.register`.
        data: Photos in one folder a class, or a CSV, to compare on; None compares nothing.
        tolerance: Share of top-1 on them that it may lose against the present version, 0..1.
        max_p99_ms: In which 99 of 100 pictures must be answered on this machine.
        runtime: What answers.

    Returns:
        What was found.

    Raises:
        VerificationError: The certificate does not hold here.
        QualityGateError: It is worse than the present version by more than the tolerance, or
            slower than the limit.
        RegistryError: The registry is away, has no such version, holds a damaged file, or somebody
            else promoted at the same time.
        DataError: The photos cannot be used, or the two versions know different classes.
        OptionError: A number or a name cannot be one.
        MissingDependencyError: MLflow or a runtime is not installed.

    Examples:
        ```python
        done = edgeclf.promote("birds", 7, to="champion", data="photos/eval")
        print(done.text())
        ```
    """
    from edgeclf.registry.address import Address, check_alias, check_name, tracking_uri_of
    from edgeclf.registry.client import ClientSource
    from edgeclf.registry.gates import Asked
    from edgeclf.registry.promotion import promote_version

    if not str(version).isdecimal():
        raise OptionError(f"The version is {version!r}; expected its number in the registry.")
    if not 0 <= tolerance <= 1:
        raise OptionError(f"tolerance is {tolerance}, a share of the photos; expected 0 to 1.")
    if max_p99_ms is not None and not max_p99_ms > 0:
        raise OptionError(f"max_p99_ms is {max_p99_ms}; expected more than 0.")
    address = Address(check_name(name), check_alias(to))
    source = ClientSource(tracking_uri_of(tracking_uri))
    asked = Asked(data, tolerance, max_p99_ms, runtime)
    return promote_version(source, address, str(version), asked)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    from edgeclf.register import add_tracking_uri
    from edgeclf.system.arguments import add_runtime

    parser.add_argument("name", help="of the registered model")
    parser.add_argument("--version", required=True, metavar="N", help="its version's number")
    parser.add_argument("--to", required=True, metavar="ALIAS", help="such as champion")
    add_tracking_uri(parser)
    parser.add_argument("--data", metavar="DIR", help="photos to compare it on with the version "
                        "that has the alias, in one folder a class or a CSV")  # fmt: skip
    parser.add_argument("--tolerance", type=float, default=_TOLERANCE, metavar="SHARE",
                        help="of top-1 that it may lose there "
                        f"(default: {_TOLERANCE:g})")  # fmt: skip
    parser.add_argument("--max-p99-ms", type=float, metavar="MS",
                        help="in which 99 of 100 pictures must be answered here")  # fmt: skip
    add_runtime(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    done = promote(
        args.name,
        args.version,
        to=args.to,
        tracking_uri=args.tracking_uri,
        data=args.data,
        tolerance=args.tolerance,
        max_p99_ms=args.max_p99_ms,
        runtime=args.runtime,
    )
    print(done.text())
    return 0


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["promote", *sys.argv[1:]]))
