"""`edgeclf fleet`: the publisher's side of a fleet that updates itself."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from edgeclf.publishing.report_command import REPORTS, add_words, proof_of
from edgeclf.publishing.staging_command import add_stage, told
from edgeclf.publishing.staging_command import add_words as add_staging


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments: a word for each thing that a publisher does."""
    words = parser.add_subparsers(required=True, metavar="WHAT", dest="what")

    def add_plain(name: str, text: str, act: Callable[[argparse.Namespace], int]) -> Any:
        made = words.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        made.set_defaults(act=act)
        return made

    def add(name: str, text: str, act: Callable[[argparse.Namespace], int]) -> Any:
        made = add_plain(name, text, act)
        made.add_argument("folder", help="of the fleet")
        return made

    made = add("init", "make a fleet's repository and its keys", _init)
    made.add_argument("--expiry-days", type=int, metavar="N",
                      help="for which a timestamp is good (default: 28)")  # fmt: skip
    _add_publish(add("publish", "order a file for a group of devices", _publish))
    made = add("promote", "order for another group, or a larger share, what was ordered", _promote)
    made.add_argument("name", help="of the model")
    made.add_argument("--to", required=True, metavar="GROUP")
    made.add_argument("--order", type=int, metavar="N", help="its counter (default: the newest)")
    _add_share(made)
    made.add_argument("--if-good", metavar="GROUP", help="only where the reports of a group show "
                      "that it was committed there, was bad on no device, and silenced "
                      "none")  # fmt: skip
    made.add_argument("--reports", metavar="DIR|DB", help=REPORTS)
    made.add_argument("--devices", type=int, default=1, metavar="N",
                      help="of that group that must have committed it (default: 1)")  # fmt: skip
    made.add_argument("--signed", action="store_true", help="count only those whose signature a "
                      "collector has compared")  # fmt: skip
    made = add("rollback", "order a group to return to a file that it had", _rollback)
    made.add_argument("name", help="of the model")
    made.add_argument("--group", required=True)
    made.add_argument("--to", type=int, metavar="N", help="the order to return to (default: the "
                      "one before the newest)")  # fmt: skip
    made.add_argument("--reason", default="", help="for those who read it later")
    add_stage(made)
    made = add("key", "change who signs a role", _key)
    made.add_argument("role", help="root, targets, snapshot or timestamp")
    made.add_argument("--new", action="store_true", help="make an Ed25519 key in a file")
    made.add_argument("--uri", help="a key that is kept elsewhere: file2:, hsm:, gcpkms:, ...")
    made.add_argument("--public", metavar="FILE", help="its public half, PEM; alone, of a key on "
                      "another machine, which signs what is staged")  # fmt: skip
    made.add_argument("--remove", metavar="ID", help="the beginning of a key's id")
    made.add_argument("--threshold", type=int, metavar="N", help="signatures that are needed")
    add_stage(made)
    add("renew", "sign again what is there, before it expires", _renew)
    add_words(add, add_plain)
    add_staging(add, add_plain)


def _add_publish(parser: Any) -> None:
    from edgeclf.system.arguments import add_runtime

    parser.add_argument("file", help="an artifact, or models:/NAME@ALIAS of a registry")
    parser.add_argument("--name", required=True, help="of the model, as devices know it")
    parser.add_argument("--group", required=True, help="of devices")
    _add_share(parser)
    parser.add_argument("--tracking-uri", metavar="URI", help="where the registry is")
    here = parser.add_argument_group("what it has to show on this machine")
    here.add_argument("--data", metavar="DIR", help="photos to compare it on with the group's "
                      "present model")  # fmt: skip
    here.add_argument("--tolerance", type=float, default=0.01, metavar="SHARE",
                      help="of top-1 that it may lose there (default: 0.01)")  # fmt: skip
    add_runtime(here)
    there = parser.add_argument_group("what it has to show on each device")
    there.add_argument("--max-p99-ms", type=float, metavar="MS", help="for 99 of 100 pictures")
    there.add_argument("--max-memory-mb", type=float, metavar="MB", help="at its peak")
    there.add_argument("--min-agreement", type=float, metavar="SHARE", help="of the frames that "
                       "the device kept, answered as by the present model")  # fmt: skip
    there.add_argument("--minutes", type=int, default=10, metavar="N",
                       help="on trial before it is committed (default: 10)")  # fmt: skip
    there.add_argument("--starts", type=int, default=3, metavar="N",
                       help="of its program that a trial allows (default: 3)")  # fmt: skip
    there.add_argument("--confirm", action="store_true",
                       help="commit it only where its program says that it does well")  # fmt: skip


