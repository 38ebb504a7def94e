"""What `edgeclf zoo` makes without a network: how long it takes, and how its files answer.

Each network is made by the command, in a process of its own; the CPU time is that process's. What
int8 was neither calibrated nor judged on are this repository's rendered mugs: none of them is one
of ImageNet's photos, and there are no labels of ImageNet's for them, so the figure is how often a
file answers like the fp32 file of its format. Well-known sample photos show that preprocessing and
names are right. No figure here is an accuracy.

    pip install -e '.[zoo]'
    python benchmarks/zoo_quality.py --write
    python benchmarks/zoo_quality.py --networks 'lite0 lite1' --models runs/zoo

Targets: every file is made by its first recipe and verified; every sample photo is named right;
int8 answers like fp32 on at least 85 % of the mugs, whose answers lie close to ties; and its maps
of the class that fp32 answers are correlated with fp32's by at least 0.99 in 95 of 100 of them.
"""

from __future__ import annotations

import importlib.util
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
from shared import ROOT, Figure, finish, parse, photos

import edgeclf
from edgeclf import Artifact, Classifier
from edgeclf.explanation.cam import class_activation
from edgeclf.explanation.honesty import correlation

# Left out: the rocket, which Lite1 and 2 take for a space shuttle and a drilling platform, and the
# flower, which they take for a honeycomb; both in float.
SAMPLES = {
    ("skimage", "data/coffee.png"): {"espresso"},
    ("skimage", "data/chelsea.png"): {"tabby", "tiger cat", "Egyptian cat"},
    ("skimage", "data/camera.png"): {"tripod"},
    ("skimage", "data/motorcycle_left.png"): {"moped", "motor scooter"},
    ("sklearn", "datasets/images/china.jpg"): {"palace"},
}
SAME_ANSWERS = 0.85
SAME_MAPS = 0.99
MUGS = 120


def main() -> int:
    args = parse(
        __doc__,
        networks=("efficientnet-lite0 efficientnet-lite1 efficientnet-lite2", "which, by spaces"),
        models=(str(ROOT / "runs" / "zoo"), "where they go; what is there already is not timed"),
    )
    figures: list[Figure] = []
    for name in args.networks.split():
        figures += measure(name, Path(args.models))
    method = (
        f"made by the command in a process of its own; {MUGS} mugs of the evaluation, "
        f"{len(SAMPLES)} sample photos"
    )
    return finish(__file__, figures, method, args.write)


def measure(name: str, folder: Path) -> Iterator[Figure]:
    cpu_s, wall_s, was_there = make(name, folder)
    if not was_there:
        yield Figure(f"CPU time for four files, {name}", cpu_s, "s", note=f"{wall_s:.0f} s long")
    artifacts = sorted(edgeclf.zoo(name, out=folder), key=lambda each: each.metadata.precision)
    answers, maps = {}, {}
    for artifact in artifacts:
        said = artifact.metadata
        precision, ending = said.precision, f"{said.precision}.{artifact.format}"
        agreed = (said.accuracy or {})["top1_agreement"]
        yield Figure(f"size, {name}.{ending}", artifact.size_bytes / 1e6, "MB")
        yield Figure(f"same answer as Keras on the crops of the gate, {name}.{ending}", agreed)
        with Classifier(artifact) as classifier:
            found, features = classifier.features(photos(MUGS))
        # The class that the fp32 file of this format, which comes first, is surest of.
        exact = answers.setdefault(("fp32", artifact.format), found)
        answers[precision, artifact.format] = found
        head = artifact.features.head
        assert head is not None, "the graph holds it"
        maps[precision, artifact.format] = [
            class_activation(each, head[:, target])
            for each, target in zip(features, exact.argmax(axis=1), strict=True)
        ]
        right = named_right(artifact)
        yield Figure(f"sample photos named right, {name}.{ending}", right, at_least=len(SAMPLES))
    for (precision, format_), found in answers.items():
        if precision == "fp32":
            continue
        exact = answers["fp32", format_]
        largest = float(np.abs(found - exact).max())
        yield Figure(
            f"same answer as fp32 on mugs, {name}.{precision}.{format_}",
            float((found.argmax(axis=1) == exact.argmax(axis=1)).mean()),
            at_least=SAME_ANSWERS,
            note=f"largest change {largest:.3f}",
        )
        pairs = zip(maps["fp32", format_], maps[precision, format_], strict=True)
        related = [correlation(*pair) for pair in pairs]
        yield Figure(
            f"maps, correlation with those of fp32, 5 % quantile, {name}.{precision}.{format_}",
            float(np.quantile(related, 0.05)),
            at_least=SAME_MAPS,
            note=f"median {np.median(related):.4f}, least {min(related):.4f}",
        )


def make(name: str, folder: Path) -> tuple[float, float, bool]:
    """CPU and wall time of the command, and whether all was there before it."""
    start, before = perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "edgeclf", "zoo", name, "--out", str(folder)],
        stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(done.stderr, file=sys.stderr)
    if done.returncode:
        raise SystemExit(f"edgeclf zoo {name} failed")
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu_s, perf_counter() - start, "is there already" in done.stderr


def named_right(artifact: Artifact) -> int:
    right = 0
    with Classifier(artifact) as classifier:
        for (package, file), names in SAMPLES.items():
            spec = importlib.util.find_spec(package)
            assert spec is not None and spec.origin is not None
            right += classifier.classify(Path(spec.origin).parent / file).label in names
    return right


if __name__ == "__main__":
    sys.exit(main())
