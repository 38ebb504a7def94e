"""`edgeclf register`: an artifact becomes a version of a model in a registry."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeclf.registry.registering import Registration


def register(
    file: str | os.PathLike[str],
    name: str,
    *,
    tracking_uri: str | None = None,
    runtime: str = "auto",
) -> Registration:
    """Registers an artifact with MLflow, once its certificate has been replayed here.

    The version can be loaded by `mlflow.pyfunc.load_model` and served by ``mlflow models serve``
    too. What its tags say is read from the file.

    Args:
        file: The artifact.
        name: The registered model's, which is made if there is none.
        tracking_uri: Where the registry is; by default what `MLFLOW_TRACKING_URI` says, else
            ``sqlite:///mlflow.db`` in this folder.
        runtime: What replays the certificate.

    Returns:
        Name, version and tags.

    Raises:
        ArtifactError: It is no artifact, or damaged.
        VerificationError: It does not answer here as it was certified; nothing was registered.
        OptionError: The name cannot be one, or the registry's address.
        RegistryError: The registry is away, or refuses it.
        MissingDependencyError: MLflow or a runtime is not installed.

    Examples:
        ```python
        made = edgeclf.register("birds.int8.tflite", "birds")
        edgeclf.promote(made.name, made.version, to="champion", data="photos/eval")
        ```
    """
    from edgeclf.artifact import load_artifact
    from edgeclf.inference.classifier import Classifier
    from edgeclf.registry.address import check_name, tracking_uri_of
    from edgeclf.registry.registering import register_artifact
    from edgeclf.trust.certificate import replay

    check_name(name)
    artifact = load_artifact(file)
    result = None
    if (artifact.metadata.certificate or {}).get("images"):
        with Classifier(artifact, runtime=runtime) as classifier:
            result = replay(classifier)
    return register_artifact(artifact, name, tracking_uri_of(tracking_uri), result)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    from edgeclf.system.arguments import add_runtime

    parser.add_argument("file", help="an artifact that 'edgeclf convert' wrote")
    parser.add_argument("--name", required=True, help="of the registered model")
    add_tracking_uri(parser)
    add_runtime(parser)


def add_tracking_uri(parser: argparse.ArgumentParser) -> None:
    """Where the registry is."""
    parser.add_argument("--tracking-uri", metavar="URI",
                        help="where the registry is (default: MLFLOW_TRACKING_URI, else "
                        "sqlite:///mlflow.db)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    made = register(args.file, args.name, tracking_uri=args.tracking_uri, runtime=args.runtime)
    print(f"{made.name} {made.version}")
    for name, value in made.tags.items():
        print(f"  {name:<28} {value}")
    return 0


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["register", *sys.argv[1:]]))
