"""`edgeclf ui`: a page at which pictures are classified, by this machine or by the browser."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence

from edgeclf.serve import serve
from edgeclf.service.config import ServiceConfig
from edgeclf.system.arguments import add_device, add_runtime

_DEFAULTS = ServiceConfig()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("files", nargs="*", metavar="[NAME[:VERSION]=]FILE",
                        help="artifacts to choose from")  # fmt: skip
    parser.add_argument("--models", metavar="DIR",
                        help="a folder of artifacts, or of MODEL/VERSION/FILE")  # fmt: skip
    parser.add_argument("--port", type=int, default=_DEFAULTS.port,
                        help=f"0 for any free one (default: {_DEFAULTS.port})")  # fmt: skip
    parser.add_argument("--gallery", metavar="DIR",
                        help="sample pictures that the page offers (default: none)")  # fmt: skip
    add_runtime(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    names = {each.name for each in dataclasses.fields(ServiceConfig)}
    config = ServiceConfig(**{k: v for k, v in vars(args).items() if k in names})
    ui(args.files, config=config)
    return 0


def ui(
    files: Sequence[str | os.PathLike[str]] = (), *, config: ServiceConfig | None = None
) -> None:
    """Serves artifacts with the page, until a signal ends it; to be called in the main thread.

    It is `edgeclf.serve` with `ServiceConfig.ui`: on this machine alone unless the config says
    otherwise, at http://127.0.0.1:8080.

    Args:
        files: Artifacts, each as ``FILE``, ``NAME=FILE`` or ``NAME:VERSION=FILE``.
        config: How it runs.

    Raises:
        OptionError: There is nothing to serve.
        ServiceError: It cannot listen there.
        EdgeclfError: An artifact cannot be served.
        MissingDependencyError: The extra ``web`` is not installed.

    Examples:
        ```python
        edgeclf.ui(["birds.int8.tflite", "birds.int8.onnx"])
        ```
    """
    serve(files, config=dataclasses.replace(config or ServiceConfig(), ui=True))


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["ui", *sys.argv[1:]]))
