"""What replicas do to latency: 1, 2, 4 and 8 of them behind HAProxy, beside the queueing formula.

Each replica is a real `edgeclf serve` in a network namespace of its own, with a runtime whose cost
is waiting: a fixed time, and no CPU. So one machine stands for nine. HAProxy holds the queue, with
one slot for each worker of a replica, which makes c replicas one queue with c servers: M/D/c, whose
distribution is known exactly (`edgeclf.service.fixed_queue`). The same is measured with the queues
in the replicas instead.

Eight replicas always run, as 8 / c systems of c replicas each, every one with a generator of its
own: so each row has as many requests, and as much work for this machine. The service time that goes
into the formula is measured beforehand, by requests that meet nobody. Needs root, iproute2 and
HAProxy.

    python benchmarks/scale_out.py --write
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from network_lab import LabError, NetworkLab
from scale_out_figures import draw, figures_of, summarize
from server_process import cpu_s
from shared import finish, parse, registered_runtime, results_path

from edgeclf import Classifier, ImageSpec, Metadata
from edgeclf.artifact import Artifact, save_artifact, seal_artifact
from edgeclf.measurement.workloads.open_loop import arrival_times
from edgeclf.runtimes.fake import FakeRuntime
from edgeclf.service.keys import add_key
from edgeclf.service.load.arrivals import ClosedLoop, OpenLoop
from edgeclf.service.load.generator import Generator
from edgeclf.service.load.server_side import machine_cpu_s
from edgeclf.service.load.target import make_target
from edgeclf.system.words import counted
from edgeclf.trust.certificate import make_certificate

REPLICAS = 8
PORT, FIRST_LANE = 8080, 9000
WARM_UP_S = 5.0  # of a run, while the queue fills; what comes in it does not count
UNLOADED = 100  # requests of each lane that meet nobody
START_S = 2.5  # until all generators have started
_RUNTIME = """
import time
from edgeclf.runtimes.fake import FakeRuntime

class Runtime(FakeRuntime):
    def run(self, images):
        until = time.monotonic() + {seconds}
        rows = super().run(images)
        time.sleep(max(0.0, until - time.monotonic()))
        return rows
"""
_HAPROXY = """
global
    nbthread 1
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout queue 60s
    http-reuse always
    option httpchk GET /v2/health/ready
    default-server check inter 2s fastinter 200ms rise 1 fall 2 {slots}
