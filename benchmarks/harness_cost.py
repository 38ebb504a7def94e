"""What the harness adds to what it measures: time against a loop by hand, memory against smaps.

Latency: LiteRT's bare interpreter, as a runtime that adds nothing, in the harness, against a
hand-written loop around the same three calls; in turns, in fresh processes, on one thread, as then
whatever else the machine does hardly touches the median, and what the harness adds is the same with
more. Beside it stands the runtime ``litert`` itself, whose checks and locks are no part of the
harness but of what edgeclf costs; benchmarks/call_overhead.py has the limit for that.

Memory: the harness's last figures against ``smaps_rollup`` and ``status`` of the same process, read
from outside while it waits; and against a program that does the same work without the harness.

    python benchmarks/harness_cost.py
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from shared import Figure, finish, parse, photos, registered_runtime

from edgeclf.measurement.harness.interleave import orders
from edgeclf.measurement.harness.process import measure
from edgeclf.measurement.jobs.inference import InferenceJob
from edgeclf.metrics.statistics import paired_ratio

MODELS = ("mugs.int8.tflite", "mugs-teacher.int8.tflite")
ALLOWED_PERCENT = 2.0
ALLOWED_MB = 1.0
_WARMUP_CALLS, _STEADY_CALLS = 10, 50  # those of the harness


def loop_by_hand(job: dict[str, Any]) -> None:
    """As LiteRT's documentation shows it, with a clock around it."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=job["model"], num_threads=job["threads"])
    interpreter.allocate_tensors()
    given, answer = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    image = np.random.default_rng(0).integers(0, 256, given["shape"], np.uint8)
    for _ in range(_WARMUP_CALLS):
        interpreter.set_tensor(given["index"], image)
        interpreter.invoke()
    times_ms = []
    end = time.perf_counter() + job["seconds"]
    while (start := time.perf_counter()) < end:
        interpreter.set_tensor(given["index"], image)
        interpreter.invoke()
        interpreter.get_tensor(answer["index"])
        times_ms.append((time.perf_counter() - start) * 1e3)
    print(json.dumps({"p50": statistics.median(times_ms)}), flush=True)


def memory_by_harness(job: dict[str, Any]) -> None:
    from edgeclf.measurement.jobs.base import from_json
    from edgeclf.measurement.jobs.memory import MemoryJob

    found = from_json(MemoryJob, job).run(time.monotonic())
    print(json.dumps({**found.phases["steady"], "peak": found.peak_rss_bytes}), flush=True)
    sys.stdin.readline()


def memory_by_hand(job: dict[str, Any]) -> None:
    from edgeclf import Classifier

    classifier = Classifier(job["model"], runtime=job["runtime"], threads=job["threads"])
    content = Path(job["images"][0]).read_bytes()
    for _ in range(1 + _STEADY_CALLS):
        classifier.classify(content)
    print(json.dumps({}), flush=True)
    sys.stdin.readline()


_CHILDREN = {f.__name__: f for f in (loop_by_hand, memory_by_harness, memory_by_hand)}


