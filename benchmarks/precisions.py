"""Size, time and answers of every precision of one model, on one picture, in one interleaved run.

All files answer in turns in one process, so that drift falls on all alike; a ratio is that of the
medians, to the fp32 file of the same format. Answers are compared with that file's too, on the
mugs' evaluation photos. The table in docs/conversion.md is made of this by tools/update_readme.py.

    python benchmarks/precisions.py --artifacts FOLDER --model NAME --write
"""

from __future__ import annotations

from typing import Any

import numpy as np
from shared import finish, interleaved_ms, medians, parse, photos

from edgeclf import Classifier, load_image
from edgeclf.artifact import load_artifact
from edgeclf.converters.advice import xnnpack_parts
from edgeclf.metrics.accuracy import agreement_record
from edgeclf.runtimes import runtimes_for

BURST = 5


def main() -> int:
    args = parse(__doc__, model=("mugs", "name of the model"), threads=(1, "threads of a call"),
                 rounds=(100, f"turns of {BURST} calls"))  # fmt: skip
    found = sorted(args.artifacts.glob(f"{args.model}.*.*"))
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
        f"{args.model}, {spec.height}x{spec.width} px, {args.rounds} turns of {BURST} calls of one "
        f"picture, {args.threads} thread, one process; answers to {len(images)} photos"
    )
    return finish(__file__, [], method, args.write, model=args.model, rows=rows)


if __name__ == "__main__":
    raise SystemExit(main())
