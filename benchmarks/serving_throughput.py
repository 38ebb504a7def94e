"""How much of a CPU's pictures a service answers, and how evenly it does below its limit.

Photos of 640x480 go to `edgeclf serve` over 8 connections, and to `Classifier.classify_batch` in a
process of its own, in turns. Then they come at a fixed rate, 70 % of what the service managed,
whatever it answers, and latency counts from when each was due. Service and batch have one CPU, the
client has another: where both share two, one measures who gets which.

    python benchmarks/serving_throughput.py
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

from http_client import Client, Reply, post
from server_process import ServerProcess, free_port
from serving_overhead import cpus, on_cpus
from shared import ROOT, Figure, enlarged, finish, parse, photos

from edgeclf.metrics.statistics import paired_ratio

CONNECTIONS, MOST_CONNECTIONS = 8, 64
PHOTOS = 8
SHARE = 0.7
WARMUP = 32


def pictures() -> list[bytes]:
    return [enlarged(path, 640, 480) for path in photos(PHOTOS)]


def batch_rate(model: str, seconds: float) -> tuple[float, float]:
    """Pictures a second of `classify_batch` in this process, and a second of its CPU time."""
    from edgeclf import Classifier

    contents = pictures()
    with Classifier(model) as classifier:
        list(classifier.classify_batch(contents * (WARMUP // PHOTOS)))
        answered, start, cpu = 0, time.perf_counter(), time.process_time()
        while (spent := time.perf_counter() - start) < seconds:
            answered += sum(1 for _ in classifier.classify_batch(islice(cycle(contents), 128)))
    return answered / spent, answered / (time.process_time() - cpu)


def child_rate(model: Path, seconds: float, own: set[int]) -> tuple[float, float]:
    job = json.dumps({"model": str(model), "seconds": seconds})
    command = ["taskset", "-c", ",".join(map(str, own)), sys.executable, __file__, "--child", job]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rate, of_cpu = map(float, done.stdout.splitlines()[-1].split())
    return rate, of_cpu


def serve(model: Path, own: set[int], *words: str) -> ServerProcess:
    """`edgeclf serve` of this tree."""
    port = free_port()
    command = [sys.executable, "-m", "edgeclf", "serve", str(model), "--port", str(port), *words]
    return ServerProcess(command, port, cpus=own, folder=ROOT)


def answered(replies: Sequence[Reply]) -> list[Reply]:
    """All of them; ends the script where one is no answer."""
    if wrong := [reply for reply in replies if reply.status != 200]:
        raise SystemExit(f"answered {wrong[0].status}: {wrong[0].body[:300]!r}")
    return list(replies)


def main() -> int:
    if "--child" in sys.argv:
        job = json.loads(sys.argv[-1])
        print(*batch_rate(job["model"], job["seconds"]))
        return 0
    args = parse(
        __doc__,
        rounds=(8, "turns of service and batch"),
        seconds=(3.0, "of a turn"),
        open_seconds=(30.0, "at a fixed rate"),
    )
    own, client_cpus = cpus()
    model = args.artifacts.resolve() / "mugs.int8.tflite"
    requests = [post("/classify", content) for content in pictures()]
    load = os.getloadavg()[0]
    server = serve(model, own)
    with server, on_cpus(client_cpus):
        client = Client(server.address, CONNECTIONS)
        answered(client.closed_loop(requests, count=WARMUP))
        rates: dict[str, list[float]] = {"service": [], "batch": []}
        of_cpu: dict[str, list[float]] = {"service": [], "batch": []}
        for turn in range(args.rounds):
            for name in rates if turn % 2 else reversed(rates):
                if name == "batch":
                    found = child_rate(model, args.seconds, own)
                    rates[name].append(found[0])
                    of_cpu[name].append(found[1])
                    continue
                start, cpu = time.perf_counter(), server.cpu_s()
                replies = answered(client.closed_loop(requests, seconds=args.seconds))
                rates[name].append(len(replies) / (time.perf_counter() - start))
                of_cpu[name].append(len(replies) / (server.cpu_s() - cpu))
        client.close()
        paced = Client(server.address, MOST_CONNECTIONS)
        rate = SHARE * statistics.median(rates["service"])
        replies = answered(paced.open_loop(requests, rate, args.open_seconds))
        paced.close()
    value, low, high = paired_ratio(rates["service"], rates["batch"])
    cuts = statistics.quantiles([r.latency_ms for r in replies], n=100, method="inclusive")
    service, batch = (statistics.median(rates[name]) for name in ("service", "batch"))
    figures = [
        Figure("640x480 JPEGs over 8 connections: service / classify_batch on one CPU", value,
               at_least=0.85, note=f"{service:.0f} / {batch:.0f} pictures/s, 95 % interval "
               f"{low:.3f} to {high:.3f}"),
        Figure("the same by CPU time, which others on the machine do not take",
               paired_ratio(of_cpu["service"], of_cpu["batch"])[0],
               note=f"{statistics.median(of_cpu['service']):.0f} / "
               f"{statistics.median(of_cpu['batch']):.0f} pictures/CPU s"),
        Figure("p99 / p50 at 70 % of that, at a fixed rate", cuts[98] / cuts[49], at_most=3,
               note=f"{cuts[98]:.1f} / {cuts[49]:.1f} ms, {len(replies)} at {rate:.0f}/s"),
    ]  # fmt: skip
    size = statistics.mean(len(content) for content in pictures()) / 1e3
    method = (
        f"{args.rounds} turns of {args.seconds:g} s, {PHOTOS} photos of {size:.0f} kB in turns; "
        f"service and batch on one CPU, the client on another; load of the machine before "
        f"{load:.1f}"
    )
    return finish(__file__, figures, method, args.write, rates=rates, of_cpu=of_cpu)


if __name__ == "__main__":
    raise SystemExit(main())
