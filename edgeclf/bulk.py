"""`edgeclf bulk`: pictures by the million to a table of answers."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence

from edgeclf.system.arguments import add_device, add_runtime
from edgeclf.system.progress import log
from edgeclf.system.words import counted, printable
from edgeclf.tables.config import BulkConfig
from edgeclf.tables.run import BulkResult, make_table

StrPath = str | os.PathLike[str]


def bulk(
    source: StrPath | Sequence[StrPath],
    model: StrPath,
    to: StrPath,
    config: BulkConfig | None = None,
) -> BulkResult:
    """Classifies many pictures into a Parquet table, one row a picture.

    What is answered is kept beside the table, in ``TABLE.parts``, until it is complete: the same
    call goes on there, whatever ended the one before. docs/bulk.md explains sources and columns.

    Args:
        source: A folder of photos, a list of them (``.txt``), Parquet files or tar shards; a path,
            a pattern or a URL, or several.
        model: The artifact.
        to: The table.
        config: How it is made; by default in this process.

    Returns:
        Where it is, and how many rows it has.

    Raises:
        DataError: The source holds no pictures, is of several kinds, or cannot be read.
        OptionError: A table is there that is not to be overwritten, or was begun with another
            model, source or options.
        ArtifactError: The model is no artifact, or has no certificate.
        VerificationError: It does not answer as certified, here or on a node of the cluster.
        ServiceError: The Ray cluster cannot be used.
        MissingDependencyError: The extra ``bulk``, or ``ray``, is not installed.

    Examples:
        ```python
        made = edgeclf.bulk("photos", "birds.int8.tflite", "answers.parquet")
        print(made.rows, made.failed)
        ```
    """
    names = [source] if isinstance(source, str | os.PathLike) else list(source)
    return make_table([os.fspath(name) for name in names], model, to, config or BulkConfig())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("source", nargs="+",
                        help="a folder of photos, a list of them (.txt), Parquet files or tar "
                        "shards; paths or URLs")  # fmt: skip
    parser.add_argument("--model", required=True, metavar="FILE", help="the artifact")
    parser.add_argument("--to", required=True, metavar="TABLE", help="a Parquet file")
    parser.add_argument("--top", type=int, default=BulkConfig.top, metavar="K",
                        help=f"classes in a row's lists (default: {BulkConfig.top})")  # fmt: skip
    parser.add_argument("--column", metavar="NAME",
                        help="of Parquet, what holds pictures or paths (default: the one that "
                        "can)")  # fmt: skip
    parser.add_argument("--id-column", metavar="NAME",
                        help="of Parquet, what holds ids (default: id or key, else file and "
                        "row)")  # fmt: skip
    parser.add_argument("--overwrite", action="store_true",
                        help="replace a table that is there, and throw away what another command "
                        "has begun")  # fmt: skip
    parser.add_argument("--ray", nargs="?", const="", metavar="ADDRESS",
                        help="on a Ray cluster: HOST:PORT, auto for the one that runs here "
                        "(default: what RAY_ADDRESS says, else one that is started)")  # fmt: skip
    add_runtime(parser)
    add_device(parser)
    parser.add_argument("--unverified", action="store_true",
                        help="take a file without a certificate, too")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    names = {each.name for each in dataclasses.fields(BulkConfig)}
    config = BulkConfig(**{k: v for k, v in vars(args).items() if k in names})
    made = bulk(args.source, args.model, args.to, config)
    failed = f", of which {made.failed:,} could not be read" if made.failed else ""
    print(f"{printable(os.fspath(made.path))}: {counted(made.rows, 'picture')}{failed}")
    if made.rows and made.failed == made.rows:
        log("edgeclf: not one picture could be read; the column 'message' says why")
        return 2
    return 0


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["bulk", *sys.argv[1:]]))
