"""The same models on edgeclf and on its peers, from the bytes of a JPEG to the label.

Each peer runs in a virtual environment with nothing but what it needs, which
`install_footprint.py` makes, and in a fresh process a round. All peers have their turn in a round,
forwards in one and backwards in the next, so that a slow minute of the machine falls on all alike.
Latency, and cold start with memory, are measured in processes apart. A ratio is the peer's figure
over that of edgeclf with the same file (for Keras, with the same model in float on LiteRT). It is
given only where both say the same about nearly all photos; else they do not do the same work. What
is not installed, or fails, is a row with its reason.

    python benchmarks/install_footprint.py
    python benchmarks/peers.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import environments
from shared import ROOT, Figure, enlarged, finish, parse, photos

from edgeclf.artifact import load_artifact
from edgeclf.measurement.harness.interleave import measure_interleaved
from edgeclf.measurement.harness.process import CommandJob
from edgeclf.measurement.probes.page_cache import drop_from_page_cache
from edgeclf.metrics.statistics import MIN_ROUNDS, paired_ratio
from edgeclf.system.cpu import available_cpus

WORKER = Path(__file__).with_name("peer_workers.py")
MODELS = ("mugs", "mugs-teacher")
SAME_ANSWERS = 0.95  # of the photos; with less, a ratio means nothing
SMALL, LARGE = "640x480", "12 megapixels"
MISSING = "not installed; run: python benchmarks/install_footprint.py"
AS_THEY_ARE = "as they are"
SIDES = {SMALL: (640, 480), LARGE: (4000, 3000)}
SECONDS = {SMALL: 0.25, LARGE: 0.6}  # of measuring, in each process
CALLS = {SMALL: 20, LARGE: 3}  # before memory is read


@dataclass(frozen=True)
class Peer:
    """Something that answers photos.

    Attributes:
        name: For the reader.
        environment: What has to be installed, one of `environments.REQUIREMENTS`.
        worker: One of `peer_workers.PEERS`.
        format: The files it takes.
        against: The peer that its ratios are over; None for edgeclf itself.
        precisions: In which it takes them.
    """

    name: str
    environment: str
    worker: str
    format: str
    against: str | None
    precisions: tuple[str, ...] = ("int8", "fp32")


LITERT, ONNXRUNTIME = "edgeclf, LiteRT", "edgeclf, ONNX Runtime"
BY_HAND = "LiteRT, Pillow's scaled decode"
MEDIAPIPE = ("MediaPipe, its reader", "MediaPipe, Pillow")
PEERS = (
    Peer(LITERT, "edgeclf-litert", "edgeclf", "tflite", None),
    Peer(ONNXRUNTIME, "edgeclf-onnxruntime", "edgeclf", "onnx", None),
    Peer("LiteRT, Pillow", "litert", "litert", "tflite", LITERT),
    Peer(BY_HAND, "litert", "litert-by-hand", "tflite", LITERT),
    Peer(MEDIAPIPE[0], "mediapipe", "mediapipe", "tflite", LITERT),
    Peer(MEDIAPIPE[1], "mediapipe", "mediapipe-pillow", "tflite", LITERT),
    Peer("ONNX Runtime, Pillow", "onnxruntime", "onnxruntime", "onnx", ONNXRUNTIME),
    Peer("OpenVINO, Pillow", "openvino", "openvino", "onnx", ONNXRUNTIME),
    Peer("OpenVINO Model API, OpenCV", "model-api", "model-api", "onnx", ONNXRUNTIME),
    Peer("Keras predict, Pillow", "keras", "keras", "keras", LITERT, ("fp32",)),
)


@dataclass(frozen=True)
class BenchmarkCase:
    """One model in one precision on one peer."""

    model: str
    precision: str
    peer: Peer

    @property
    def file(self) -> str:
        precision = "" if self.peer.format == "keras" else f".{self.precision}"
        return f"{self.model}{precision}.{self.peer.format}"

    def __str__(self) -> str:
        return f"{self.file} on {self.peer.name}"


@dataclass(frozen=True)
class Measured:
    """What the processes of all cases gave.

    Attributes:
        labels: The answers of each case, by size of the photo.
        latency: Of each case and round, by size of the photo.
        starts: Of each case and round.
        errors: Why the other cases have nothing.
    """

    labels: Mapping[BenchmarkCase, Mapping[str, Sequence[str]]]
    latency: Mapping[BenchmarkCase, Sequence[Mapping[str, Any]]]
    starts: Mapping[BenchmarkCase, Sequence[Mapping[str, Any]]]
    errors: Mapping[BenchmarkCase, str]


def measure_all(
    cases: Sequence[BenchmarkCase],
    artifacts: Path,
    interpreter: str,
    sets: Mapping[str, Mapping[str, Sequence[str]]],
    rounds: Mapping[str, int],
) -> Measured:
    """Runs all cases.

    Args:
        cases: What to measure.
        artifacts: Where the models are.
        interpreter: One for all peers; empty for each peer's own.
        sets: The paths of photos by size, for each measurement.
        rounds: How often each measurement is made.
    """
    results: dict[str, Any] = {}
    errors: dict[BenchmarkCase, str] = {}
    if not interpreter:
        errors = {case: MISSING for case in cases
                  if environments.find(case.peer.environment) is None}  # fmt: skip
    for what, times in rounds.items():
        jobs = {
            case: CommandJob(
                command=(
                    interpreter or str(environments.python_of(case.peer.environment)),
                    str(WORKER),
                ),
                document={
                    "measure": what,
                    "peer": case.peer.worker,
                    "model": str((artifacts / case.file).resolve()),
                    "labels": list(labels_of(artifacts, case.model)),
                    "threads": available_cpus(),
                    "photos": sets[what],
                    "seconds": SECONDS,
                    "calls": CALLS,
                },
            )
            for case in cases
            if case not in errors
        }
        results[what], failed = measure_interleaved(jobs, rounds=times, title=what)
        # Of a path the file's name: results belong to a machine, not to a folder on it.
        own = f"{artifacts.resolve()}{os.sep}"
        errors.update({case: reason.replace(own, "") for case, reason in failed.items()})
    latency = {case: [r["latency"] for r in found] for case, found in results["latency"].items()}
    labels = {case: found["labels"] for case, (found,) in results["answers"].items()}
    return Measured(labels, latency, results["start"], errors)


def labels_of(artifacts: Path, model: str) -> tuple[str, ...]:
    return load_artifact(artifacts / f"{model}.int8.tflite").metadata.labels


def row(case: BenchmarkCase, measured: Measured, truth: Sequence[str]) -> dict[str, Any]:
    """One line of the table, as plain JSON types.

    Args:
        case: What it is of.
        measured: Everything.
        truth: The right answers to the photos as they are.
    """
    line: dict[str, Any] = {
        "model": case.model,
        "precision": case.precision,
        "file": case.file,
        "peer": case.peer.name,
        "against": case.peer.against,
        "environment": case.peer.environment,
        "error": measured.errors.get(case),
    }
    if line["error"]:
        return line
    base = next((c for c in measured.labels if c.peer.name == case.peer.against
                 and (c.model, c.precision) == (case.model, case.precision)
                 and c not in measured.errors), None)  # fmt: skip
    answers = measured.labels[case]
    alike = {size: share_alike(answers[size], measured.labels[base][size]) if base else None
             for size in answers}  # fmt: skip

    def compared(size: str, figures: Callable[[BenchmarkCase], list[float]]) -> dict[str, Any]:
        own = figures(case)
        found: dict[str, Any] = {"p50_ms": statistics.median(own), "rounds_ms": own, "ratio": None}
        if base and min(alike[AS_THEY_ARE] or 0, alike[size] or 0) >= SAME_ANSWERS:
            found["ratio"] = paired_ratio(own, figures(base))
        return found

    latency = {
        size: compared(size, lambda c, s=size: [r[s]["p50_ms"] for r in measured.latency[c]])
        for size in SIDES
    }
    starts = measured.starts[case]
    memory = {
        size: {key: statistics.median(start["memory"][size][key] for start in starts)
               for key in ("steady_pss_bytes", "peak_rss_bytes")}
        for size in SIDES
    }  # fmt: skip
    return {
        **line,
        "top1": share_alike(answers[AS_THEY_ARE], truth),
        "alike": alike,
        "latency": latency,
        "samples": sum(r[size]["n"] for r in measured.latency[case] for size in SIDES),
        "cold_start": compared(
            SMALL, lambda c: [start["cold_start_ms"] for start in measured.starts[c]]
        ),
        "memory": memory,
    }


def share_alike(answers: Sequence[str], others: Sequence[str]) -> float:
    return sum(a == b for a, b in zip(answers, others, strict=True)) / len(answers)


def figures_of(lines: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """What the int8 student was promised: against MediaPipe at its best, and a loop by hand."""
    found = {line["peer"]: line for line in lines
             if line["file"] == "mugs.int8.tflite" and not line["error"]}  # fmt: skip
    if LITERT not in found:
        return []
    figures = []
    for size, share in {LARGE: 0.25, SMALL: 0.75}.items():
        own = found[LITERT]["latency"][size]
        readers = [found[name]["latency"][size] for name in MEDIAPIPE if name in found]
        others = [("MediaPipe", min(readers, key=lambda r: r["p50_ms"]), share)] if readers else []
        if BY_HAND in found:
            limit = 1.10 if size == LARGE else None
            others.append(("(scaled decode + bare engine)", found[BY_HAND]["latency"][size], limit))
        for name, other, at_most in others:
            value, low, high = paired_ratio(own["rounds_ms"], other["rounds_ms"])
            note = (f"{own['p50_ms']:.2f} / {other['p50_ms']:.2f} ms, "
                    f"95 % interval {low:.3f} to {high:.3f}")  # fmt: skip
            what = f"{size} JPEG to label, edgeclf / {name}"
            figures.append(Figure(what, value, at_most=at_most, note=note))
    return figures


def print_rows(
    lines: Sequence[Mapping[str, Any]], installed: Mapping[str, environments.Environment]
) -> None:
    print(f"{'':<56} {SMALL + ', ms':>20} {LARGE + ', ms':>20} {'cold start, ms':>20} "
          f"{'PSS':>5} {'peak':>5} {'disk':>6} alike")  # fmt: skip
    for line in lines:
        name = f"{line['file']:<22} {line['peer']:<33}"
        if line["error"]:
            print(f"{name} FAILED: {line['error']}")
            continue
        times = [*(line["latency"][size] for size in SIDES), line["cold_start"]]
        cells = [f"{t['p50_ms']:.2f}" + (f" ({t['ratio'][0]:.2f}x)" if t["ratio"] else "")
                 for t in times]  # fmt: skip
        memory = line["memory"]
        found = installed.get(line["environment"])
        disk = found.size_bytes / 1e6 if found else float("nan")
        alike = [f"{share:.0%}" for share in line["alike"].values() if share is not None]
        print(f"{name} {cells[0]:>20} {cells[1]:>20} {cells[2]:>20} "
              f"{memory[SMALL]['steady_pss_bytes'] / 1e6:5.0f} "
              f"{memory[LARGE]['peak_rss_bytes'] / 1e6:5.0f} "
              f"{disk:6.0f} {' '.join(alike)}")  # fmt: skip


def checked_environments(args: argparse.Namespace) -> list[str]:
    """The environments asked for; ends the script where the arguments cannot work."""
    wanted = args.only.split(",") if args.only else list(environments.REQUIREMENTS)
    if unknown := set(wanted) - set(environments.REQUIREMENTS):
        raise SystemExit(
            f"--only names {', '.join(sorted(unknown))}; expected some of "
            f"{', '.join(environments.REQUIREMENTS)}"
        )
    if min(args.rounds, args.starts) < MIN_ROUNDS:
        raise SystemExit(
            f"--rounds is {args.rounds} and --starts {args.starts}; expected at least "
            f"{MIN_ROUNDS} of each, as fewer carry no interval."
        )
    return wanted


def drop_environments(names: Sequence[str]) -> None:
    """Lets all environments be read from the disk.

    A process counts as up to 9 MB more while the libraries that it maps lie in the page cache as
    pip wrote them.
    """
    for name in names:
        if environments.find(name) is not None:
            paths = (environments.FOLDER / name).rglob("*")
            drop_from_page_cache(path for path in paths if path.is_file())


def write_photos(folder: Path, count: int) -> dict[str, list[str]]:
    """Writes the photos that are timed; gives their paths by size."""
    timed: dict[str, list[str]] = {size: [] for size in SIDES}
    for size, (width, height) in SIDES.items():
        for index, path in enumerate(photos(count)):
            file = folder / f"{width}-{index}.jpg"
            file.write_bytes(enlarged(path, width, height))
            timed[size].append(str(file))
    return timed


def main() -> int:
    args = parse(
        __doc__,
        rounds=(6, "processes of each peer for latency"),
        starts=(6, "processes of each peer for cold start and memory"),
        photos=(8, "photos of each size to time"),
        answers=(120, "photos whose answers are compared"),
        models=(",".join(MODELS), "names, separated by commas"),
        only=("", "environments, separated by commas; empty for all"),
        python=("", "run all peers on this interpreter instead of each one's own"),
    )
    # The code of this tree, whatever version is installed.
    os.environ["PYTHONPATH"] = str(ROOT)
    wanted = checked_environments(args)
    cases = [
        BenchmarkCase(model, precision, peer)
        for model in args.models.split(",")
        for precision in ("int8", "fp32")
        for peer in PEERS
        if precision in peer.precisions and peer.environment in wanted
    ]
    load = os.getloadavg()[0]
    drop_environments(wanted)
    # Storage in memory, so that nobody's reader waits for a disk.
    where = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=where) as folder:
        timed = write_photos(Path(folder), args.photos)
        compared = photos(args.answers)
        measured = measure_all(
            cases,
            args.artifacts,
            args.python,
            {
                "answers": {AS_THEY_ARE: [str(path) for path in compared], **timed},
                "latency": timed,
                "start": timed,
            },
            {"answers": 1, "latency": args.rounds, "start": args.starts},
        )
    truth = [path.parent.name for path in compared]
    lines = [row(case, measured, truth) for case in cases]
    installed = {name: found for name in wanted if (found := environments.find(name))}
    print_rows(lines, installed)
    method = (
        f"{args.rounds} fresh processes of each peer in turns for latency, {args.starts} for cold "
        f"start and memory; medians; {available_cpus()} threads (MediaPipe: its own choice); files "
        f"in memory, {args.photos} photos a size; answers compared on {len(compared)} photos and "
        f"on those; load of the machine before {load:.1f}"
    )
    return finish(
        __file__,
        figures_of(lines),
        method,
        args.write,
        rows=lines,
        installed={name: asdict(found) for name, found in installed.items()},
    )


if __name__ == "__main__":
    sys.exit(main())
