"""What ONNX Runtime's threads cost while they wait, and what its arena keeps of a large batch.

Each way in a fresh process, in turns: calls back to back, calls at a pace of 20 a second, and calls
back to back beside a process that is busy on every CPU. CPU time is that of the whole process, also
between calls. Of these, edgeclf's runtime `onnxruntime` is sleeping, with an arena that is given
back by the first call that is much smaller; `onnxruntime-spinning` spins within a call.

    python benchmarks/idle_threads.py
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from device_memory import pss_mb
from shared import Figure, finish, parse

from edgeclf.artifact import load_artifact
from edgeclf.measurement.workloads.open_loop import measure_open_loop
from edgeclf.runtimes import load_runtime
from edgeclf.runtimes.onnxruntime import open_session, session_options
from edgeclf.system.cpu import available_cpus

PACE = 20.0
BATCH = 64
# spins, stops with the call, has an arena, gives back what it has of it
WAYS: dict[str, tuple[bool, bool, bool, bool]] = {
    "spinning, arena (ONNX Runtime's own)": (True, False, True, False),
    "spinning within a call, arena": (True, True, True, False),
    "sleeping, arena": (False, False, True, False),
    "sleeping, arena given back by every call": (False, False, True, True),
    "sleeping, no arena": (False, False, False, False),
}
RUNTIMES = {"edgeclf's onnxruntime": "onnxruntime", "edgeclf's litert": "litert"}


def opened(way: str, model: str, threads: int) -> Callable[[Any], object]:
    if way in RUNTIMES:
        return load_runtime(RUNTIMES[way], load_artifact(model), threads=threads).run
    import onnxruntime

    spins, stops, arena, gives_back = WAYS[way]
    options = session_options(threads, spins=spins)
    options.enable_cpu_mem_arena = arena
    if not stops:
        options.add_session_config_entry("session.force_spinning_stop", "0")
    session = open_session(load_artifact(model).content, options)
    run_options = onnxruntime.RunOptions()
    if gives_back:
        run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images}, run_options)


def child(job: dict[str, Any]) -> dict[str, float]:
    """The figures of one way, in this process."""
    spec = load_artifact(job["model"]).metadata.image
    shape = (BATCH, spec.height, spec.width, 3)
    batch = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    run = opened(job["way"], job["model"], job["threads"])

    def call() -> object:
        return run(batch[:1])

    found = {"back to back": back_to_back_ms(call, job["seconds"])}
    paced = measure_open_loop(call, PACE, duration_s=3 * job["seconds"])
    found |= {"paced": paced.service_ms.p50, "CPU": paced.cpu_ms}
    command = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(command) for _ in range(available_cpus())]
    time.sleep(0.2)  # until they run
    found["beside others"] = back_to_back_ms(call, job["seconds"])
    for process in busy:
        process.kill()
        process.wait()
    before = pss_mb()
    run(batch)
    found["batch"] = back_to_back_ms(lambda: run(batch), job["seconds"]) / BATCH
    call()
    return {**found, "kept": pss_mb() - before}


def back_to_back_ms(call: Callable[[], object], seconds: float) -> float:
    """The mean of a call: what others take in between counts."""
    start = now = time.perf_counter()
    count = 0
    while now < start + seconds:
        call()
        count += 1
        now = time.perf_counter()
    return (now - start) * 1e3 / count


def main() -> int:
    if "--child" in sys.argv:
        print(json.dumps(child(json.loads(sys.argv[-1]))))
        return 0
    args = parse(__doc__, rounds=(5, "processes of each way"), model=("mugs", "name of the model"),
                 seconds=(1.0, "of calls back to back"))  # fmt: skip
    threads = available_cpus()
    found: dict[str, list[dict[str, float]]] = {way: [] for way in (*WAYS, *RUNTIMES)}
    for turn in range(args.rounds):
        for way in found if turn % 2 else reversed(found):
            suffix = "tflite" if RUNTIMES.get(way) == "litert" else "onnx"
            model = str(args.artifacts / f"{args.model}.int8.{suffix}")
            job = {"way": way, "model": model, "threads": threads, "seconds": args.seconds}
            command = [sys.executable, __file__, "--child", json.dumps(job)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[way].append(json.loads(done.stdout.splitlines()[-1]))
    names = {
        "back to back": ("ms", "a call, back to back"),
        "paced": ("ms", f"a call, {PACE:g} a second"),
        "CPU": ("ms", f"CPU time of a picture, {PACE:g} a second"),
        "beside others": ("ms", "a call, back to back beside a busy process for each CPU"),
        "batch": ("ms", f"a picture in a batch of {BATCH}"),
        "kept": ("MB", f"kept after a batch of {BATCH}"),
    }
    figures = [
        Figure(f"{way}: {what}", statistics.median(each[key] for each in found[way]), unit)
        for key, (unit, what) in names.items()
        for way in found
    ]
    method = f"{args.model}.int8, {args.rounds} fresh processes a way, in turns, {threads} threads"
    return finish(__file__, figures, method, args.write)


if __name__ == "__main__":
    raise SystemExit(main())
