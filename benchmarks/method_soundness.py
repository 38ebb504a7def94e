"""Whether `edgeclf benchmark --compare` claims differences that are not there, or misses real ones.

A simulated clock stands for the machine, so that thousands of comparisons can be made: A against
A, and A against something known to be 10 % slower. Order, dropped round, medians and verdict are
those of `edgeclf.measurement`; only the figures are drawn, for each call

    base * slowdown * exp(process + drift + walk + jitter) * (1 + spike)

with `process` normal, one for each process (where its memory fell, which CPU it got), plus now and
then a phase in which a neighbour takes much of the machine; `drift` linear over the comparison;
`walk` a random walk from process to process; `jitter` normal, one for each call; and a `spike`
for a few calls. The last level has the spread that this machine shows, from processes that are
measured for it. A control measures all of A before all of B, as people do by hand: under drift it
has to fail, else the check would check nothing. Two figures show why the interval is not a
bootstrap's, with a fifth of the comparisons.

Then real comparisons: a file against itself, and against itself on a runtime that, after each
call, spins for a tenth of the time the call took, registered like a third party's.

    python benchmarks/method_soundness.py
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from shared import Figure, finish, parse, registered_runtime

from edgeclf.measurement.harness.interleave import orders
from edgeclf.measurement.harness.process import measure
from edgeclf.measurement.jobs.inference import InferenceJob
from edgeclf.measurement.matrix.ab import (
    ROUNDS,
    SECONDS,
    LatencyVerdict,
    compare_ab,
    compare_latencies,
)
from edgeclf.metrics.statistics import wilson_interval

SLOWDOWN = 1.10
AT_LEAST = 0.95  # of the comparisons
MODEL = "mugs.int8.tflite"
_CALLS = 200  # in a simulated process; of a real one's thousands, far more


@dataclass(frozen=True)
class Noise:
    """How far a clock strays, as standard deviations of logarithms unless said otherwise.

    Attributes:
        process: Between processes.
        jitter: Between the calls of a process.
        phase_share: Share of processes in a disturbed phase.
        phase: Mean of the slowdown in such a phase, as a logarithm, exponentially distributed.
        drift: From the first process to the last, as a logarithm.
        walk: Step of the random walk, from process to process.
        spike_share: Share of calls with a spike.
        spike: Mean of the spike, exponentially distributed, in times of the call.
    """

    process: float
    jitter: float
    phase_share: float = 0.0
    phase: float = 0.3
    drift: float = 0.0
    walk: float = 0.0
    spike_share: float = 0.01
    spike: float = 3.0


LEVELS = {
    "quiet": Noise(process=0.005, jitter=0.02),
    "a desktop": Noise(process=0.02, jitter=0.05, phase_share=0.03, drift=0.05),
    "warming up, 40 % slower at the end": Noise(process=0.02, jitter=0.05, drift=0.34),
    "wandering": Noise(process=0.02, jitter=0.05, walk=0.08),
    "a shared machine": Noise(process=0.03, jitter=0.1, phase_share=0.05, drift=0.1, walk=0.02),
}


def simulate(
    rng: np.random.Generator, noise: Noise, names: Sequence[str], slowdown: float
) -> list[tuple[str, float]]:
    """The median of each process, for processes of A and B in the order of `names`."""
    count = len(names)
    log = rng.normal(0, noise.process, count) + noise.drift * np.linspace(0, 1, count)
    log += rng.normal(0, noise.walk, count).cumsum()
    log += (rng.random(count) < noise.phase_share) * rng.exponential(noise.phase, count)
    log += np.log(slowdown) * (np.array(names) == "B")
    calls = np.exp(log[:, np.newaxis] + rng.normal(0, noise.jitter, (count, _CALLS)))
    hit = rng.random(calls.shape) < noise.spike_share
    calls *= 1 + hit * rng.exponential(noise.spike, calls.shape)
    return list(zip(names, np.median(calls, axis=1).tolist(), strict=True))


def in_turns(
    rng: np.random.Generator, noise: Noise, slowdown: float, rounds: int = ROUNDS
) -> LatencyVerdict:
    """A comparison as edgeclf makes it."""
    names = [name for order in orders("AB", rounds + 1) for name in order]
    return judged(simulate(rng, noise, names, slowdown)[2:])


def one_after_the_other(
    rng: np.random.Generator, noise: Noise, slowdown: float, rounds: int = ROUNDS
) -> LatencyVerdict:
    """A comparison as it is made by hand: all of A, then all of B."""
    return judged(simulate(rng, noise, ["A"] * rounds + ["B"] * rounds, slowdown))


def bootstrapped(rng: np.random.Generator, noise: Noise, slowdown: float, rounds: int) -> str:
    """In turns, judged by resampling the rounds and taking the ratio of the medians of each."""
    names = [name for order in orders("AB", rounds + 1) for name in order]
    measured = simulate(rng, noise, names, slowdown)[2:]
    a, b = (np.array([ms for name, ms in measured if name == wanted]) for wanted in "AB")
    picks = rng.integers(0, rounds, (1000, rounds))
    ratios = np.median(a[picks], axis=1) / np.median(b[picks], axis=1)
    low, high = np.percentile(ratios, (2.5, 97.5))
    return "no difference shown" if low <= 1 <= high else "a difference shown"


def judged(measured: Sequence[tuple[str, float]]) -> LatencyVerdict:
    a, b = ([ms for name, ms in measured if name == wanted] for wanted in "AB")
    return compare_latencies(a, b)


def share(verdicts: Sequence[str], wanted: str) -> tuple[float, str]:
    """How many of the verdicts are as they should be, and that share's 95 % interval."""
    right = sum(verdict == wanted for verdict in verdicts)
    low, high = wilson_interval(right, len(verdicts))
    return right / len(verdicts), f"{right} of {len(verdicts)}, 95 % interval {low:.3f}–{high:.3f}"


