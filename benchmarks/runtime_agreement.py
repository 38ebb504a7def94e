"""Whether the same artifact answers the same on different runtimes, on the mugs' evaluation set.

Every installed runtime that takes the file is compared with the usual one, and so is OpenVINO,
where it is installed, through the runtime in examples/openvino_runtime.

    python benchmarks/runtime_agreement.py
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
from shared import ROOT, Figure, finish, parse, photos, registered_runtime

from edgeclf import Classifier, load_image
from edgeclf.artifact import load_artifact
from edgeclf.runtimes import DEFAULT_RUNTIME, runtimes_for

FILES = ("mugs.fp32.tflite", "mugs.int8.tflite", "mugs.fp32.onnx", "mugs.int8.onnx")
EXAMPLE = ROOT / "examples" / "openvino_runtime" / "edgeclf_openvino.py"
AT_LEAST = {"fp32": 1.0, "int8": 0.995}


def main() -> int:
    args = parse(__doc__)
    known: AbstractContextManager[None] = nullcontext()
    if importlib.util.find_spec("openvino") is not None:
        known = registered_runtime(
            "openvino", f"{EXAMPLE.read_text()}\nRuntime = OpenVINORuntime\n"
        )
    with known:
        figures = [figure for name in FILES for figure in agreement(args.artifacts / name)]
    if not figures:
        print("only one runtime is installed for each format: nothing to compare")
        return 2
    return finish(__file__, figures, f"{len(photos())} photos", args.write)


def agreement(path: Path) -> Iterator[Figure]:
    artifact = load_artifact(path)
    usual = DEFAULT_RUNTIME[artifact.format]
    images = np.stack([load_image(photo, artifact.metadata.image) for photo in photos()])
    answers = {}
    for runtime in runtimes_for(artifact.format):
        with Classifier(artifact, runtime=runtime) as classifier:
            answers[runtime] = classifier.probabilities(images)
    for runtime, found in answers.items():
        if runtime == usual:
            continue
        same = (found.argmax(axis=1) == answers[usual].argmax(axis=1)).mean()
        change = np.abs(found - answers[usual]).max()
        yield Figure(f"{path.name}: same top-1 on {runtime} and {usual}", float(same),
                     at_least=AT_LEAST[artifact.metadata.precision],
                     note=f"largest change of a probability {change:.2g}")  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
