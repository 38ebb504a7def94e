"""The words of `edgeclf fleet` for signatures that come from several machines."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from edgeclf.errors import OptionError
from edgeclf.fleet.orders import ALL
from edgeclf.publishing.staging import Staged

Add = Callable[..., Any]


def add_words(add: Add, add_plain: Add) -> None:
    """The words' arguments; see `edgeclf.publishing.report_command.add_words`."""
    made = add_plain("new-key", "make a key on a machine that only signs", _new_key)
    made.add_argument("file", help="where its private half goes; the public one is FILE.pub")
    made = add_plain("sign", "sign what was staged on another machine", _sign)
    made.add_argument("file", help="staged.json of the fleet's folder, which gets the signature")
    which = made.add_mutually_exclusive_group(required=True)
    which.add_argument("--key", metavar="PEM", help="the private key")
    which.add_argument("--uri", help="a key that is kept elsewhere: hsm:, gcpkms:, ...")
    made.add_argument("--public", metavar="FILE", help="the public half of that, PEM")
    made = add("merge", "take over signatures, and publish what has enough of them", _merge)
    made.add_argument("files", nargs="*", help="staged.json as other machines have signed it")
    made.add_argument("--drop", action="store_true", help="forget what is staged")


def add_stage(parser: Any) -> None:
    """The option of the words that order something."""
    parser.add_argument("--stage", action="store_true", help="publish nothing yet: put it into "
                        "staged.json, to be signed on other machines too")  # fmt: skip


def told(folder: str, *, stage: bool) -> None:
    """Says what is to be done with what was staged, if anything was."""
    if stage:
        print(f"Nothing is published yet. Have {folder}/staged.json signed where the other keys "
              f"are ('edgeclf fleet sign'), and bring it back: edgeclf fleet merge {folder} "
              "FILE...")  # fmt: skip


def _new_key(args: argparse.Namespace) -> int:
    from edgeclf.publishing.keys import check_packages, new_key_file

    check_packages()
    public = new_key_file(args.file)
    print(f"Keep {args.file} here. The publisher needs {public}: edgeclf fleet key FLEET ROLE "
          f"--public {public.name}")  # fmt: skip
    return 0


def _sign(args: argparse.Namespace) -> int:
    from pathlib import Path

    from edgeclf.publishing.keys import check_packages, key_at, signer_in, signer_of
    from edgeclf.publishing.staging import sign_staged

    check_packages()
    if args.uri is not None and args.public is None:
        raise OptionError(f"The public half of {args.uri!r} is needed as well: --public FILE.")
    if args.key is not None:
        signer = signer_in(args.key)
    else:
        key, uri = key_at(args.uri, args.public)
        signer = signer_of(Path(), uri, key)
    print(_as_text(sign_staged(args.file, signer)))
    return 0


def _merge(args: argparse.Namespace) -> int:
    from edgeclf.publishing.repository import Repository

    repository = Repository(args.folder)
    with repository.changing():
        if args.drop:
            print("It is dropped." if repository.drop() else "Nothing was staged.")
            return 0
        staged = repository.merge(args.files)
    print(_as_text(staged))
    complete = staged.complete()
    print("It is published." if complete else "It waits for more signatures.")
    return int(not complete)


def _as_text(staged: Staged) -> str:
    """What is signed, so that who signs can see it."""
    lines = []
    for order in staged.orders():
        groups = ", ".join(f"{group} {share / ALL:.2%}" for group, share in order.groups.items())
        lines.append(f"{order.counter:>5}  {order.name:<16} {order.sha256}  {groups}")
    if "root" in staged.metadata:
        for role, keys in staged.root.signed.roles.items():
            names = ", ".join(keyid[:8] for keyid in keys.keyids)
            lines.append(f"{role:<10} {keys.threshold} of {names}")
    for role, (have, need) in staged.signatures().items():
        lines.append(f"{role}: {have} of {need} signatures")
    return "\n".join(lines)
