"""Students and their peers, taught by one teacher: accuracy against latency.

Each network of `student_networks.py` learns the same kept answers of the same teacher by the
settings of `edgeclf distill`. The present student and those that are pruned afterwards learn for
its default of 24 passes over the photos, to which pruning adds the 32 of `edgeclf prune`, here too
from the teacher's answers, where the verb asks the network as it was. Each peer learns for as many
passes as the CPU time of the pruned student of half the latency allows. What a step takes is
measured once for each of these, and what all took stands in the table. Then each is converted to
int8 TFLite and ONNX by the usual recipe, and its files are judged. Latency is measured on the files
of the first seed, in fresh processes in turns, of the runtime's call for one image on one thread
and on all, and of the whole answer from a photo's bytes. The mugs, and the handwritten digits of
scikit-learn.

A student that was taught is kept with its row and found again by the next run.

    python benchmarks/students.py --seeds 5 --write
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from shared import ROOT, Figure, finish, parse, results_path
from student_networks import CONTESTANTS, HALF, PRESENT, SAME
from student_plot import draw
from student_training import PRUNED_EPOCHS, PRUNED_VIEWS

import edgeclf
from edgeclf.datasets.validation import find_photos_for
from edgeclf.measurement.harness.interleave import measure_interleaved
from edgeclf.measurement.harness.process import CommandJob
from edgeclf.metrics.accuracy import accuracy_record
from edgeclf.metrics.statistics import paired_ratio, paired_t_interval
from edgeclf.system.child import serve
from edgeclf.system.cpu import available_cpus
from edgeclf.system.progress import log

PASSES = 24  # by the defaults of `edgeclf distill`: 8 views in 3 epochs
STEPS_A_PASS = 20  # of 32 of the 640 photos
RUNTIMES = {"tflite": "litert", "onnx": "onnxruntime"}
COMMAND = (sys.executable, __file__, "--child")
TRAINING = ROOT / "benchmarks" / "student_training.py"
DIGIT_SIDE, DIGITS_TO_LEARN = 32, 64  # of each digit
WARMUP_CALLS = 20


def mugs(folder: Path, artifacts: Path, photos: Path) -> dict[str, Any]:
    teacher = artifacts / "mugs-teacher.keras"
    return {"data": str(photos), "mirror": True, "teacher": str(teacher)}


def digits(folder: Path, *_: Path) -> dict[str, Any]:
    """The 1,797 digits, each enlarged to 32 pixels; 640 to learn from, the others to judge by."""
    from sklearn.datasets import load_digits

    photos, teacher = folder / "photos", folder / "photos-teacher.keras"
    if not (photos / "eval").exists():
        found = load_digits()
        seen = dict.fromkeys(range(10), 0)
        for picture, label in zip(found.images, found.target.tolist(), strict=True):
            part = "train" if seen[label] < DIGITS_TO_LEARN else "eval"
            path = photos / part / f"digit {label}" / f"{seen[label]}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            large = Image.fromarray((picture * 255 / 16).astype(np.uint8)).resize(
                (DIGIT_SIDE, DIGIT_SIDE), Image.Resampling.BICUBIC
            )
            large.convert("RGB").save(path)
            seen[label] += 1
    if not teacher.exists():
        made = edgeclf.train(
            photos / "train", evaluation=photos / "eval", out=folder, no_mirror=True
        )
        assert made.path == teacher, made.path
    return {"data": str(photos), "mirror": False, "teacher": str(teacher)}


DATA = {"mugs": mugs, "digits": digits}


def teach_all(
    folder: Path, job: Mapping[str, Any], networks: Sequence[str], seeds: int, peer_seeds: int
) -> Iterator[dict[str, Any]]:
    """A row for each network and seed; what an earlier run left is taken as it is."""
    (first,) = _rows(folder, job, HALF, PASSES, [0])
    for name in networks:
        passes = PASSES
        if name != PRESENT and CONTESTANTS[name].keep is None:
            (probe,) = _rows(folder, job, name, None, ["step"])
            left_s = first["cpu_s"] - probe["once_cpu_s"]
            passes = max(1, int(left_s / (probe["step_cpu_s"] * STEPS_A_PASS)))
        count = seeds if CONTESTANTS[name].ours else peer_seeds
        for seed, row in enumerate(_rows(folder, job, name, passes, range(count))):
            yield {"network": name, "seed": seed, **row}


def _rows(
    folder: Path, job: Mapping[str, Any], name: str, passes: int | None, ends: Sequence[Any]
) -> list[dict[str, Any]]:
    """What a child process left or leaves of a network, a row for each seed."""
    paths = [folder / "rows" / f"{name}-{end}.json" for end in ends]
    missing = [
        {**job, "network": name, "seed": end, "passes": passes, "folder": str(folder),
         "row": str(path)}
        for end, path in zip(ends, paths, strict=True)
        if not path.exists()
    ]  # fmt: skip
    if missing:
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        log(f"== {folder.name}: {name}, {passes or 'a few'} passes, {len(missing)} times")
        subprocess.run([sys.executable, str(TRAINING), json.dumps(missing)], check=True)
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def time_calls(job: Mapping[str, Any]) -> dict[str, Any]:
    """Medians of the runtime's call and of the whole answer: what a child process does."""
    from edgeclf import Classifier, load_artifact
    from edgeclf.runtimes import load_runtime

    photo, artifact = Path(job["photo"]).read_bytes(), load_artifact(job["model"])
    runtime = load_runtime(job["runtime"], artifact, threads=job["threads"])
    with Classifier(artifact, runtime=runtime) as classifier:
        spec = classifier.artifact.metadata.image
        image = np.random.default_rng(0).integers(0, 256, (1, spec.height, spec.width, 3), np.uint8)
        calls = {
            "call_ms": lambda: runtime.run(image),
            "answer_ms": lambda: classifier.classify(photo),
        }
        medians = {}
        for name, call in calls.items():
            for _ in range(WARMUP_CALLS):
                call()
            times: list[float] = []
            end = time.perf_counter() + job["seconds"]
            while len(times) < WARMUP_CALLS or time.perf_counter() < end:
                start = time.perf_counter()
                call()
                times.append((time.perf_counter() - start) * 1e3)
            medians[name] = statistics.median(times)
    return medians