def simulated(levels: dict[str, Noise], comparisons: int) -> list[Figure]:
    figures = []
    for name, noise in levels.items():
        for slowdown, wanted in ((1.0, "no difference shown"), (SLOWDOWN, "A is faster")):
            rng = np.random.default_rng(0)
            verdicts = [in_turns(rng, noise, slowdown).verdict for _ in range(comparisons)]
            value, note = share(verdicts, wanted)
            what = "A against A: no difference shown" if slowdown == 1 else "10 % slower: found"
            figures.append(Figure(f"{what}; {name}", value, at_least=AT_LEAST, note=note))
    noise = LEVELS["warming up, 40 % slower at the end"]
    rng = np.random.default_rng(0)
    verdicts = [one_after_the_other(rng, noise, 1.0).verdict for _ in range(comparisons)]
    value, note = share(verdicts, "no difference shown")
    what = "control, all of A before all of B, warming up: no difference shown"
    figures.append(Figure(what, value, at_most=0.5, note=f"{note}; has to fail"))
    for level, slowdown, rounds, wanted in (
        ("quiet", 1.0, 7, "no difference shown"),
        ("wandering", SLOWDOWN, ROUNDS, "a difference shown"),
    ):
        rng = np.random.default_rng(0)
        verdicts = [
            bootstrapped(rng, LEVELS[level], slowdown, rounds) for _ in range(comparisons // 5)
        ]
        value, note = share(verdicts, wanted)
        kind = "A against A" if slowdown == 1 else "10 % slower"
        what = f"not used: bootstrap over {rounds} rounds, {kind}: {wanted}; {level}"
        figures.append(Figure(what, value, note=note))
    return figures


def fitted(model: Path, processes: int) -> tuple[Noise, str]:
    """The noise of this machine, from as many processes one after the other.

    `process` and `walk` come from the differences of the medians' logarithms. For white
    noise of variance p² and steps of variance w², the variance of a difference is 2 p² + w², and
    the covariance of two differences that follow one another -p². What the calls of a process vary
    by is in its median, and so in p.
    """
    job = InferenceJob(model=str(model.resolve()), runtime="litert", threads=1, seconds=SECONDS)
    logs = np.log([measure(job).inference_ms.p50 for _ in range(processes)])
    steps = np.diff(logs)
    process2 = max(0.0, -float(np.mean(steps[1:] * steps[:-1])))
    walk2 = max(0.0, float(np.mean(steps**2)) - 2 * process2)
    noise = Noise(
        process=process2**0.5, jitter=0.0, walk=walk2**0.5, spike_share=0.0,
        drift=float(np.polyfit(np.linspace(0, 1, processes), logs, 1)[0]),
    )  # fmt: skip
    described = f"process {noise.process:.4f}, walk {noise.walk:.4f}, drift {noise.drift:.4f}"
    return noise, described


_SLOWED = f"""
import time
from edgeclf.runtimes.litert import LiteRTRuntime

class Runtime(LiteRTRuntime):
    def run(self, images):
        start = time.perf_counter()
        answer = super().run(images)
        end = start + {SLOWDOWN} * (time.perf_counter() - start)
        while time.perf_counter() < end:
            pass
        return answer
"""


def real(model: Path, comparisons: int) -> list[Figure]:
    figures = []
    with registered_runtime("slowed", _SLOWED), tempfile.TemporaryDirectory() as folder:
        for side, wanted, what in (
            (f"{model}@:1", "no difference shown", "real runs, A against A: no difference shown"),
            (f"{model}@slowed:1", "A is faster", "real runs, 10 % slower: found"),
        ):
            verdicts = []
            for _ in range(comparisons):
                found = compare_ab(f"{model}@:1", side, out=Path(folder, "ab.json"))
                print(found, flush=True)
                verdicts.append(found.verdict)
            value, note = share(verdicts, wanted)
            figures.append(Figure(what, value, note=f"{note}; too few for a limit"))
    return figures


def main() -> int:
    args = parse(
        __doc__,
        comparisons=(10_000, "simulated ones of each kind"),
        processes=(24, "that this machine's noise is fitted to"),
        real=(3, "real comparisons of each kind, half a minute each"),
    )
    model = args.artifacts / MODEL
    noise, described = fitted(model, args.processes)
    print(f"this machine: {described}")
    figures = simulated({**LEVELS, "this machine": noise}, args.comparisons)
    figures += real(model, args.real)
    method = (
        f"{args.comparisons} simulated comparisons of each kind, {ROUNDS} rounds each, seed 0; "
        f"this machine's noise from {args.processes} processes of {SECONDS} s: {described}; "
        f"{args.real} real comparisons of each kind, {MODEL} on one thread"
    )
    return finish(__file__, figures, method, args.write)


if __name__ == "__main__":
    raise SystemExit(main())
