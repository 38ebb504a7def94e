"""A whole project: pictures to a service that runs, and the proof at each step.

python examples/end_to_end/project.py all         # everything, in this order:
python examples/end_to_end/project.py prepare     # pictures to three tables that share nothing
python examples/end_to_end/project.py train       # a baseline
python examples/end_to_end/project.py tune        # a search of settings, and the better of both
python examples/end_to_end/project.py convert     # int8, gated, calibrated, certified
python examples/end_to_end/project.py validate    # the test pictures, once; limits; model card
python examples/end_to_end/project.py register    # versions in a registry, one of them champion
python examples/end_to_end/project.py package     # what an image is built from
python examples/end_to_end/project.py deploy      # manifests; a service that is tried and stopped
python examples/end_to_end/project.py serve       # the champion, until Ctrl-C

Each does first what comes before it, as far as that has not been done: after an interruption, give
the same line again. Ends with 1 where a limit is missed, with 2 where something cannot be used.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from plan import HERE, SMOKE, WHOLE, NotHeld, Plan

import edgeclf
from edgeclf.system import files
from edgeclf.system.progress import log, print_every_letter

LEARNING = ("backbone", "weights", "input_size", "epochs", "trials")
_OF_DRAWN = r"^\d+"  # SIGN-FRAME.jpg


def prepare(plan: Plan, args: argparse.Namespace) -> None:
    import splitting

    drawn = plan.data is None
    made = [plan.photos / splitting.TABLE] if drawn else []
    plan.stages.run(
        "prepare the pictures",
        lambda: splitting.prepare(plan),
        settings=[version("edgeclf"), plan.groups, plan.seed, plan.size.signs, plan.size.labels],
        inputs=[HERE / "splitting.py", HERE / "signs.py" if drawn else plan.photos],
        outputs=[*map(plan.table, ("train", "val", "test")), plan.data_record, *made],
    )
    splits = json.loads(plan.data_record.read_text())["splits"]
    for split, each in splits.items():
        log(f"  {split:<5} {each['pictures']:>6,} pictures of {each['things']:,} things")


def train(plan: Plan, args: argparse.Namespace) -> None:
    import learning

    learning.train(plan, "baseline")


def tune(plan: Plan, args: argparse.Namespace) -> None:
    import learning

    learning.train(plan, "tuned")
    learning.choose(plan)


def convert(plan: Plan, args: argparse.Namespace) -> None:
    import learning

    learning.convert(plan)


def validate(plan: Plan, args: argparse.Namespace) -> None:
    import card
    import measuring
    from gate import check, compare, read_limits

    limits = read_limits(plan.limits, "model")
    measuring.measure(plan)
    found = compare(limits, json.loads(plan.facts.read_text()))
    files.write_json(plan.verdict, [vars(each) | {"held": each.held} for each in found])
    card.write_card(plan, found)
    log(f"  {card.summary(plan)}")
    log(f"  {plan.card}")
    check(found, "the model")
    log(f"  all {len(found)} limits hold")


def register(plan: Plan, args: argparse.Namespace) -> None:
    import shipping

    log("== register and promote")
    shipping.register(plan)


def package(plan: Plan, args: argparse.Namespace) -> None:
    import shipping

    log("== package")
    folder = shipping.package(plan, args.repository, build=args.build)
    log(f"  {folder}: becomes {shipping.image_of(plan, args.repository)}")


def deploy(plan: Plan, args: argparse.Namespace) -> None:
    import running
    import shipping
    from gate import check, compare, read_limits

    log("== deploy")
    limits = read_limits(plan.limits, "service")
    folder = shipping.manifests(plan, args.repository)[0].parent
    log(f"  kubectl apply -f {folder}")
    found = compare(limits, running.deploy(plan, args.port or 0))
    check(found, "the service")
    log(f"  all {len(found)} limits hold; stopped again. 'serve' keeps it running")


STEPS: dict[str, Callable[[Plan, argparse.Namespace], None]] = {
    "prepare": prepare, "train": train, "tune": tune, "convert": convert, "validate": validate,
    "register": register, "package": package, "deploy": deploy,
}  # fmt: skip


def run(plan: Plan, args: argparse.Namespace) -> int:
    """Does the steps up to the one that was asked for."""
    order = list(STEPS)
    last = {"all": "deploy", "serve": "register"}.get(args.step, args.step)
    for name in order[: order.index(last) + 1]:
        if name == "package" and args.step == "deploy":
            continue  # a deployment on this machine needs no image
        STEPS[name](plan, args)
    if args.step == "serve":
        import running

        running.serve(plan, 8080 if args.port is None else args.port)
    print(plan.out)
    return 0


def plan_of(args: argparse.Namespace) -> Plan:
    """What was asked for, checked before anything is done."""
    data = args.data
    if data is not None and not data.is_dir():
        raise edgeclf.DataError(
            f"{data} is not a folder; expected one that holds a folder a class."
        )
    judges = list(STEPS).index("validate")
    if data is not None and args.limits is None and args.step not in list(STEPS)[:judges]:
        raise edgeclf.OptionError(
            "--limits is missing: what your own model has to hold is yours to say. Copy "
            f"{HERE / 'limits.yaml'}, change it, and give it with --limits."
        )
    groups = args.groups if data is not None or args.groups else _OF_DRAWN
    try:
        re.compile(groups or "")
    except re.error as exc:
        raise edgeclf.OptionError(f"--groups is no regular expression: {exc}.") from exc
    name = "signs" if data is None else data.resolve().name
    out = files.out_folder(args.out, Path("runs") / f"{name}{'-smoke' if args.smoke else ''}")
    limits = args.limits or HERE / ("ci/limits.smoke.yaml" if args.smoke else "limits.yaml")
    asked = {name: getattr(args, name) for name in LEARNING if getattr(args, name) is not None}
    size = replace(SMOKE if args.smoke else WHOLE, **asked)
    mirror = args.no_mirror or data is None  # an arrow to the left is another sign than its mirror
    return Plan(out, data, groups, mirror, limits, size, args.seed)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=(*STEPS, "serve", "all"))
    parser.add_argument("--data", type=Path, metavar="DIR",
                        help="your own pictures in one folder a class, in place of drawn signs"
                        )  # fmt: skip
    parser.add_argument("--groups", metavar="REGEX",
                        help="files of a class in whose names it finds the same show one thing, "
                        "and stay in one table, such as '^\\d+' for 00042_017.png")  # fmt: skip
    parser.add_argument("--no-mirror", action="store_true",
                        help="left and right matter in your own pictures, as in signs")  # fmt: skip
    parser.add_argument("--backbone", metavar="NAME",
                        help="where the search begins, see 'edgeclf backbones' (default: student-s)"
                        )  # fmt: skip
    parser.add_argument("--weights", metavar="imagenet|none|FILE", help="default: none")
    parser.add_argument("--input-size", type=int, metavar="N", help="default: 48")
    parser.add_argument("--epochs", type=int, metavar="N", help="default: 12")
    parser.add_argument("--trials", type=int, metavar="N", help="default: 6")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: runs/signs")
    parser.add_argument("--limits", type=Path, metavar="FILE",
                        help="what has to hold (default: limits.yaml)")  # fmt: skip
    parser.add_argument("--smoke", action="store_true",
                        help="all of it in a minute or two, with a model that can do little"
                        )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--build", action="store_true", help="package: build the image, too")
    parser.add_argument("--repository", metavar="NAME",
                        help="of the image, such as registry.example/signs")  # fmt: skip
    parser.add_argument("--port", type=int,
                        help="of the service (default: any free one, of serve 8080)")  # fmt: skip
    args = parser.parse_args()
    print_every_letter()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # the notes of CUDA that is not there
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # of models that are traced anew
    try:
        return run(plan_of(args), args)
    except edgeclf.EdgeclfError as exc:
        failed = isinstance(exc, NotHeld | edgeclf.QualityGateError | edgeclf.VerificationError)
        print(f"project.py: {exc}", file=sys.stderr)
        return 1 if failed else 2
    except OSError as exc:  # of a disk that is full, or a file that nobody may read
        print(f"project.py: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("project.py: interrupted; the same line goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
