"""`classify_batch` against a plain loop of `classify`, on 500 JPEGs of many sizes.

Half are the mugs as they are (384 x 384), a third 1024 x 768, a sixth 2048 x 1536, shuffled. Whole
passes in turns, everything else equal. What the machine itself has to give is measured in the same
turns: as many processes as CPUs, each with its share of the photos in a plain loop on one thread.
CPUs that share a core or a host give less than their number.

    python benchmarks/batch_throughput.py
"""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import numpy as np
from shared import Figure, enlarged, finish, parse, photos

from edgeclf import Classifier
from edgeclf.inference.prediction import Prediction
from edgeclf.system.cpu import available_cpus

MODEL = "mugs.int8.tflite"
COUNT = 500
AT_LEAST = 1.7

_classifier: Classifier  # of a child process


def prepare(model: Path) -> None:
    global _classifier
    _classifier = Classifier(model, threads=1)


def classify_share(contents: list[bytes]) -> int:
    return sum(len(_classifier.classify(content).label) for content in contents)


def pictures() -> list[bytes]:
    paths = photos()
    sizes = [None, None, None, (1024, 768), (1024, 768), (2048, 1536)]
    contents = []
    made: dict[tuple[int, int], bytes] = {}
    for index in range(COUNT):
        path, size = paths[index % len(paths)], sizes[index % len(sizes)]
        key = (index % len(paths), index % len(sizes))
        if key not in made:
            made[key] = path.read_bytes() if size is None else enlarged(path, *size)
        contents.append(made[key])
    np.random.default_rng(0).shuffle(contents)  # type: ignore[arg-type]
    return contents


def main() -> int:
    args = parse(__doc__, rounds=(6, "passes of each"))
    contents = pictures()
    with Classifier(args.artifacts / MODEL) as classifier:

        def loop() -> list[str]:
            return [classifier.classify(content).label for content in contents]

        def batch() -> list[str]:
            answers = classifier.classify_batch(contents)
            return [a.label for a in answers if isinstance(a, Prediction)]

        if loop() != batch():
            raise SystemExit("the batch answers differently")
        cpus = available_cpus()
        shares = [contents[n::cpus] for n in range(cpus)]
        context = multiprocessing.get_context("spawn")
        pool = context.Pool(cpus, initializer=prepare, initargs=(args.artifacts / MODEL,))

        def processes() -> None:
            pool.map(classify_share, shares, chunksize=1)

        calls = {"loop": loop, "batch": batch, "processes": processes}
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        order = list(calls)
        processes()
        for _ in range(args.rounds):
            for name in order:
                start = time.perf_counter()
                calls[name]()
                seconds[name].append(time.perf_counter() - start)
            order.reverse()
        pool.close()
        pool.join()
    loop_s, batch_s, processes_s = (float(np.median(seconds[name])) for name in calls)
    mb = sum(map(len, contents)) / 1e6
    figures = [
        Figure(f"classify_batch / plain loop, images a second, {available_cpus()} CPUs",
               loop_s / batch_s, at_least=AT_LEAST,
               note=f"{COUNT / batch_s:.0f} against {COUNT / loop_s:.0f} images/s"),
        Figure(f"{cpus} processes with a loop each / plain loop: what the CPUs can give",
               loop_s / processes_s),
    ]  # fmt: skip
    method = f"{args.rounds} passes of each in turns over {COUNT} JPEGs ({mb:.0f} MB), {MODEL}"
    return finish(__file__, figures, method, args.write)


if __name__ == "__main__":
    raise SystemExit(main())
