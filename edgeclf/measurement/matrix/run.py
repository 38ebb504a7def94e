"""The rows of a benchmark: measured one by one, written as they come, reused if they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeclf.artifact import Artifact, load_artifact
from edgeclf.datasets.photos import Photos
from edgeclf.datasets.validation import find_photos_for
from edgeclf.measurement.matrix.cases import BenchmarkCase, BenchmarkMatrix, plan_cases
from edgeclf.measurement.matrix.resume import finished_rows, row_key
from edgeclf.measurement.matrix.rows import PUBLISHED, QUICK, CaseRunner, SamplingPlan
from edgeclf.measurement.matrix.schema import SCHEMA, row_name
from edgeclf.runtimes import Device
from edgeclf.system import files
from edgeclf.system.environment import environment
from edgeclf.system.progress import Progress, log

_SLOW_IMPORT = 4  # so many times the work of another row is one that imports TensorFlow


@dataclass(frozen=True)
class BenchmarkRequest:
    """What `edgeclf.benchmark` was asked for; see there.

    Attributes:
        models: Artifacts.
        images: Labelled photos; None for random pixels.
        matrix: Ways to run each of them.
        device: Where the models run.
        arrivals_per_s: Rate of an open stream; 0 for none.
        quick: Whether fewer samples do.
    """

    models: tuple[Path, ...]
    images: Path | None
    matrix: BenchmarkMatrix
    device: Device
    arrivals_per_s: float
    quick: bool


def measure_matrix(request: BenchmarkRequest, out: Path, *, fresh: bool) -> dict[str, Any]:
    """The body of `edgeclf.benchmark`; see there."""
    files.check_out(out)
    artifacts = [load_artifact(path) for path in request.models]
    photos = None if request.images is None else find_photos_for(artifacts, request.images)
    cases = plan_cases(
        artifacts, request.matrix.runtimes, request.matrix.threads, request.matrix.batches
    )
    found = environment()
    plan = QUICK if request.quick else PUBLISHED
    runner = CaseRunner(
        plan,
        photos,
        _sources(artifacts) if photos else {},
        request.device,
        request.arrivals_per_s,
    )
    keys = {case.id: row_key(found, runner.settings(case)) for case in cases}
    earlier = {} if fresh else finished_rows(out, SCHEMA)
    rows = {case.id: earlier[keys[case.id]] for case in cases if keys[case.id] in earlier}
    if earlier:
        log(f"{len(rows)} of {len(cases)} rows reused from {out}; --fresh measures all again")
    results: dict[str, Any] = {
        "schema": SCHEMA,
        "complete": False,
        "environment": found,
        "method": _method(request, photos, plan),
        "rows": [],
    }

    def write() -> None:
        results["rows"] = [rows[case.id] for case in cases if case.id in rows]
        results["complete"] = len(rows) == len(cases)
        files.write_json(out, results)

    # What others are compared with comes first, so that a row is complete once it is written.
    missing = sorted((c for c in cases if c.id not in rows), key=lambda c: not runner.is_source(c))
    progress = Progress("benchmark", sum(_cost(case) for case in missing))
    try:
        for case in missing:
            progress.show(note=str(case))
            row = runner.make(case)
            rows[case.id] = {**row, "date": found["date"], "key": keys[case.id]}
            write()
            progress.advance(_cost(case))
    except KeyboardInterrupt:
        log(f"\n{len(rows)} of {len(cases)} rows are measured; the same command goes on from there")
        raise
    write()
    for row in results["rows"]:
        _remark(row)
    return results


def _remark(row: Mapping[str, Any]) -> None:
    """Says what is wrong with a row, if anything is."""
    if row["error"]:
        log(f"{row_name(row)} failed: {row['error']}")
        return
    if not row["latency"]["stable"]:
        log(f"{row_name(row)} is unstable: its last medians differ by more than 10 %")
    if row["throttled"]:
        log(f"{row_name(row)} was throttled: the processor slowed down while it was measured")


def _sources(artifacts: Sequence[Artifact]) -> dict[str, Artifact]:
    """By model, its Keras artifact: what the others were converted from."""
    return {a.metadata.name: a for a in reversed(artifacts) if a.format == "keras"}


def _cost(case: BenchmarkCase) -> int:
    """How long a row takes, in rows of the quickest kind; for the time left."""
    return _SLOW_IMPORT if case.runtime == "tensorflow" else 1


def _method(request: BenchmarkRequest, photos: Photos | None, plan: SamplingPlan) -> dict[str, Any]:
    """How it was measured: in words, and the settings behind them."""
    rule = plan.sampling
    given = "the bytes of image files in memory" if photos else "random pixels of the input size"
    return {
        "input": "photos" if photos else "random",
        "images": len(photos) if photos else 0,
        "data_sha256": photos.sha256 if photos else None,
        "device": request.device,
        "quick": request.quick,
        "sampling_plan": asdict(plan),
        "latency": f"one process a row, pinned to as many CPUs as threads; single stream, from "
        f"{given} to the answer to one batch; after warm-up at least {rule.min_samples} samples, "
        f"or {rule.max_s:g} s; stable if the medians of the last three windows of "
        f"{rule.window_s:g} s lie within 10 % of each other",
        "throughput": f"in the same process, batches back to back for {plan.throughput_s:g} s",
        "memory": (
            "one process a row, apart from latency; /proc/self/smaps_rollup by phase"
            if plan.cold_starts
            else "in the same process, before latency; /proc/self/smaps_rollup by phase"
        ),
        "cold_start": (
            f"from the start of a process to its first answer; median of {plan.cold_starts}, "
            "files in the page cache, and dropped from it"
            if plan.cold_starts
            else "from the start of that process to its first answer, without the time for reading "
            "its memory"
        ),
    }
