"""`edgeclf monitor`: what a service's answers tell without labels."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from edgeclf.errors import OptionError
from edgeclf.monitoring.page import to_page
from edgeclf.monitoring.reading import ask_service, read_log
from edgeclf.monitoring.table import to_text
from edgeclf.system import files
from edgeclf.system.words import json_line

StrPath = str | os.PathLike[str]


def monitor(
    source: StrPath, *, out: StrPath | None = None, key_file: StrPath | None = None
) -> dict[str, Any]:
    """Asks a service whether its pictures and answers have drifted, or reads its log.

    docs/monitoring.md explains every field.

    Args:
        source: ``http://HOST:PORT`` of a service, or the file of its ``--log``.
        out: Where a page goes that needs nothing from outside.
        key_file: Holds the key that the service asks for.

    Returns:
        A record of the schema ``edgeclf.monitor/1``.

    Raises:
        DataError: The log cannot be read, or is none.
        OptionError: That is no address, the key cannot be read, or `out` cannot be written.
        ServiceError: Nothing there answers, or it monitors nothing.

    Examples:
        ```python
        record = edgeclf.monitor("http://127.0.0.1:8080", out="monitoring.html")
        print(record["versions"][0]["drift"]["unknown"]["alarm"])
        ```
    """
    if out is not None:
        files.check_out(out)
    place = os.fspath(source)
    if "://" in place:
        document = ask_service(place, None if key_file is None else _key(key_file))
    elif key_file is not None:
        raise OptionError(f"--key-file is for a service, and {place} is a file. Leave it away.")
    else:
        document = read_log(place)
    if out is not None:
        files.write_text(Path(out), to_page(document))
    return document


def _key(path: StrPath) -> str:
    try:
        key = Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError) as exc:
        raise OptionError(f"The key in {os.fspath(path)} cannot be read: {exc}.") from exc
    if not key or not key.isprintable():
        raise OptionError(f"{os.fspath(path)} holds no key; expected one line.")
    return key


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("source", metavar="URL|LOG",
                        help="http://HOST:PORT of a service, or the file of its --log")  # fmt: skip
    parser.add_argument("--out", metavar="FILE", help="an HTML page")
    parser.add_argument("--json", action="store_true", help="print the record")
    parser.add_argument("--key-file", metavar="FILE",
                        help="holds the key that the service asks for")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    document = monitor(args.source, out=args.out, key_file=args.key_file)
    print(json_line(document, sys.stdout) if args.json else to_text(document))
    if args.out is not None and not args.json:
        print(args.out)
    return 0


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["monitor", *sys.argv[1:]]))