def child(name: str, job: dict[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """What a child prints, and the kernel's figures in kB for it, read once it has printed."""
    command = [sys.executable, __file__, "--child", name, json.dumps(job)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        printed = json.loads(process.stdout.readline())
        kilobytes = {}
        if name != "loop_by_hand":
            for file in ("smaps_rollup", "status"):
                for line in Path(f"/proc/{process.pid}/{file}").read_text().splitlines():
                    if line.endswith(" kB"):
                        kilobytes[line.split(":")[0]] = int(line.split()[-2])
        process.communicate("\n")
    return printed, kilobytes


_BARE = """
from ai_edge_litert.interpreter import Interpreter
from edgeclf.runtimes import RuntimeInfo

class Runtime:
    def __init__(self, artifact, *, device="cpu", threads=None):
        self.interpreter = Interpreter(model_content=artifact.content, num_threads=threads)
        self.interpreter.allocate_tensors()
        self.given = self.interpreter.get_input_details()[0]["index"]
        self.answer = self.interpreter.get_output_details()[0]["index"]

    def run(self, images):
        self.interpreter.set_tensor(self.given, images)
        self.interpreter.invoke()
        return self.interpreter.get_tensor(self.answer)

    def describe(self):
        return RuntimeInfo("bare", "ai-edge-litert", "", "cpu", "XNNPACK", 1)

    def close(self):
        pass
"""


def latency(model: Path, rounds: int, seconds: float) -> list[Figure]:
    by_hand_job = {"model": str(model.resolve()), "threads": 1, "seconds": seconds}

    def in_harness(runtime: str) -> float:
        return measure(InferenceJob(**by_hand_job, runtime=runtime)).inference_ms.p50  # type: ignore[arg-type]

    p50_ms = {
        "loop by hand": lambda: child("loop_by_hand", by_hand_job)[0]["p50"],
        "bare engine": lambda: in_harness("bare"),
        "runtime litert": lambda: in_harness("litert"),
    }
    found: dict[str, list[float]] = {who: [] for who in p50_ms}
    with registered_runtime("bare", _BARE):
        for number, order in enumerate(orders(tuple(p50_ms), rounds + 1)):
            for who in order:
                ms = p50_ms[who]()
                if number > 0:
                    found[who].append(ms)
    by_hand, *others = found
    figures = []
    for who in others:
        ratio, low, high = paired_ratio(found[who], found[by_hand])
        times = " against ".join(f"{statistics.median(found[w]):.4f}" for w in (who, by_hand))
        figures.append(Figure(
            f"latency of the {who} in the harness off the {by_hand}, {model.name}",
            100 * abs(ratio - 1), "%", at_most=ALLOWED_PERCENT if who == "bare engine" else None,
            note=f"{times} ms; ratio {ratio:.3f}, 95 % interval {low:.3f} to {high:.3f}",
        ))  # fmt: skip
    return figures


def memory(model: Path, rounds: int) -> list[Figure]:
    job = {
        "model": str(model.resolve()), "runtime": "litert", "device": "cpu",
        "threads": 1, "images": [str(photos(1)[0])], "batch": 1,
    }  # fmt: skip
    off: dict[str, list[float]] = {"PSS": [], "USS": [], "RSS": [], "VmHWM": []}
    uss: dict[str, list[float]] = {"memory_by_harness": [], "memory_by_hand": []}
    for order in orders(tuple(uss), rounds):
        for who in order:
            printed, kilobytes = child(who, job)
            private = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
            if who == "memory_by_hand":
                uss[who].append(private * 1024 / 1e6)
                continue
            uss[who].append(printed["uss_bytes"] / 1e6)
            for name, reported, kb in (
                ("PSS", printed["pss_bytes"], kilobytes["Pss"]),
                ("USS", printed["uss_bytes"], private),
                ("RSS", printed["rss_bytes"], kilobytes["Rss"]),
                ("VmHWM", printed["peak"], kilobytes["VmHWM"]),
            ):
                off[name].append(abs(reported - kb * 1024) / 1e6)
    figures = [
        Figure(f"{name} that the harness reports off what the kernel says, worst of {rounds}",
               max(values), "MB", at_most=ALLOWED_MB)
        for name, values in off.items()
    ]  # fmt: skip
    ours, by_hand = (statistics.median(values) for values in uss.values())
    figures.append(
        Figure("USS in the harness above a program that does the same without it", ours - by_hand,
               "MB", at_most=ALLOWED_MB, note=f"{ours:.1f} against {by_hand:.1f} MB"),
    )  # fmt: skip
    return figures


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        _CHILDREN[sys.argv[2]](json.loads(sys.argv[3]))
        return 0
    args = parse(__doc__, rounds=(12, "processes of each"), seconds=(1.0, "in each, for latency"))
    figures = []
    for name in MODELS:
        figures += latency(args.artifacts / name, args.rounds, args.seconds)
    figures += memory(args.artifacts / MODELS[0], 5)
    method = (
        f"latency: {args.rounds} rounds in turns after one that is dropped, fresh processes of "
        f"{args.seconds} s, 1 thread, medians; memory: 5 processes of each"
    )
    return finish(__file__, figures, method, args.write)


if __name__ == "__main__":
    raise SystemExit(main())
