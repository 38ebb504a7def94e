"""Whether the latency that `edgeclf serve --plan` expects is the one that `edgeclf load` measures.

A service with one worker is profiled as the plan does it. From that p50 and p99 are predicted at
three rates, and then measured there. Service and generator are on one machine: give it two CPUs at
least, and nothing else to do; the notes say how many CPUs all of its processes kept busy.

python benchmarks/serving_plan.py --seconds 30
"""

from __future__ import annotations

from statistics import fmean

from shared import PHOTOS, Figure, finish, parse

from edgeclf.service.load.config import LoadConfig
from edgeclf.service.load.local_server import local_server
from edgeclf.service.load.run import run_load
from edgeclf.service.load.target import make_target
from edgeclf.service.profiles import measure_profile
from edgeclf.service.queueing import latency_quantile_ms

MODEL = "mugs.int8.tflite"
BUSY = (0.3, 0.5, 0.7)  # of the worker; the last is the most that a plan allows
WORDS = ["--workers", "1", "--threads", "1"]


def main() -> int:
    args = parse(__doc__, seconds=(30.0, "of each rate"))
    file = str(args.artifacts / MODEL)
    profile = measure_profile(file, PHOTOS, WORDS)
    mean = fmean(profile.service_ms)
    figures, steps = [], []
    with local_server([file, *WORDS]) as url:
        target = make_target(f"{url}/classify", PHOTOS)
        for busy in BUSY:
            rate = round(busy * 1e3 / mean, 1)
            config = LoadConfig(rate=rate, seconds=args.seconds)
            (step,) = run_load(target, config)["steps"]
            steps.append({key: step[key] for key in step if key not in ("cdf_ms", "series")})
            figures += compare(profile.service_ms, profile.beside_ms, busy, step)
    method = (
        f"{MODEL}, one worker with one thread, photos of the mugs; {profile.measured:,} pictures "
        f"gave {mean:.3f} ms of a worker and {profile.beside_ms:.3f} ms "
        f"besides, {profile.cpu_ms:.3f} ms of CPU; then Poisson arrivals for {args.seconds:g} s a "
        f"rate, on the machine that also sent them"
    )
    return finish(__file__, figures, method, args.write, steps=steps)


def compare(
    service_ms: tuple[float, ...], beside_ms: float, busy: float, step: dict[str, object]
) -> list[Figure]:
    """The measured percentile over the predicted one; without a p99 that n carries, none of it."""
    rate, latency = step["rate_per_s"], step["latency_ms"]
    server, generator = step["server"], step["generator"]
    found = []
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        expected = latency_quantile_ms(service_ms, rate, 1, share=share, beside_ms=beside_ms)
        measured = latency[name]
        if measured is None:
            continue
        found.append(Figure(
            f"{name} at {busy:.0%} ({rate:g} a second): measured over predicted",
            measured / expected,
            at_most=1.5 if name == "p99" else None,
            note=f"{measured:.2f} ms measured (n {latency['n']:,}), {expected:.2f} ms predicted; "
            f"{step['accepted']:,} of {step['offered']:,} answered, server "
            f"{server['cpus_used']:.2f} CPUs, generator {generator['cpu_share']:.2f} and "
            f"{generator['mean_late_ms']:.2f} ms late, all processes "
            f"{step['machine_cpus_busy']:.2f}",
        ))  # fmt: skip
    return found


if __name__ == "__main__":
    raise SystemExit(main())