def _add_share(parser: Any) -> None:
    parser.add_argument("--share", type=float, default=1.0, metavar="SHARE",
                        help="of the group, drawn by the devices' names (default: 1)")  # fmt: skip
    add_stage(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    code: int = args.act(args)
    return code


def _init(args: argparse.Namespace) -> int:
    from edgeclf.publishing.repository import Repository

    made = Repository.create(args.folder, args.expiry_days)
    print(f"Show {made.public} to devices by any web server; give each of them, on a way you "
          f"trust, {made.public / 'metadata' / '1.root.json'}.\nKeep {made.path / 'keys'} to "
          "yourself, and the root key off this machine.")  # fmt: skip
    return 0


def _publish(args: argparse.Namespace) -> int:
    from edgeclf.publishing.fleet import Fleet, Terms
    from edgeclf.registry.gates import Asked

    terms = Terms(args.max_p99_ms, args.max_memory_mb, args.min_agreement, args.minutes,
                  args.starts, args.confirm)  # fmt: skip
    done = Fleet(args.folder, stage=args.stage).publish(
        args.file, name=args.name, group=args.group, share=args.share,
        asked=Asked(args.data, args.tolerance, None, args.runtime), terms=terms,
        tracking_uri=args.tracking_uri,
    )  # fmt: skip
    print(done.text())
    told(args.folder, stage=args.stage)
    return 0


def _promote(args: argparse.Namespace) -> int:
    from edgeclf.errors import OptionError
    from edgeclf.publishing.fleet import Fleet

    if (args.if_good is None) != (args.reports is None):
        raise OptionError("--if-good GROUP and --reports DIR|DB belong together.")
    proof = None
    if args.if_good:
        proof = proof_of(args.reports, args.if_good, args.devices, args.signed)
    done = Fleet(args.folder, stage=args.stage).promote(
        args.name, to=args.to, counter=args.order, share=args.share, proof=proof
    )
    print(done.text())
    told(args.folder, stage=args.stage)
    return 0


def _rollback(args: argparse.Namespace) -> int:
    from edgeclf.publishing.fleet import Fleet

    done = Fleet(args.folder, stage=args.stage).rollback(
        args.name, group=args.group, to=args.to, reason=args.reason
    )
    print(done.text())
    told(args.folder, stage=args.stage)
    return 0


def _key(args: argparse.Namespace) -> int:
    from edgeclf.publishing.fleet import Fleet

    found = Fleet(args.folder, stage=args.stage).key(
        args.role, uri=args.uri, public=args.public, remove=args.remove, threshold=args.threshold,
        new=args.new,
    )  # fmt: skip
    keys = ", ".join(keyid[:8] for keyid in found["keys"])
    print(f"{found['role']}: {found['threshold']} of {keys}")
    told(args.folder, stage=args.stage)
    return 0


def _renew(args: argparse.Namespace) -> int:
    from edgeclf.publishing.repository import Repository

    repository = Repository(args.folder)
    with repository.changing():
        repository.renew()
    print(f"Signed until {repository.expiries()['timestamp']:%Y-%m-%d %H:%M} UTC.")
    return 0
