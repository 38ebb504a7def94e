"""`edgeclf load`: a service under a rate that does not wait for it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgeclf.errors import MissingDependencyError, OptionError
from edgeclf.system import files
from edgeclf.system.progress import log

if TYPE_CHECKING:
    from edgeclf.service.load.buckets import Watch
    from edgeclf.service.load.config import LoadConfig

_INTERRUPTED_CODE = 130

StrPath = str | os.PathLike[str]


def load(
    url: str,
    images: StrPath,
    config: LoadConfig,
    *,
    out: StrPath | None = None,
    key_file: StrPath | None = None,
    pid: int | None = None,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Sends pictures at a rate that does not wait for answers, and counts what comes of them.

    docs/serving.md explains the method and every field. Ctrl-C ends it with what was measured.

    Args:
        url: ``http://HOST:PORT/PATH``; the route takes the bytes of an image file by POST.
        images: A folder of pictures, which are sent in turn.
        config: Rate, ramp or clients, and the limits.
        out: Where the record goes, as JSON, of which `edgeclf.report` makes a page.
        key_file: Holds the key that is sent as ``Authorization: Bearer``.
        pid: The server's process on this machine, for one that has no ``/metrics``.
        watch: Called with what came of each second, as plain JSON types.

    Returns:
        A record of the schema ``edgeclf.load/1``.

    Raises:
        DataError: There are no pictures.
        MissingDependencyError: httptools is not installed.
        OptionError: The URL is of another kind, there is no such process or key, or `out` cannot
            be written.
        ServiceError: Nothing answers there, or not to pictures.

    Examples:
        ```python
        config = edgeclf.LoadConfig(ramp=(50, 800), clients=8)
        record = edgeclf.load("http://127.0.0.1:8080/classify", "photos", config, out="load.json")
        print(record["knee"])
        ```
    """
    if out is not None:
        files.check_out(out)
    try:
        from edgeclf.service.load.run import run_load
    except ModuleNotFoundError as exc:
        raise MissingDependencyError(exc.name or "httptools", "serve", "'edgeclf load'") from exc
    from edgeclf.service.load.target import make_target

    record = run_load(make_target(url, images, key_file), config, pid, watch)
    if out is not None:
        files.write_json(os.fspath(out), record)
    return record


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("url", metavar="URL",
                        help="a route that takes the bytes of an image file by POST, such as "
                        "http://127.0.0.1:8080/classify")  # fmt: skip
    parser.add_argument("--images", required=True, metavar="DIR", help="what is sent, in turn")
    how = parser.add_argument_group("how much; each --seconds long")
    rate = how.add_mutually_exclusive_group()
    rate.add_argument("--rate", type=float, metavar="R",
                      help="requests a second, answered or not")  # fmt: skip
    rate.add_argument("--ramp", nargs="?", const=":", metavar="FROM:TO",
                      help="double the rate until less than 95 %% is answered in time, and find "
                      "that knee (default: around what --clients get)")  # fmt: skip
    how.add_argument("--clients", type=int, metavar="N",
                     help="that send again once they are answered, beside or instead")  # fmt: skip
    how.add_argument("--seconds", type=float, default=10.0, metavar="S",
                     help="default: 10")  # fmt: skip
    limits = parser.add_argument_group("limits")
    limits.add_argument("--deadline-ms", "--slo", type=float, default=1000.0, metavar="MS",
                        help="an answer after it is late (default: 1000)")  # fmt: skip
    limits.add_argument("--timeout-s", type=float, default=10.0, metavar="S",
                        help="after which a request is given up (default: 10)")  # fmt: skip
    limits.add_argument("--connections", type=int, default=256, metavar="N",
                        help="most that are open at once (default: 256)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0,
                        help="of the times of arrival (default: 0)")  # fmt: skip
    parser.add_argument("--key-file", metavar="FILE",
                        help="holds the key that the service asks for")  # fmt: skip
    parser.add_argument("--pid", type=int,
                        help="the server's process, for one that has no /metrics")  # fmt: skip
    parser.add_argument("--stream", action="store_true",
                        help="print a line of JSON for each second, and no table at the end"
                        )  # fmt: skip
    parser.add_argument("--out", metavar="FILE",
                        help="JSON, of which 'edgeclf report' makes a page")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    from edgeclf.service.load.config import LoadConfig
    from edgeclf.service.load.table import to_text

    config = LoadConfig(
        rate=args.rate,
        ramp=None if args.ramp is None else _ramp(args.ramp),
        clients=args.clients,
        seconds=args.seconds,
        deadline_ms=args.deadline_ms,
        timeout_s=args.timeout_s,
        connections=args.connections,
        seed=args.seed,
    )
    record = load(
        args.url, args.images, config, out=args.out, key_file=args.key_file, pid=args.pid,
        watch=_print_line if args.stream else None,
    )  # fmt: skip
    if not args.stream:
        print(to_text(record))
        if args.out is not None:
            print(args.out)
    if record["interrupted"]:
        log("edgeclf: interrupted; what was measured is above")
        return _INTERRUPTED_CODE
    return 0


def _print_line(bucket: Mapping[str, Any]) -> None:
    print(json.dumps(bucket), flush=True)


def _ramp(word: str) -> tuple[float | None, float | None]:
    """Reads ``FROM:TO``, of which either may be left out."""
    first, separator, last = word.partition(":")
    try:
        if not separator:
            raise ValueError
        return (float(first) if first else None), (float(last) if last else None)
    except ValueError:
        raise OptionError(f"--ramp is {word!r}; expected FROM:TO, such as 10:400.") from None


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["load", *sys.argv[1:]]))
