"""`edgeclf update`: a device takes the model that was ordered for it, if it proves itself here."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING

from edgeclf.errors import EdgeclfError, MissingDependencyError, OptionError

if TYPE_CHECKING:
    from edgeclf.fleet.updating import Outcome

_WATCH_S = 3600.0
_JITTER = 0.2  # of the time between two looks, so that a fleet does not ask all at once


def update(
    folder: str | os.PathLike[str], *, retry: bool = False, report: str | None = None
) -> Outcome:
    """Runs the updater once.

    A trial that is over is committed or ended; then the repository is asked, and a new order is
    brought, proven in a child process and switched to.

    Args:
        folder: The device's, made by ``edgeclf update FOLDER --url ...`` or
            `edgeclf.fleet.provision.provision`.
        retry: Whether to try files again that were bad here before.
        report: Where to send the report of this run, an address or a folder; by default where the
            device was told to. What cannot be sent is kept, and sent next time.

    Returns:
        What was done, and what runs.

    Raises:
        FleetError: There is nothing to be trusted now: the repository is away, or what it says is
            expired, replayed, swapped or not signed as it must be; `reason` tells which.
        VerificationError: The new file does not answer here as it was certified.
        QualityGateError: It is too slow or too large here, or answers too differently.
        ArtifactError: It is signed and no artifact of this version's format.
        RuntimeLoadError: No runtime here can load it.

    Whatever is raised, what ran before goes on.

    Examples:
        ```python
        outcome = edgeclf.update("/var/lib/edgeclf")
        print(outcome.kind, outcome.running)
        ```
    """
    from edgeclf.fleet.folder import Folder
    from edgeclf.fleet.updating import Run

    place = Folder(folder)
    run = Run(place, to=report)
    if retry:
        with place.changing() as state:
            state.bad.clear()
    return run.go()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    from edgeclf.system.arguments import add_runtime

    parser.add_argument("folder", help="of this device: what runs, and what is known of it")
    parser.add_argument("--watch", nargs="?", type=float, const=_WATCH_S, metavar="SECONDS",
                        help="look again and again "
                        f"(every {_WATCH_S:g} s unless said otherwise)")  # fmt: skip
    parser.add_argument("--retry", action="store_true",
                        help="try files again that were bad here before")  # fmt: skip
    parser.add_argument("--started", action="store_true", help="count a start of the program that "
                        "uses the model, and print its file; asks nobody")  # fmt: skip
    parser.add_argument("--confirm", action="store_true", help="say that the model on trial does "
                        "well; asks nobody")  # fmt: skip
    parser.add_argument("--report", metavar="URL|DIR", help="where to tell what runs and what "
                        "failed: a service's /fleet/report, or a folder; kept in the device's "
                        "folder when that is made")  # fmt: skip
    new = parser.add_argument_group("to make the folder, once")
    new.add_argument("--url", help="of the folder that the publisher's web server shows")
    new.add_argument("--root", metavar="FILE", help="whom to trust: the publisher's 1.root.json")
    new.add_argument("--name", help="of the model")
    new.add_argument("--group", help="of this device")
    new.add_argument("--device", metavar="ID", help="its own name (default: the host's)")
    new.add_argument("--model", metavar="FILE", help="what runs before the first order")
    new.add_argument("--sign", action="store_true", help="make a key that signs its reports, and "
                     "print its public half for 'edgeclf fleet enroll'")  # fmt: skip
    new.add_argument("--device-class", metavar="WORDS", help="what it is one of, in reports "
                     "(default: its processor)")  # fmt: skip
    add_runtime(new)


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    from edgeclf import fleet
    from edgeclf.system.progress import log

    if args.started:
        print(fleet.started(args.folder))
        return 0
    if args.confirm:
        fleet.confirm(args.folder)
        return 0
    _provision(args)
    if args.watch is None:
        outcome = update(args.folder, retry=args.retry, report=args.report)
        print(outcome.text)
        return int(outcome.kind == "back")
    if not args.watch > 0:
        raise OptionError(f"--watch is {args.watch:g} seconds; expected more than 0.")
    import random

    drawn = random.Random(os.urandom(8))
    while True:
        try:
            done = update(args.folder, retry=args.retry, report=args.report)
            print(done.text, flush=True)
        except MissingDependencyError:
            raise
        except (EdgeclfError, OSError) as exc:  # the next look may find it better
            log(f"edgeclf: {exc}")
        args.retry = False
        time.sleep(args.watch * drawn.uniform(1 - _JITTER, 1 + _JITTER))


def _provision(args: argparse.Namespace) -> None:
    given = {word: getattr(args, word) for word in ("url", "root", "name", "group")}
    if not any(given.values()):
        return
    if missing := [f"--{word}" for word, value in given.items() if value is None]:
        raise OptionError(f"A device's folder is made with {', '.join(missing)} as well.")
    from edgeclf.fleet.provision import provision

    key = provision(
        args.folder, **given, device=args.device, model=args.model, runtime=args.runtime,
        report=args.report, sign=args.sign, device_class=args.device_class,
    )  # fmt: skip
    if args.sign:
        print(f"This device signs its reports by the key {key}")


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["update", *sys.argv[1:]]))
