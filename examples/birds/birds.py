"""The bird service: from a SavedModel and its labels to a service that is registered and watched.

python examples/birds/birds.py run                                 # offline, on a stand-in
python examples/birds/birds.py fetch --savedmodel URL --labels URL # the real model, if you want it
python examples/birds/birds.py ask photo.jpg https://…/bird.jpg    # of a service that runs
python examples/birds/birds.py report                              # execution times, measured again

Stages that are finished are not repeated.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import client
import fetching
import pictures
import stand_in
from plan import NAME, Run

import edgeclf
from edgeclf.system import files
from edgeclf.system.progress import log, print_every_letter

ALIAS = "champion"
SERVICE = "http://127.0.0.1:8080"
# Drawings are few, and one that changes its answer is more than a point; a stand-in knows nothing
# that could be lost. The real model gets the usual tolerance.
STAND_IN_TOLERANCE = 0.1


def run(args: argparse.Namespace) -> int:
    """Everything in turn; ends by itself and leaves no process behind."""
    plan = Run(files.out_folder(args.out), args.photos, args.quick)
    plan.check()
    prepare(plan)
    convert(plan)
    register(plan)
    serve_once(plan)
    measure(plan)
    return 0


def prepare(plan: Run) -> None:
    """The model that was fetched, or a stand-in; and pictures."""
    from edgeclf.training.stages import Stages

    stages, code = Stages(plan.out / "stages"), Path(__file__).parent
    if plan.is_stand_in:
        stages.run(
            "make a stand-in",
            lambda: stand_in.make_stand_in(plan.model, tiny=plan.quick),
            settings=[plan.quick],
            inputs=[code / "stand_in.py", code / "pictures.py"],
            outputs=[plan.model / NAME / "saved_model.pb", plan.model / "map.csv"],
        )
        log(f"NOTE: {stand_in.NOTICE}")
    stages.run(
        "draw pictures",
        lambda: draw_pictures(plan),
        settings=[plan.quick],
        inputs=[code / "pictures.py"],
        outputs=[plan.out / "photos" / "batch" / "000-kind-00.jpg"],
    )


def draw_pictures(plan: Run) -> None:
    names = [stand_in.labels()[place] for place in stand_in.places()]
    drawn = plan.out / "photos"
    for split in ("calibration", "eval"):
        pictures.draw_classes(drawn / split, names, 4 if plan.quick else 12, split)
    pictures.draw_batch(drawn / "batch", 6 if plan.quick else 26)


def convert(plan: Run) -> None:
    """TFLite and ONNX, fp32 and int8, each held against the SavedModel."""
    from edgeclf.training.stages import Stages

    if not plan.has_photos:
        log("NOTE: int8 measures its ranges on photos of birds, and there are none: only fp32 is "
            "made. Give --photos DIR with calibration/ and eval/.")  # fmt: skip
    sets: dict[str, Any] = {}
    if plan.has_photos:
        sets = {"calibration": plan.photos / "calibration", "evaluation": plan.photos / "eval"}
    tolerance: dict[str, Any] = {"tolerance": STAND_IN_TOLERANCE} if plan.is_stand_in else {}

    def work() -> None:
        for old in plan.artifacts:
            old.unlink()
        edgeclf.convert(
            plan.model / NAME, out=plan.out, to=plan.targets, **sets, **tolerance,
            source=edgeclf.SourceSpec(
                labels=plan.model / "map.csv", input_range=(0, 1),
                scores=kind_of_scores(plan.model / NAME),
            ),
        )  # fmt: skip

    if not plan.artifacts:  # they were removed
        (plan.out / "stages" / "convert.json").unlink(missing_ok=True)
    Stages(plan.out / "stages").run(
        "convert",
        work,
        settings=[plan.targets, tolerance],
        inputs=[plan.model / NAME, plan.model / "map.csv", *sets.values()],
        outputs=[plan.out / f"{NAME}.conversion.json"],
    )


def kind_of_scores(model: Path) -> Literal["probabilities", "logits"]:
    """Whether a SavedModel ends in a softmax: what is said of the real one is not of one mind."""
    import numpy as np

    from edgeclf.converters.readers.saved_model import read_saved_model

    pictures = np.random.default_rng(0).random((4, *fetching.SHAPE), np.float32)
    scores = read_saved_model(model, edgeclf.SourceSpec()).predict(pictures)
    if float(scores.min()) >= 0 and np.abs(scores.sum(axis=1) - 1).max() < 0.02:
        log("  the model answers probabilities")
        return "probabilities"
    log("  the model answers logits: a softmax is added")
    return "logits"


def register(plan: Run) -> None:
    """A version in the registry, and the alias on it once it has shown that it may have it."""
    from edgeclf.training.stages import Stages

    artifact, uri = plan.artifacts[0].resolve(), plan.registry

    def work() -> None:
        with working_in(plan.out):  # where MLflow puts the files that belong to its database
            made = edgeclf.register(artifact, NAME, tracking_uri=uri)
            done = edgeclf.promote(made.name, made.version, to=ALIAS, tracking_uri=uri)
        log(done.text())
        record = {"name": made.name, "version": made.version, "sha256": made.sha256}
        files.write_json(plan.out / "registered.json", record)

    Stages(plan.out / "stages").run(
        "register and promote",
        work,
        settings=[uri],
        inputs=[artifact],
        outputs=[plan.out / "registered.json"],
    )


def serve_once(plan: Run) -> None:
    """Serves what the alias names, asks about the batch, looks at the monitoring, and ends."""
    from edgeclf.service.load.local_server import local_server

    log("== serve, ask, watch")
    requests = plan.out / "requests.jsonl"
    requests.unlink(missing_ok=True)
    with local_server(
        ["--registry", f"models:/{NAME}@{ALIAS}", "--tracking-uri", plan.registry,
         "--registry-cache", str(plan.out / "cache"), "--log", str(requests),
         "--monitor-state", str(plan.out / "monitor.json")]
    ) as url:  # fmt: skip
        found = sorted(path for path in plan.batch.iterdir() if path.is_file())
        answers = client.ask(url, found)
        show(answers)
        edgeclf.monitor(url, out=plan.out / "monitoring.html")
        with urllib.request.urlopen(f"{url}/metrics", timeout=30) as response:
            files.write_bytes(plan.out / "metrics.txt", response.read())
    lines = requests.read_text(encoding="utf-8").splitlines()
    asked = sum(json.loads(line)["route"].endswith("/classify") for line in lines)
    log(f"{asked} requests in {requests}")
    log(f"state of monitoring in {plan.out / 'monitoring.html'}")
    log(f"what Prometheus reads in {plan.out / 'metrics.txt'}")
    if all(answer.error for answer in answers):
        raise edgeclf.ServiceError("No picture of the batch was answered; see above.")


def measure(plan: Run) -> None:
    """Execution times, the page of them, and the slides."""
    import measuring
    import pages

    log("== measure execution times")
    record = measuring.measure(plan)
    files.write_json(plan.out / "report.json", record)
    for page in pages.write(record, plan.out):
        print(page)


def report(args: argparse.Namespace) -> int:
    plan = Run(files.out_folder(args.out), args.photos, args.quick)
    if not plan.artifacts:
        raise edgeclf.ArtifactError(f"There is no model in {plan.out}. Run: birds.py run")
    measure(plan)
    return 0


def fetch(args: argparse.Namespace) -> int:
    """The model, its labels, and pictures; whatever of it is asked for."""
    if (args.savedmodel is None) != (args.labels is None):
        raise edgeclf.OptionError("--savedmodel and --labels belong together; give both.")
    if args.savedmodel is None and args.pictures is None:
        raise edgeclf.OptionError(
            "Nothing to fetch: give --savedmodel and --labels, or --pictures."
        )
    out = files.out_folder(args.out)
    if args.savedmodel is not None:
        record = fetching.fetch_model(args.savedmodel, args.labels, out / "model", args.sha256)
        for what in ("model", "labels"):
            one = record[what]
            print(f"{what}: {one['size_bytes']:,} bytes, SHA-256 {one['sha256']}, "
                  f"{one['ms']:,.0f} ms")  # fmt: skip
    return 0 if args.pictures is None else fetch_batch(args.pictures, out)


def fetch_batch(table: Path, out: Path) -> int:
    """Pictures whose addresses a text names; the batch from now on, if there is any."""
    try:
        urls = table.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as exc:
        raise edgeclf.DataError(f"Cannot read {table}: {exc}.") from exc
    fetched = []
    with tempfile.TemporaryDirectory(dir=out, prefix=".fetch-") as folder:
        new = Path(folder, "pictures")
        for each in fetching.fetch_pictures(urls, new):
            if isinstance(each, fetching.Fetched):
                fetched.append(each.record())
            else:
                print(f"birds.py: {each}", file=sys.stderr)
        if fetched:
            shutil.rmtree(out / "pictures", ignore_errors=True)
            new.rename(out / "pictures")
            files.write_json(out / "pictures.json", {"pictures": fetched})
    print(f"pictures: {len(fetched)} of {len(urls)}")
    return 0 if fetched and len(fetched) == len(urls) else 2


def ask(args: argparse.Namespace) -> int:
    """Top 3 of each picture; addresses are fetched here, as the service fetches none."""
    with fetching.fetched_beside(args.pictures) as found:
        there = [each for each in found if isinstance(each, Path)]
        answers = client.ask(args.url, there, connections=args.connections)
    for each in found:
        if isinstance(each, edgeclf.EdgeclfError):
            answers.append(client.Answer("", error=str(each)))
    if args.json:
        for answer in answers:
            print(json.dumps(answer.record(), ensure_ascii=False))
    else:
        show(answers)
    return 2 if any(answer.error for answer in answers) else 0


def show(answers: list[client.Answer]) -> None:
    """The table on standard output, and what has no answer on standard error."""
    print(client.table(answers))
    for answer in answers:
        if answer.error is not None:
            where = f"{answer.picture}: " if answer.picture else ""
            print(f"birds.py: {where}{answer.error}", file=sys.stderr)
    done = [answer for answer in answers if answer.error is None]
    if done:
        longest = max(answer.ms for answer in done)
        print(f"{len(done)} answered by {done[0].by}, the last after {longest:,.1f} ms",
              file=sys.stderr)  # fmt: skip


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True, metavar="run | fetch | ask | report")
    folder = argparse.ArgumentParser(add_help=False)
    folder.add_argument("--out", default="runs/birds", metavar="DIR",
                        help="where everything goes (default: %(default)s)")  # fmt: skip
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--photos", type=Path, metavar="DIR", help="your photos of birds: folders "
                        "calibration and eval, with or without a folder a label")  # fmt: skip
    shared.add_argument("--quick", action="store_true",
                        help="a small network and short measurements, to see it run")  # fmt: skip

    verb = verbs.add_parser("run", help="all of it, offline", parents=[folder, shared])
    verb.set_defaults(work=run)
    verb = verbs.add_parser("report", help="measure execution times again",
                            parents=[folder, shared])  # fmt: skip
    verb.set_defaults(work=report)
    verb = verbs.add_parser("fetch", help="the only verb that needs a network", parents=[folder])
    verb.add_argument("--savedmodel", metavar="URL", help="of a .tar.gz with the SavedModel; of "
                      "tfhub.dev, that of the model")  # fmt: skip
    verb.add_argument("--labels", metavar="URL", help="of its CSV with columns id and name")
    verb.add_argument("--sha256", help="that the archive must have (default: any, and it is told)")
    verb.add_argument("--pictures", type=Path, metavar="FILE",
                      help="a text with addresses of pictures, one a line")  # fmt: skip
    verb.set_defaults(work=fetch)
    verb = verbs.add_parser("ask", help="top 3 for each picture of a batch")
    verb.add_argument("pictures", nargs="+", help="files, or addresses that are fetched first")
    verb.add_argument("--url", default=SERVICE, help="of the service (default: %(default)s)")
    verb.add_argument("--connections", type=int, default=client.CONNECTIONS, metavar="N",
                      help="requests on their way at once (default: %(default)s)")  # fmt: skip
    verb.add_argument("--json", action="store_true", help="a line of JSON for each picture")
    verb.set_defaults(work=ask)
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    print_every_letter()
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of each variable
    try:
        return int(args.work(args))
    except (edgeclf.EdgeclfError, client.Unreachable) as exc:
        print(f"birds.py: {exc}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
