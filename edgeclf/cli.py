"""`edgeclf VERB` and `python -m edgeclf.VERB`: one dispatcher for both."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Any

from edgeclf.errors import EdgeclfError, QualityGateError, VerificationError
from edgeclf.system.lean import running_a_verb
from edgeclf.system.progress import log, print_every_letter
from edgeclf.verbs import VERBS, import_verb

_ERROR_CODE = 2  # wrong input or set-up
_FAILED_CODE = 1  # the check that was asked for ran, and failed
_INTERRUPTED_CODE = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Args:
        argv: Verb and arguments; those of the process by default.

    Returns:
        0 done; 1 a gate or a verification failed; 2 wrong input or set-up, with one line on
        stderr; 130 interrupted.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    print_every_letter()
    verb = next((word for word in argv if not word.startswith("-")), None)
    # TensorFlow's Python side warns of retraced functions: true, and nothing a user can act on.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        try:
            args = _parser(verb).parse_args(argv)
        except SystemExit:  # of --help and --version, whose text may find no room
            _flush()
            raise
        if getattr(args, "out", None) == "":  # which some verbs would take for none
            from edgeclf.system.files import check_out  # not for `--help`, which it would slow

            check_out(args.out)
        with running_a_verb():
            code = int(args.run(args))
        _flush()
        return code
    except EdgeclfError as exc:
        log(f"edgeclf: {exc}")
        failed = isinstance(exc, QualityGateError | VerificationError)
        return _FAILED_CODE if failed else _ERROR_CODE
    except KeyboardInterrupt:
        log("edgeclf: interrupted; nothing half-written was left")
        return _INTERRUPTED_CODE
    except BrokenPipeError:  # the reader of our output has seen enough
        code = 0
    except (OSError, UnicodeError) as exc:
        log(f"edgeclf: {_in_words(exc)}")
        code = _ERROR_CODE
    from edgeclf.system.child import forget_closed_streams  # rarely needed

    forget_closed_streams()
    return code


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _in_words(error: OSError | UnicodeError) -> str:
    """What the system refused, on one line."""
    if isinstance(error, UnicodeError):
        return f"{error}. Names are {sys.getfilesystemencoding()} here; try it with PYTHONUTF8=1."
    if error.strerror is None:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    from edgeclf.system.files import NO_ROOM

    place = "" if error.filename is None else f"{error.filename}: "
    room = " Make room, or choose another place." if error.errno in NO_ROOM else ""
    return f"{place}{error.strerror}.{room}"


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, *_: object) -> None:
        from importlib.metadata import version

        print(f"edgeclf {version('edgeclf')}")
        raise SystemExit(0)


class _Parser(argparse.ArgumentParser):
    """Raises where its help finds no room, which argparse passes over."""

    def print_help(self, file: Any = None) -> None:
        print(self.format_help(), end="", file=file)


def _parser(verb: str | None) -> argparse.ArgumentParser:
    """The parser; only the chosen verb's module is imported for its arguments."""
    parser = _Parser(
        prog="edgeclf",
        description="Image classifiers for the edge: train, distil, convert, prove.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=16),
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    subparsers = parser.add_subparsers(required=True, metavar="VERB")
    for name, listed in VERBS.items():
        text = listed.text
        subparser = subparsers.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}."
        )
        if name == verb:
            module = import_verb(name)
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    return parser
