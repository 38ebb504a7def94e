"""How far a picture handed over decoded differs from the same one as a file.

A JPEG file of 12 megapixels is decoded at a reduced scale; an array of all its pixels cannot be.
The mugs' evaluation set, each photo enlarged to 4000 x 3000, goes both ways.

    python benchmarks/decoded_frames.py
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from shared import Figure, enlarged, finish, parse, photos

from edgeclf import Classifier, load_image
from edgeclf.system.progress import track

MODEL = "mugs.int8.tflite"
MEAN_LEVELS = 1.0
SAME_TOP1 = 0.995


def main() -> int:
    args = parse(__doc__, count=(240, "photos"))
    paths = photos(args.count)
    differences, same = [], 0
    with Classifier(args.artifacts / MODEL) as classifier:
        spec = classifier.artifact.metadata.image
        for path in track(paths, "compare", len(paths)):
            content = enlarged(path, 4000, 3000)
            with Image.open(io.BytesIO(content)) as image:
                pixels = np.asarray(image.convert("RGB"))
            from_file, from_array = load_image(content, spec), load_image(pixels, spec)
            differences.append(np.abs(from_file.astype(int) - from_array.astype(int)).mean())
            same += classifier.classify(from_file).label == classifier.classify(from_array).label
    figures = [
        Figure("12-megapixel file against array: mean difference, worst photo",
               float(max(differences)), "/255", at_most=MEAN_LEVELS,
               note=f"median photo {np.median(differences):.3f}"),
        Figure("12-megapixel file against array: same top-1", same / len(paths),
               at_least=SAME_TOP1, note=f"{same} of {len(paths)}"),
    ]  # fmt: skip
    return finish(__file__, figures, f"{len(paths)} photos enlarged to 4000 x 3000", args.write)


if __name__ == "__main__":
    raise SystemExit(main())