def setting_of(runtime: str, threads: int) -> str:
    return f"{runtime}, {threads} thread{'s' * (threads > 1)}"


def measure(
    folder: Path, networks: Sequence[str], photo: Path, rounds: int, seconds: float
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """For each network and "runtime, 1 thread", a median a round of each call."""
    jobs = {
        (name, runtime, threads): CommandJob(
            command=COMMAND,
            document={
                "model": str(folder / f"{name}-0.int8.{format_}"),
                "runtime": runtime,
                "threads": threads,
                "photo": str(photo),
                "seconds": seconds,
            },
        )
        for format_, runtime in RUNTIMES.items()
        for threads in sorted({1, available_cpus()})
        for name in networks
    }
    results, errors = measure_interleaved(jobs, rounds=rounds, title="latency")
    for key, reason in errors.items():
        print(f"{key} FAILED: {reason}")
    found: dict[str, dict[str, dict[str, list[float]]]] = {name: {} for name in networks}
    for (name, runtime, threads), medians in results.items():
        found[name][setting_of(runtime, threads)] = {
            call: [median[call] for median in medians] for call in ("call_ms", "answer_ms")
        }
    return found


def teacher_of(job: Mapping[str, Any]) -> dict[str, Any]:
    """How right the teacher is on the photos that its students are judged by."""
    artifact = edgeclf.load_artifact(job["teacher"])
    photos = find_photos_for([artifact], Path(job["data"]) / "eval")
    with edgeclf.Classifier(artifact) as teacher:
        return accuracy_record(teacher.probabilities(photos.paths), photos)


def summarize(
    data: str,
    rows: Sequence[Mapping[str, Any]],
    latency: Mapping[str, Any],
    teacher: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """One row a network: its seeds together, its latency, and both against the present student."""
    of = {name: [row for row in rows if row["network"] == name] for name in CONTESTANTS}
    summary = []
    for name, found in of.items():
        if not found:
            continue
        contestant = CONTESTANTS[name]
        line: dict[str, Any] = {
            "data": data,
            "network": name,
            "title": contestant.title,
            "ours": contestant.ours,
            "start": contestant.start,
            "side": contestant.side,
            "teacher_top1": teacher["top1"],
            "judged_by": teacher["images"],
            "parameters": found[0]["parameters"],
            "passes": found[0]["views"] * found[0]["epochs"]
            + (PRUNED_VIEWS * PRUNED_EPOCHS if contestant.keep else 0),
            "cpu_s": [row["cpu_s"] for row in found],
            "latency": latency.get(name, {}),
        }
        for format_ in ("keras", *RUNTIMES):
            top1 = [row[format_]["top1"] for row in found]
            pairs = list(zip(top1, (row[format_]["top1"] for row in of[PRESENT]), strict=False))
            differences = [own - other for own, other in pairs]
            line[format_] = {
                "top1": top1,
                "mean": statistics.mean(top1),
                "interval_95": list(paired_t_interval(top1)) if len(top1) > 1 else None,
                "difference": statistics.mean(differences) if differences else None,
                "difference_95": list(paired_t_interval(differences)) if len(pairs) > 1 else None,
                **{
                    key: found[0][format_][key]
                    for key in ("size_bytes", "metadata_bytes")
                    if key in found[0][format_]
                },
            }
        summary.append(line)
    return summary


def figures_of(lines: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    """What was asked of the two students, on each data set."""
    for data in dict.fromkeys(line["data"] for line in lines):
        of = {line["network"]: line for line in lines if line["data"] == data}
        if PRESENT not in of:
            continue
        for name, wanted in ((HALF, 0.5), (SAME, 1.0)):
            if name in of:
                yield from _against_present(data, of[name], of[PRESENT], wanted)
        yield from _front(data, list(of.values()))


def _against_present(
    data: str, line: Mapping[str, Any], present: Mapping[str, Any], wanted: float
) -> Iterator[Figure]:
    title = f"{data}, {line['network']}"
    for setting, calls in line["latency"].items():
        for call, what in (("call_ms", "a call"), ("answer_ms", "an answer from a photo's bytes")):
            before = present["latency"][setting][call]
            ratio, low, high = paired_ratio(calls[call], before)
            limit = wanted if call == "call_ms" else None
            yield Figure(f"{title}: {what} of the present student's, {setting}", ratio,
                         at_most=limit, note=f"{statistics.median(calls[call]):.3f} against "
                         f"{statistics.median(before):.3f} ms, 95 % interval {low:.3f} to "
                         f"{high:.3f}")  # fmt: skip
    for format_ in RUNTIMES:
        own, other = line[format_], present[format_]
        seeds = len(own["top1"])
        note = f"{own['mean']:.2%} against {other['mean']:.2%}, {seeds} seeds"
        if own["difference_95"]:
            note += ", 95 % interval {:+.2f} to {:+.2f}".format(
                *(100 * end for end in own["difference_95"])
            )
        if wanted < 1:
            yield Figure(f"{title}: int8 {format_} top-1 above the present student's, points",
                         100 * own["difference"], at_least=-0.5, note=note)  # fmt: skip
            yield Figure(f"{title}: size of the {format_} of the present student's",
                         own["size_bytes"] / other["size_bytes"], at_most=0.5,
                         note=f"{own['size_bytes'] / 1e3:.0f} against "
                         f"{other['size_bytes'] / 1e3:.0f} kB")  # fmt: skip
        else:
            gap = present["teacher_top1"] - other["mean"]
            yield Figure(f"{title}: of the present student's gap to the teacher closed, {format_}",
                         own["difference"] / gap if gap > 0 else 1.0, at_least=0.5,
                         note=f"{note}, teacher {present['teacher_top1']:.2%}")  # fmt: skip


def _front(data: str, lines: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    """Of the peers, which one of ours is ahead of: as accurate at least, and no slower."""
    ours = [line for line in lines if line["ours"]]
    peers = [line for line in lines if not line["ours"]]
    for format_, runtime in RUNTIMES.items():
        setting = setting_of(runtime, 1)
        if not peers or any(setting not in line["latency"] for line in lines):
            continue
        beaten = [
            peer["title"]
            for peer in peers
            if any(
                own[format_]["mean"] >= peer[format_]["mean"]
                and _p50(own, setting) <= _p50(peer, setting)
                for own in ours
            )
        ]
        left = [peer["title"] for peer in peers if peer["title"] not in beaten]
        note = f"not ahead of {', '.join(left)}" if left else ""
        yield Figure(f"{data}: peers that one of ours is ahead of, {runtime}", len(beaten),
                     f"of {len(peers)}", at_least=len(peers), note=note)  # fmt: skip


def _p50(line: Mapping[str, Any], setting: str) -> float:
    return statistics.median(line["latency"][setting]["call_ms"])


def main() -> int:
    if "--child" in sys.argv:
        return serve(lambda job, _: (time_calls(job), b""))
    args = parse(
        __doc__,
        photos=(str(ROOT / "examples" / "mugs"), "the mugs: a folder with train/ and eval/"),
        seeds=(5, "students of each network of ours"),
        peer_seeds=(3, "of each peer"),
        digit_seeds=(2, "of all of them on the digits"),
        data=(",".join(DATA), "data sets"),
        networks=(",".join(CONTESTANTS), "which of them"),
        out=(str(ROOT / "runs" / "students"), "where what is taught is kept"),
        rounds=(8, "processes of each for latency"),
        seconds=(0.3, "of each call in a process"),
        teach=(False, "teach what is missing, and measure nothing"),
    )
    networks = [name for name in CONTESTANTS if name in args.networks.split(",")]
    summary: list[dict[str, Any]] = []
    for data in args.data.split(","):
        folder = Path(args.out).resolve() / data
        folder.mkdir(parents=True, exist_ok=True)
        job = DATA[data](folder, args.artifacts.resolve(), Path(args.photos).resolve())
        seeds = (args.seeds, args.peer_seeds) if data == "mugs" else (args.digit_seeds,) * 2
        rows = list(teach_all(folder, job, networks, *seeds))
        if args.teach:
            continue
        photo = sorted((Path(job["data"]) / "eval").rglob("*.*"))[0]
        latency = measure(folder, networks, photo, args.rounds, args.seconds)
        summary += summarize(data, rows, latency, teacher_of(job))
    figures = list(figures_of(summary))
    if args.write and summary:
        draw(summary, results_path(args.write, __file__, "svg"))
    method = (
        f"seeds on the mugs: {args.seeds} of each network of ours, {args.peer_seeds} of each peer, "
        f"on the digits {args.digit_seeds}; soft targets of up to 16 views of 640 photos, the "
        f"settings of edgeclf distill: {PASSES} passes for the present student and for those that "
        f"are pruned after them and learn 32 more, for the others as many as the "
        f"CPU time of {HALF} allows (a step's is measured once); int8 by the usual recipe without "
        f"fallback; latency of seed 0's files, medians of {args.rounds} fresh processes in turns, "
        f"{args.seconds} s each call; intervals: seeds by Student's t, ratios by signed ranks"
    )
    return finish(__file__, figures, method, args.write, rows=summary)


if __name__ == "__main__":
    raise SystemExit(main())