"""


@dataclasses.dataclass(frozen=True)
class Case:
    """One row: so many replicas for each queue, so busy, balanced so.

    Attributes:
        replicas: Of one system.
        busy: Share of the time in which a worker has something to do.
        seconds: That requests come, after the warm-up.
        balance: HAProxy's algorithm.
        central: Whether HAProxy holds the queue, or each replica its own.
    """

    replicas: int
    busy: float
    seconds: float
    balance: str = "leastconn"
    central: bool = True

    def __str__(self) -> str:
        queue = "one queue" if self.central else f"a queue each, {self.balance}"
        return f"{counted(self.replicas, 'replica')}, {self.busy:.0%} busy, {queue}"


def all_cases(scale: float) -> list[Case]:
    """The rows, in seconds by how much the wait of each spreads."""
    seconds = {1: 300, 2: 180, 4: 150, 8: 90}
    found = [Case(c, busy, scale * (seconds[c] if busy == 0.8 else 60))
             for busy in (0.5, 0.8) for c in seconds]  # fmt: skip
    found += [Case(c, 0.8 / c, scale * 60) for c in (2, 4, 8)]  # the load of one, for more
    found += [Case(4, 0.8, scale * 120, balance, False)
              for balance in ("random(1)", "roundrobin", "leastconn")]  # fmt: skip
    return found


def runtime_source(wait_ms: float) -> str:
    """The module of a runtime that takes so long for each call, and no CPU."""
    return _RUNTIME.format(seconds=wait_ms / 1e3)


def waiting_artifact(folder: Path) -> Path:
    """An artifact with a certificate, which the waiting runtime answers."""
    plain = Metadata("waiting", ("dark", "middle", "bright"), ImageSpec(32, 32), version="1")
    bare = Artifact("onnx", plain, b"")
    runtime = FakeRuntime(bare)
    images = np.stack([np.full((32, 32, 3), level, np.uint8) for level in (20, 128, 240)])
    rows = runtime.run(images)
    with Classifier(bare, runtime=runtime) as classifier:
        certificate = make_certificate(classifier, runtime.run, images, (rows, rows))
    sealed = seal_artifact(b"", dataclasses.replace(plain, certificate=certificate))
    path = save_artifact(sealed, folder / "waiting.onnx").path
    assert path is not None
    return path


class Rig:
    """The replicas, and what is put before them."""

    def __init__(self, lab: NetworkLab, folder: Path, stack: ExitStack, realtime: bool) -> None:
        self._lab, self._folder, self._stack = lab, folder, stack
        self._realtime = realtime
        keys = folder / "keys.txt"
        (folder / "key").write_text(add_key(keys, "load"))
        file = waiting_artifact(folder)
        self._balancer = lab.add("balancer")
        lab.add("load")
        words = [
            "serve",
            str(file),
            "--runtime",
            "waiting",
            "--workers",
            "1",
            "--port",
            str(PORT),
            "--keys",
            str(keys),
            "--queue",
            "512",
            "--deadline-s",
            "60",
            "--drain-s",
            "0",
        ]
        self._addresses = [lab.add(f"replica{n}") for n in range(REPLICAS)]
        self.replicas = [
            self._start(f"replica{n}", [sys.executable, "-m", "edgeclf", *words, "--host", host])
            for n, host in enumerate(self._addresses)
        ]

    def prefer(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        """Lets processes go before all others of the machine, if that was asked."""
        for pid in (each.pid for each in processes) if self._realtime else ():
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setscheduler(int(thread.name), os.SCHED_RR, os.sched_param(1))

    def _start(self, host: str, words: Sequence[str]) -> subprocess.Popen[bytes]:
        log = self._stack.enter_context((self._folder / f"{host}.log").open("ab"))
        process = subprocess.Popen(
            self._lab.command(host, words), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        self._stack.callback(end, process)
        return process

    def wait(self) -> None:
        """Until each replica says that it is ready."""
        until = time.monotonic() + 120
        for number in range(REPLICAS):
            log = self._folder / f"replica{number}.log"
            while "ready at" not in log.read_text():
                if time.monotonic() > until or self.replicas[number].poll() is not None:
                    raise SystemExit(f"replica {number} did not start: {log.read_text()[-300:]}")
                time.sleep(0.2)
        self.prefer(self.replicas)

    @contextmanager
    def balancer(self, case: Case) -> Iterator[subprocess.Popen[bytes]]:
        """HAProxy with a port for each lane, from when all replicas are ready."""
        slots = "maxconn 1" if case.central else "maxconn 1000"
        lines = [_HAPROXY.format(slots=slots)]
        for lane in range(REPLICAS // case.replicas):
            lines += [f"listen lane{lane}", f"    bind {self._balancer}:{FIRST_LANE + lane}",
                      f"    balance {case.balance}"]  # fmt: skip
            first = lane * case.replicas
            lines += [f"    server r{n} {self._addresses[n]}:{PORT}"
                      for n in range(first, first + case.replicas)]  # fmt: skip
        path = self._folder / "haproxy.cfg"
        path.write_text("\n".join(lines) + "\n")
        process = self._start("balancer", ["haproxy", "-f", str(path)])
        try:
            time.sleep(1.0)  # until it has asked every replica whether it is ready
            self.prefer([process])
            yield process
        finally:
            end(process)

    def generate(self, lanes: int, job: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What each lane's generator measured."""
        begin = time.time() + START_S
        processes = []
        for lane in range(lanes):
            mine = {
                **job,
                "realtime": self._realtime,
                "seed": job["seed"] * 100 + lane,
                "begin": begin,
                "url": f"http://{self._balancer}:{FIRST_LANE + lane}/classify",
                "images": str(self._folder / "photos"),
                "key": str(self._folder / "key"),
            }
            words = [sys.executable, __file__, "--child", json.dumps(mine)]
            processes.append(subprocess.Popen(
                self._lab.command("load", words), stdout=subprocess.PIPE, text=True
            ))  # fmt: skip
            self._stack.callback(end, processes[-1])
        documents = []
        for process in processes:
            text, _ = process.communicate()
            if process.returncode:
                raise SystemExit(f"a generator ended with {process.returncode}")
            documents.append(json.loads(text))
        return documents


