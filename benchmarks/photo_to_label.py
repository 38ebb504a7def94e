"""From the bytes of a JPEG to the label: edgeclf against MediaPipe Tasks and a hand-written loop.

The same int8 file on all sides. MediaPipe is given its best: the faster of its own reader (from a
file in memory-backed storage, as it takes no bytes) and Pillow's full decode handed over as an
array. The hand-written loop is what somebody who knows Pillow well would write: scaled decode,
resize, bare LiteRT. In turns, in one process.

    python benchmarks/photo_to_label.py
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from call_overhead import bare_litert
from PIL import Image
from shared import Figure, enlarged, finish, interleaved_ms, medians, parse, photos

from edgeclf import Classifier
from edgeclf.artifact import load_artifact
from edgeclf.cpu import available_cpus

MODEL = "mugs.int8.tflite"
SIZES = {"12 megapixels": (4000, 3000, 0.25), "640x480": (640, 480, 0.75)}
ABOVE_LOOP = 1.10


def open_mediapipe(model: Path) -> Any:
    from mediapipe.tasks.python import BaseOptions, vision

    base_options = BaseOptions(model_asset_path=str(model))
    options = vision.ImageClassifierOptions(base_options=base_options, max_results=1)
    return vision.ImageClassifier.create_from_options(options)


def mediapipe_calls(
    classifier: Any, contents: list[bytes], folder: Path
) -> dict[str, Callable[[], str]]:
    import mediapipe

    paths = []
    for index, content in enumerate(contents):
        paths.append(folder / f"{index}.jpg")
        paths[-1].write_bytes(content)
    turns = iter(range(10**9))

    def label(image: object) -> str:
        return classifier.classify(image).classifications[0].categories[0].category_name

    def own_reader() -> str:
        path = paths[next(turns) % len(paths)]
        return label(mediapipe.Image.create_from_file(str(path)))

    def from_pillow() -> str:
        with Image.open(io.BytesIO(contents[next(turns) % len(contents)])) as image:
            pixels = np.asarray(image.convert("RGB"))
        return label(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels))

    return {"mediapipe, its reader": own_reader, "mediapipe, pillow": from_pillow}


def main() -> int:
    args = parse(__doc__, rounds=(60, "turns"))
    threads = available_cpus()
    model = args.artifacts / MODEL
    spec = load_artifact(model).metadata.image
    target = np.zeros((spec.height, spec.width, 3), np.uint8)
    bare = bare_litert(model, target, threads)  # reads `target` at every call
    figures = []
    # Storage in memory, so that MediaPipe's reader does not wait for a disk.
    where = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with (
        tempfile.TemporaryDirectory(dir=where) as folder,
        Classifier(model) as classifier,
        open_mediapipe(model) as peer,
    ):
        for name, (width, height, share) in SIZES.items():
            contents = [enlarged(path, width, height) for path in photos(8)]
            turns = iter(range(10**9))

            def ours(contents: list[bytes] = contents, turns: object = turns) -> str:
                return classifier.classify(contents[next(turns) % len(contents)]).label

            def loop(contents: list[bytes] = contents, turns: object = turns) -> object:
                with Image.open(io.BytesIO(contents[next(turns) % len(contents)])) as image:
                    image.draft("RGB", (2 * spec.width, 2 * spec.height))
                    small = image.resize((spec.width, spec.height), Image.Resampling.BILINEAR)
                target[:] = np.asarray(small)
                return bare()

            subfolder = Path(folder) / f"{width}"
            subfolder.mkdir()
            calls = {
                "edgeclf": ours,
                "scaled decode and bare engine": loop,
                **mediapipe_calls(peer, contents, subfolder),
            }
            found = medians(interleaved_ms(calls, args.rounds))
            mediapipe = min(ms for call, ms in found.items() if call.startswith("mediapipe"))
            kb = sum(map(len, contents)) / len(contents) / 1e3
            times = "; ".join(f"{call} {ms:.2f} ms" for call, ms in found.items())
            print(f"{name}, {kb:.0f} kB a file: {times}")
            figures += [
                Figure(f"{name} JPEG to label, edgeclf / MediaPipe", found["edgeclf"] / mediapipe,
                       at_most=share, note=f"{found['edgeclf']:.2f} / {mediapipe:.2f} ms"),
                Figure(f"{name} JPEG to label, edgeclf / (scaled decode + bare engine)",
                       found["edgeclf"] / found["scaled decode and bare engine"],
                       at_most=ABOVE_LOOP if width == 4000 else None),
            ]  # fmt: skip
    method = f"{args.rounds} turns, {threads} threads, one process, files in memory, {MODEL}"
    return finish(__file__, figures, method, args.write)


if __name__ == "__main__":
    raise SystemExit(main())
