"""Size, time and answers of every precision of a model, on one picture, in one interleaved run.

The model is EfficientNet-Lite0 with its ImageNet weights at 96 pixels, converted by the mugs'
photos into a folder `precisions` beside the demo's files, where it stays.

All files answer in turns in one process, so that drift falls on all alike; a ratio is that of the
medians, to the fp32 file of the same format. Answers are compared with that file's too, on the
mugs' evaluation photos. The table in docs/conversion.md is made of this by tools/update_readme.py.

    python benchmarks/precisions.py --write
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import conversion_quality
import numpy as np
from shared import finish, interleaved_ms, medians, parse, photos

import edgeclf
from edgeclf import Classifier, SourceSpec, load_image
from edgeclf.artifact import load_artifact
from edgeclf.converters.advice import xnnpack_parts
from edgeclf.metrics.accuracy import agreement_record
from edgeclf.runtimes import runtimes_for

BURST = 5
MODEL, SIDE = "lite0", 96
PRECISIONS = {
    "tflite": ("fp32", "fp16", "dynamic", "int8", "int8-full"), "onnx": ("fp32", "fp16", "int8"),
}  # fmt: skip
USED = {"train": 5, "eval": 3}  # one of so many of the mugs


def make(folder: Path) -> None:
    """Converts the model to every precision; nothing is refused, as the figures are to show it."""
    for split, step in USED.items():
        (folder / split).mkdir(parents=True, exist_ok=True)
        for index, path in enumerate(sorted((conversion_quality.MUGS / split).rglob("*.jpg"))):
            if index % step == 0:
                shutil.copy(path, folder / split / f"{index:03d}.jpg")
    conversion_quality.SIDE = SIDE
    conversion_quality.write_model(folder / f"{MODEL}.keras")
    (folder / "labels.txt").write_text("".join(f"class {i}\n" for i in range(1000)))
    edgeclf.convert(
        folder / f"{MODEL}.keras",
        evaluation=folder / "eval",
        calibration=folder / "train",
        to=[f"{p}.{format_}" for format_, names in PRECISIONS.items() for p in names],
        tolerance=1.0,
        source=SourceSpec(labels=folder / "labels.txt", input_range=(-127 / 128, 1.0)),
    )


def main() -> int:
    args = parse(__doc__, threads=(1, "threads of a call"),
                 rounds=(100, f"turns of {BURST} calls"))  # fmt: skip
    folder = args.artifacts / "precisions"
    if not (folder / f"{MODEL}.conversion.json").exists():
        make(folder)
    found = sorted(folder.glob(f"{MODEL}.*.*"))
    artifacts = [load_artifact(path) for path in found if path.suffix in (".tflite", ".onnx")]
    classifiers = {
        f"{a.metadata.precision}.{a.format}": Classifier(a, threads=args.threads)
        for a in artifacts
        if runtimes_for(a.format)
    }
    spec = artifacts[0].metadata.image
    images = np.stack([load_image(path, spec) for path in photos()])
    one = images[:1]
    calls = {name: lambda c=c: c.probabilities(one) for name, c in classifiers.items()}
    ms = medians(interleaved_ms(calls, args.rounds, burst=BURST, warmup=30))
    answers = {name: c.probabilities(images) for name, c in classifiers.items()}
    rows: list[dict[str, Any]] = []
    for name, classifier in classifiers.items():
        precision, _, format_ = name.partition(".")
        base = f"fp32.{format_}"
        content = classifier.artifact.content
        rows.append(
            {
                "file": name,
                "precision": precision,
                "format": format_,
                "size_bytes": classifier.artifact.size_bytes,
                "p50_ms": ms[name],
                "ratio": ms[name] / ms[base],
                "parts": xnnpack_parts(content) if format_ == "tflite" else None,
                **agreement_record(answers[base], answers[name]),
            }
        )
    for row in rows:
        print(f"{row['file']:<18} {row['size_bytes']:>10,} B {row['p50_ms']:8.3f} ms "
              f"{row['ratio']:6.2f} of fp32, {row['top1_agreement']:6.1%} alike, "
              f"largest change {row['max_change']:.4f}, parts {row['parts']}")  # fmt: skip
    method = (
        f"EfficientNet-Lite0, {SIDE} px, {args.rounds} turns of {BURST} calls of one picture, "
        f"{args.threads} thread, one process; answers to {len(images)} photos"
    )
    return finish(__file__, [], method, args.write, rows=rows)


if __name__ == "__main__":
    raise SystemExit(main())
