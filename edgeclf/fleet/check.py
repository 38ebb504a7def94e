"""Whether a file may run on this device: asked in a child, which a broken one may kill.

The child gets the very bytes whose hash was compared, through a pipe, and uses the runtime that
will serve. It loads numpy and an engine; the updater itself never does.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeclf.errors import EdgeclfError, QualityGateError, VerificationError
from edgeclf.fleet.orders import ALL

if TYPE_CHECKING:
    from edgeclf.inference.classifier import Classifier

TIMEOUT_S = 300.0
_MOST_FRAMES = 64
_SAMPLES = 1024  # of which a p99 can be told
_MOST_S = 30.0
_FEW, _FEW_S = 32, 0.5  # answers that compare devices, and the time for them


def check(
    content: bytes, runtime: str, limits: Mapping[str, int], present: Path | None, frames: Path
) -> dict[str, Any]:
    """Asks a file's certificate, and what its order asks for.

    Args:
        content: The file.
        runtime: What will serve.
        limits: See `Order.limits`.
        present: The file that runs now, for a comparison on frames.
        frames: A folder with pictures that the device kept; there need be none.

    Returns:
        What was found, plain JSON types.

    Raises:
        EdgeclfError: It may not run, or the child did not live to say so.
    """
    from edgeclf.system.child_process import ChildError, function_command, run_child
    from edgeclf.system.limits import Limits

    job = {"runtime": runtime, "limits": dict(limits), "frames": str(frames),
           "present": present and str(present)}  # fmt: skip
    try:
        return run_child(
            function_command("edgeclf.fleet.check:check_job"), job, content,
            timeout_s=TIMEOUT_S, limits=Limits.for_stranger(TIMEOUT_S),
        ).document  # fmt: skip
    except ChildError as exc:
        raise VerificationError(
            f"The file was checked in a child process, and {exc}. It is what was signed, so its "
            "model is broken or hostile, or this device is too small for it."
        ) from exc


def check_job(job: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
    """What the child does; see `edgeclf.system.child.serve`."""
    from edgeclf.artifact import load_artifact
    from edgeclf.inference.classifier import Classifier
    from edgeclf.trust.certificate import replay

    artifact = load_artifact(payload)
    limits = job["limits"]
    with Classifier(artifact, runtime=job["runtime"]) as classifier:
        result = replay(classifier)
        library = f"{result.runtime.library} {result.runtime.library_version}"
        found: dict[str, Any] = {"max_change": result.max_change, "tolerance": result.tolerance,
                                 "photo": result.photo, "runtime": library}  # fmt: skip
        found["latency_ms"] = _latency_ms(classifier)
        if "max_p99_us" in limits:
            found["p99_ms"] = _p99_ms(classifier, limits["max_p99_us"] / 1000)
        if "max_memory_kb" in limits:
            found["memory_mb"] = _memory_mb(limits["max_memory_kb"] / 1000)
        frames = _frames(Path(job["frames"])) if job["present"] else []
        if frames:
            least = limits.get("min_agreement", 0) / ALL
            found |= _agreement(classifier, job["present"], job["runtime"], frames, least)
    return found, b""


def _latency_ms(classifier: Classifier) -> float:
    """The median of a few answers: nothing to publish, and enough to compare devices by."""
    from edgeclf.measurement.workloads.latency import open_workload

    call, values, begun = open_workload(classifier, [], 1).call, list[float](), time.monotonic()
    while len(values) < _FEW and (not values or time.monotonic() - begun < _FEW_S):
        values.append(call()[-1])
    return statistics.median(values)


def _p99_ms(classifier: Classifier, limit_ms: float) -> float:
    from edgeclf.measurement.workloads.latency import open_workload
    from edgeclf.measurement.workloads.sampling import Sampling, sample, warm_up
    from edgeclf.metrics.statistics import percentiles

    workload = open_workload(classifier, [], 1)
    warm_up(workload.call)
    sampling = Sampling(0.25, _SAMPLES, 0.0, _MOST_S)
    p99 = percentiles([each[-1] for each in sample(workload.call, sampling).values]).p99
    if p99 is None or p99 > limit_ms:
        took = (
            f"fewer than {_SAMPLES:,} answers in {_MOST_S:g} s" if p99 is None else f"{p99:.2f} ms"
        )
        raise QualityGateError(
            f"It is too slow here: p99 {took}, and the order allows {limit_ms:g} ms. Publish a "
            "smaller model, or another order for this group."
        )
    return p99


def _memory_mb(limit_mb: float) -> float:
    from edgeclf.measurement.probes.memory import peak_rss_bytes

    peak_mb = peak_rss_bytes() / 1e6
    if peak_mb > limit_mb:
        raise QualityGateError(
            f"It needs too much memory here: {peak_mb:.1f} MB at its peak, Python and the runtime "
            f"included, and the order allows {limit_mb:g} MB."
        )
    return peak_mb


def _frames(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    newest = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path for path in newest if path.is_file() and path.name[0] != "."][:_MOST_FRAMES]


def _agreement(
    classifier: Classifier, present: str, runtime: str, frames: Sequence[Path], least: float
) -> dict[str, Any]:
    from edgeclf.inference.classifier import Classifier as _Classifier
    from edgeclf.inference.prediction import Prediction

    try:
        other = _Classifier(present, runtime=runtime)
    except EdgeclfError as exc:  # no fault of the new one
        return {"agreement": None, "problem": f"the present model cannot be asked: {exc}"}
    with other:
        answers = zip(classifier.classify_batch(frames), other.classify_batch(frames), strict=True)
        same = [
            new.label == old.label
            for new, old in answers
            if isinstance(new, Prediction) and isinstance(old, Prediction)
        ]
    share = sum(same) / len(same) if same else 1.0
    if share < least:
        raise QualityGateError(
            f"It answers {share:.1%} of {len(same)} kept frames as the present model does, and "
            f"the order asks for {least:.1%}."
        )
    return {"agreement": share, "frames": len(same)}
