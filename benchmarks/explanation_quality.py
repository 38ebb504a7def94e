"""Whether the maps of a converted file are those of the float model, what they cost and show.

Relation: a file's class activation maps against the Grad-CAM of its Keras source's logit, by the
gradient, on the mugs' evaluation photos, and against those of the fp32 file of its format;
Pearson's correlation over the grid, its 5 % quantile over the photos. Cost: `edgeclf.explain`
against `classify` of the same bytes, without `unknown` and with it, bursts of ten calls in turns in
one process; the ratio with its interval by signed ranks over the turns' medians. The rest is
`edgeclf explain --check` with the masks that the mugs' renderer knows; beside the pointing game
stand a random place and the picture's centre, as a mug is mostly there.

    python benchmarks/explanation_quality.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from shared import PHOTOS, Figure, finish, interleaved_ms, parse, photos

import edgeclf
from edgeclf import Classifier, load_artifact, load_image
from edgeclf.datasets.photos import find_photos
from edgeclf.explanation.cam import class_activation
from edgeclf.explanation.honesty import check, correlation
from edgeclf.metrics.statistics import paired_ratio
from edgeclf.system.cpu import available_cpus

SOURCE = "mugs.keras"
FILES = ("mugs.int8.tflite", "mugs.int8.onnx")
MASKS = PHOTOS.parent / "masks" / "eval"
BURST = 10


def grad_cams(path: Path, images: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Grad-CAM of the logits, float [N, h, w], by the gradient."""
    import keras
    import tensorflow as tf

    network = keras.saving.load_model(path, compile=False)
    tensor = load_artifact(path).features.tensor
    outputs = [network.get_layer(name).output for name in (tensor, "logits")]
    both = keras.Model(network.input, outputs)
    with tf.GradientTape() as tape:
        maps, logits = both(images, training=False)
        picked = tf.gather(logits, targets, batch_dims=1)
    weights = tf.reduce_mean(tape.gradient(picked, maps), axis=(1, 2), keepdims=True)
    found: np.ndarray = tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1)).numpy()
    return found


def relation(classifier: Classifier, source: Path) -> list[Figure]:
    spec = classifier.artifact.metadata.image
    images = np.stack([load_image(path, spec) for path in photos()])
    probabilities, features = classifier.features(images)
    targets = probabilities.argmax(axis=1)
    head = classifier.artifact.features.head
    assert head is not None, "the student's head fits into its metadata"
    maps = [class_activation(f, head[:, t]) for f, t in zip(features, targets, strict=True)]
    expected = grad_cams(source, images, targets)
    related = [correlation(*pair) for pair in zip(maps, expected, strict=True)]
    same = np.mean([a.argmax() == b.argmax() for a, b in zip(maps, expected, strict=True)])
    note = f"median {np.median(related):.4f}, least {min(related):.4f}; same peak cell {same:.1%}"
    return [Figure("correlation with the float model's Grad-CAM, 5 % quantile",
                   float(np.quantile(related, 0.05)), at_least=0.99, note=note)]  # fmt: skip


def quantised(exact: Classifier, classifier: Classifier) -> list[Figure]:
    """A file's maps against the fp32 file's of its format, of the class that this one answers."""
    spec = classifier.artifact.metadata.image
    images = np.stack([load_image(path, spec) for path in photos()])
    targets, maps = None, []
    for each in (exact, classifier):
        probabilities, features = each.features(images)
        targets = probabilities.argmax(axis=1) if targets is None else targets
        head = each.artifact.features.head
        assert head is not None, "the student's head fits into its metadata"
        maps.append([class_activation(f, head[:, t])
                     for f, t in zip(features, targets, strict=True)])  # fmt: skip
    related = [correlation(*pair) for pair in zip(*maps, strict=True)]
    note = f"median {np.median(related):.4f}, least {min(related):.4f}"
    return [Figure("correlation with the fp32 file's maps, 5 % quantile",
                   float(np.quantile(related, 0.05)), at_least=0.99, note=note)]  # fmt: skip


def cost(classifier: Classifier, rounds: int) -> list[Figure]:
    content = photos(1)[0].read_bytes()
    found = interleaved_ms(
        {
            "answer alone": lambda: classifier.classify(content, unknown="off").label,
            "answer with unknown": lambda: classifier.classify(content).label,
            "explain": lambda: edgeclf.explain(classifier, content).label,
        },
        rounds, burst=BURST, warmup=50,
    )  # fmt: skip
    turns = {name: np.median(np.reshape(ms, (-1, BURST)), axis=1) for name, ms in found.items()}
    explained = turns.pop("explain").tolist()
    figures = []
    for (name, ms), limit in zip(turns.items(), (1.15, None), strict=True):
        ratio, low, high = paired_ratio(explained, ms.tolist())
        note = f"95 % interval {low:.3f} to {high:.3f}; the answer {np.median(ms):.3f} ms"
        figures.append(Figure(f"explain / {name}, one JPEG", ratio, at_most=limit, note=note))
    return figures


def checked(classifier: Classifier, source: str) -> tuple[list[Figure], dict[str, Any]]:
    found = find_photos(PHOTOS, classifier.labels)
    record = check(classifier, found, masks=MASKS, method=None, passes=512, seed=0)
    figures = []
    for name in ("deletion", "insertion"):
        for kind in ("random", "centre"):
            area = record[name][f"map_minus_{kind}"]
            low, high = area["interval_95"]
            # The end of the interval that has to lie on the right side of zero.
            limits = {"at_most": 0.0} if name == "deletion" else {"at_least": 0.0}
            end = high if name == "deletion" else low
            note = f"{area['mean']:.3f} in the mean, 95 % interval {low:.3f} to {high:.3f}"
            figures.append(Figure(f"{name}: area of the map less that of {kind}, at worst", end,
                                  note=note, **limits))  # fmt: skip
    pointing = record["pointing"]
    low, high = pointing["interval_95"]
    note = (f"95 % interval {low:.3f} to {high:.3f}; a random place {pointing['random']:.3f}, "
            f"the centre {pointing['centre']:.3f}")  # fmt: skip
    figures.append(Figure("pointing game", pointing["share"], at_least=0.9, note=note))
    for name, area in record["randomisation"].items():
        if not isinstance(area, str):
            low, high = area["interval_95"]
            figures.append(Figure(f"correlation after shuffling {name}", area["mean"],
                                  note=f"95 % interval {low:.3f} to {high:.3f}"))  # fmt: skip
    return figures, {source: record}


def main() -> int:
    args = parse(__doc__, rounds=(300, "turns of ten calls"))
    figures, records = [], dict[str, Any]()
    for name in (*FILES, SOURCE):
        with Classifier(args.artifacts / name) as classifier:
            made = [] if name == SOURCE else relation(classifier, args.artifacts / SOURCE)
            if name != SOURCE:
                with Classifier(args.artifacts / name.replace("int8", "fp32")) as exact:
                    made += quantised(exact, classifier)
                made += cost(classifier, args.rounds)
            more, record = checked(classifier, name)
        records |= record
        figures += [Figure(f"{name}: {f.what}", f.value, f.unit, f.at_most, f.at_least, f.note)
                    for f in (*made, *more)]  # fmt: skip
    method = f"{args.rounds} turns of ten calls, {available_cpus()} threads, one process"
    return finish(__file__, figures, method, args.write, records=records)


if __name__ == "__main__":
    raise SystemExit(main())
