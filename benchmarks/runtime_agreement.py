"""Whether the same artifact answers the same on different runtimes, on the mugs' evaluation set.

Every installed runtime that takes the file is compared with the usual one. OpenVINO takes part
where examples/openvino_runtime is installed.

    python benchmarks/runtime_agreement.py
"""

from __future__ import annotations

import numpy as np
from shared import Figure, finish, parse, photos

from edgeclf import Classifier, load_image
from edgeclf.artifact import load_artifact
from edgeclf.runtimes import DEFAULT_RUNTIME, runtimes_for

FILES = ("mugs.fp32.tflite", "mugs.int8.tflite", "mugs.fp32.onnx", "mugs.int8.onnx")
AT_LEAST = {"fp32": 1.0, "int8": 0.995}


def main() -> int:
    args = parse(__doc__)
    paths = photos()
    figures = []
    for name in FILES:
        artifact = load_artifact(args.artifacts / name)
        usual = DEFAULT_RUNTIME[artifact.format]
        images = np.stack([load_image(path, artifact.metadata.image) for path in paths])
        answers = {}
        for runtime in runtimes_for(artifact.format):
            with Classifier(artifact, runtime=runtime) as classifier:
                answers[runtime] = classifier.probabilities(images)
        for runtime, found in answers.items():
            if runtime == usual:
                continue
            same = (found.argmax(axis=1) == answers[usual].argmax(axis=1)).mean()
            change = np.abs(found - answers[usual]).max()
            figures.append(
                Figure(f"{name}: same top-1 on {runtime} and {usual}", float(same),
                       at_least=AT_LEAST[artifact.metadata.precision],
                       note=f"largest change of a probability {change:.2g}"),
            )  # fmt: skip
    if not figures:
        print("only one runtime is installed for each format: nothing to compare")
        return 2
    return finish(__file__, figures, f"{len(paths)} photos", args.write)


if __name__ == "__main__":
    raise SystemExit(main())