def end(process: subprocess.Popen[Any]) -> None:
    """Ends a process, if it still runs."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            process.send_signal(sent)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                continue


def child(job: Mapping[str, Any]) -> dict[str, Any]:
    """One generator: open loop, or requests one after the other with nobody else there."""
    target = make_target(job["url"], job["images"], job["key"])
    generator = Generator(target, 512, 60.0)
    if "count" in job:
        arrivals: Any = ClosedLoop(1, job["count"] * job["service_ms"] / 1e3)
    else:
        arrivals = OpenLoop(arrival_times(job["rate"], job["seconds"], job["seed"]))
    if job["realtime"]:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    time.sleep(max(0.0, job["begin"] - time.time()))
    run = generator.run(arrivals)
    good = [each for each in run.outcomes if each.status == 200]
    return {
        "scheduled_s": [each.scheduled for each in good],
        "latency_ms": [(each.done - each.scheduled) * 1e3 for each in good],
        "inside_ms": [json.loads(each.timing)["total_ms"] for each in good],
        "late_ms": [(each.noticed - each.scheduled) * 1e3 for each in good],
        "failed": len(run.outcomes) - len(good),
        "cpu_s": run.cpu_s,
        "seconds": run.seconds,
    }


def measure(rig: Rig, case: Case, service_ms: float | None, wait_ms: float, seed: int
            ) -> dict[str, Any]:  # fmt: skip
    """One row as it was measured; without a service time, of requests that meet nobody."""
    lanes = REPLICAS // case.replicas
    job: dict[str, Any] = {"seed": seed}
    if service_ms is None:
        job |= {"count": UNLOADED, "service_ms": wait_ms}
    else:
        rate = case.busy * case.replicas * 1e3 / service_ms
        job |= {"rate": rate, "seconds": WARM_UP_S + case.seconds}
    with rig.balancer(case) as balancer:
        start, stolen = time.perf_counter(), stolen_s()
        before = [cpu_s(each.pid) for each in rig.replicas], cpu_s(balancer.pid), machine_cpu_s()
        lanes_found = rig.generate(lanes, job)
        after = [cpu_s(each.pid) for each in rig.replicas], cpu_s(balancer.pid), machine_cpu_s()
    requests = sum(len(each["latency_ms"]) for each in lanes_found)
    replicas_s = sum(after[0]) - sum(before[0])
    machine_s = (after[2] or 0.0) - (before[2] or 0.0)
    generators_s = sum(each["cpu_s"] for each in lanes_found)
    seconds = time.perf_counter() - start
    return {
        "case": dataclasses.asdict(case), "name": str(case), "rate_per_s": job.get("rate"),
        "lanes": lanes_found, "seconds": seconds,
        "cpu_ms": {
            "replica": replicas_s * 1e3 / requests,
            "balancer": (after[1] - before[1]) * 1e3 / requests,
            "generator": generators_s * 1e3 / requests,
        },
        "stolen_s": stolen_s() - stolen,
        "own_cpus": (replicas_s + after[1] - before[1] + generators_s) / seconds,
        "machine_cpus": machine_s / seconds,
    }  # fmt: skip


def stolen_s() -> float:
    """CPU time that this machine's host has kept from it."""
    return int(Path("/proc/stat").read_text().split()[8]) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    if "--child" in sys.argv:
        print(json.dumps(child(json.loads(sys.argv[-1]))))
        return 0
    args = parse(__doc__, wait_ms=(50.0, "that the runtime waits"),
                 scale=(1.0, "of the seconds that each row takes"),
                 realtime=(False, "let what is measured go before all else here"))  # fmt: skip
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the lab is removed
    if shutil.which("haproxy") is None:
        print("scale_out: there is no HAProxy: apt-get install haproxy", file=sys.stderr)
        return 2
    load = os.getloadavg()[0]
    first = ", before all else on the machine (real-time priority)" * args.realtime
    source = runtime_source(args.wait_ms)
    try:
        with (
            tempfile.TemporaryDirectory() as name, registered_runtime("waiting", source),
            NetworkLab() as lab, ExitStack() as stack,
        ):  # fmt: skip
            folder = Path(name)
            write_photos(folder / "photos")
            rig = Rig(lab, folder, stack, args.realtime)
            rig.wait()
            rows, profile = measure_all(rig, all_cases(args.scale), args.wait_ms)
    except LabError as exc:
        print(f"scale_out: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("scale_out: interrupted; the namespaces are removed", file=sys.stderr)
        return 130
    if args.write:
        draw(rows, results_path(args.write, __file__, "svg"))
    method = (
        f"HAProxy and {REPLICAS} replicas of one worker, each in a network namespace{first}; "
        f"a runtime that waits {args.wait_ms:g} ms; Poisson arrivals, {WARM_UP_S:g} s of warm-up; "
        f"service time {profile['service_ms']:.2f} ms, the median of {profile['n']:,} requests "
        f"that met nobody; 95 % intervals by a bootstrap over blocks of time; load of the "
        f"machine before {load:.1f}"
    )
    return finish(__file__, figures_of(rows, profile), method, args.write, rows=rows,
                  profile=profile)  # fmt: skip


def measure_all(
    rig: Rig, cases: Sequence[Case], wait_ms: float
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All rows, with the service time that they are compared by."""
    alone = measure(rig, Case(1, 0.0, 0.0), None, wait_ms, 0)
    times = np.concatenate([each["latency_ms"] for each in alone["lanes"]])
    inside = np.concatenate([each["inside_ms"] for each in alone["lanes"]])
    profile = {
        "n": len(times), "wait_ms": wait_ms, "service_ms": float(np.median(times)),
        "mean_ms": float(times.mean()), "p99_ms": float(np.quantile(times, 0.99)),
        "cv": float(times.std() / times.mean()), "inside_ms": float(inside.mean()),
        "cpu_ms": alone["cpu_ms"],
    }  # fmt: skip
    print(f"alone: {profile}", file=sys.stderr)
    rows = []
    for seed, case in enumerate(cases, 1):
        row = summarize(measure(rig, case, profile["service_ms"], wait_ms, seed), profile)
        print(f"{case}: {row['n']:,}, p50 {row['p50_ms']:.1f} of {row['formula_p50_ms']:.1f}, "
              f"p99 {row['p99_ms']:.1f} of {row['formula_p99_ms']:.1f} ms, machine "
              f"{row['machine_cpus']:.2f} CPUs", file=sys.stderr)  # fmt: skip
        rows.append(row)
    return rows, profile


def write_photos(folder: Path) -> None:
    """A few small pictures, whose bytes cost next to nothing."""
    from PIL import Image

    folder.mkdir()
    for level in (20, 128, 240):
        Image.new("L", (64, 48), level).convert("RGB").save(folder / f"{level}.jpg")


if __name__ == "__main__":
    raise SystemExit(main())
