"""How photos reach a student that trains: from the cache, and as Keras would read a folder.

Three questions, each answered by whole epochs, in turns:

- How long does an epoch from the cache wait for its data? It is held against the same steps on one
  batch that is in memory already.
- How much faster is an epoch from the cache than one over `image_dataset_from_directory`, on photos
  of 4 megapixels, when nothing but the feeding is timed, and when a student trains? Network, batch
  size, input size and augmentation are the same. The first epoch, which fills the cache, is told
  beside it and does not count.
- What is gained by computing a frozen backbone's features once? One pass over the photos and the
  head's epochs are timed; what 40 passes would take follows from them.

    python benchmarks/training_feed.py
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared import ROOT, Figure, enlarged, finish, interleaved_ms, parse, photos

from edgeclf.datasets.cache import cache_photos
from edgeclf.datasets.photos import find_photos
from edgeclf.image import ImageSpec
from edgeclf.metrics.statistics import paired_ratio
from edgeclf.system.cpu import available_cpus

WIDTH, HEIGHT = 2304, 1728
SIZE = 96
EPOCHS = 4  # of one `fit`; the first does not count
HEAD_EPOCHS = 40
WAITING_AT_MOST = 5.0
FASTER_AT_LEAST = 5.0


def epochs_in_turns(
    trainer: Any, feeds: Mapping[str, Any], rounds: int, epochs: int
) -> dict[str, list[float]]:
    """Seconds of an epoch a round: the median of one `fit`, without its first epoch.

    Each round fits from every feed, forwards and backwards, after a round that does not count.
    """
    import keras

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.start = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            times.append(time.perf_counter() - self.start)

    seconds: dict[str, list[float]] = {name: [] for name in feeds}
    order = list(feeds)
    for done in range(rounds + 1):
        for name in order:
            times: list[float] = []
            trainer.fit(
                feeds[name],
                epochs=epochs if done else 1,
                shuffle=False,
                verbose=0,
                callbacks=[Clock()],
            )
            if done:
                seconds[name].append(statistics.median(times[1:]))
        order.reverse()
    return seconds


def student_trainer(steps: int) -> Any:
    """A student as `edgeclf train --backbone student --weights none` trains it."""
    import keras

    from edgeclf.networks.builder import build_classifier, find_backbone, part
    from edgeclf.training.augment import augmentation
    from edgeclf.training.optimization import classification_loss, cosine_adam

    model = build_classifier(find_backbone("student"), 4, ImageSpec(SIZE, SIZE), weights="none")
    image = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    normalized = model.get_layer("normalize")(augmentation(0)(image))
    trainer = keras.Model(image, part(model, "normalize", "logits")(normalized))
    trainer.compile(
        optimizer=cosine_adam(2e-3, steps),
        loss=classification_loss(4),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    return trainer


def waiting(folder: Path, rounds: int) -> Figure:
    import tensorflow as tf

    from edgeclf.training.batch_loader import shuffled_batches

    found = find_photos(ROOT / "examples" / "mugs" / "train")
    images = cache_photos(found, ImageSpec(SIZE, SIZE), folder)
    batches = shuffled_batches((images,), found.targets, 0)
    steps = len(batches)
    constant = tf.data.Dataset.from_tensors(next(iter(batches))).repeat(steps)
    constant = constant.with_options(batches.options())
    trainer = student_trainer(2 * steps * (EPOCHS * rounds + 1))
    seconds = epochs_in_turns(trainer, {"cache": batches, "memory": constant}, rounds, EPOCHS)
    ratio, low, high = paired_ratio(seconds["cache"], seconds["memory"])
    share, least, most = (100 * (1 - 1 / value) for value in (ratio, low, high))
    return Figure(
        f"share of a student's epoch spent waiting for the cache, {available_cpus()} CPUs",
        share, "%", at_most=WAITING_AT_MOST,
        note=f"95 % interval {least:.1f} to {most:.1f}; an epoch of {steps} batches takes "
        f"{min(seconds['cache']):.2f} s at best",
    )  # fmt: skip


def side_by_side(folder: Path, count: int, rounds: int) -> list[Figure]:
    import keras
    import tensorflow as tf

    from edgeclf.networks.keras_model import BATCH_SIZE
    from edgeclf.training.batch_loader import shuffled_batches

    large = folder / "large"
    for path in photos(count):
        target = large / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(enlarged(path, WIDTH, HEIGHT))
    found = find_photos(large)
    megabytes = sum(path.stat().st_size for path in found.paths) / 1e6
    of_keras = keras.utils.image_dataset_from_directory(
        large, image_size=(SIZE, SIZE), batch_size=BATCH_SIZE, seed=0, verbose=False
    )
    of_keras = of_keras.map(
        lambda image, target: (tf.cast(image, "uint8"), target), num_parallel_calls=tf.data.AUTOTUNE
    ).prefetch(tf.data.AUTOTUNE)

    start = time.perf_counter()
    images = cache_photos(found, ImageSpec(SIZE, SIZE), folder)
    filling_s = time.perf_counter() - start
    batches = shuffled_batches((images,), found.targets, 0)
    feeds = {"keras": of_keras, "cache": batches}
    read = interleaved_ms({name: lambda f=feed: list(f) for name, feed in feeds.items()}, rounds)
    trainer = student_trainer(2 * len(batches) * (EPOCHS * rounds + 1))
    trained = epochs_in_turns(trainer, feeds, rounds, EPOCHS)
    ratio, low, high = paired_ratio(read["keras"], read["cache"])
    whole, least, most = paired_ratio(trained["keras"], trained["cache"])
    keras_ms, cache_ms = (statistics.median(read[name]) for name in feeds)
    keras_s, cache_s = (statistics.median(trained[name]) for name in feeds)
    return [
        Figure(
            "feeding an epoch: image_dataset_from_directory / cache, 4 megapixels",
            ratio, at_least=FASTER_AT_LEAST,
            note=f"{keras_ms:.0f} against {cache_ms:.1f} ms; 95 % interval {low:.0f} to {high:.0f}",
        ),
        Figure(
            "training an epoch: image_dataset_from_directory / cache, 4 megapixels",
            whole,
            note=f"{keras_s:.2f} against {cache_s:.2f} s, nearly all of which is the student's own "
            f"work on these CPUs; 95 % interval {least:.1f} to {most:.1f}",
        ),
        Figure(
            "filling the cache / feeding an epoch by image_dataset_from_directory",
            1e3 * filling_s / keras_ms,
            note=f"{filling_s:.2f} s once, for {count} photos, {megabytes:.0f} MB",
        ),
    ]  # fmt: skip


def frozen_features(folder: Path) -> Figure:
    import keras
    import numpy as np

    from edgeclf.networks.builder import build_classifier, find_backbone, input_spec, part
    from edgeclf.networks.keras_model import in_batches
    from edgeclf.training.augment import augmentation
    from edgeclf.training.batch_loader import shuffled_batches
    from edgeclf.training.optimization import classification_loss, cosine_adam

    backbone = find_backbone("efficientnet-lite0")
    spec = input_spec(backbone)
    found = find_photos(ROOT / "examples" / "mugs" / "train")
    images = cache_photos(found, spec, folder)
    model = build_classifier(backbone, 4, spec)
    extractor, normalize = part(model, "normalize", "features"), model.get_layer("normalize")
    vary = augmentation(0)
    extractor.predict_on_batch(normalize(vary(images[:32], training=True)))

    start = time.perf_counter()  # as the head is trained: each photo as it is, and once varied
    rows = np.concatenate(
        [
            extractor.predict_on_batch(normalize(vary(batch, training=True) if view else batch))
            for view in range(2)
            for batch in in_batches(images)
        ]
    )
    features_s = time.perf_counter() - start
    inputs = keras.Input(rows.shape[1:])
    head = keras.Model(inputs, model.get_layer("logits")(inputs))
    batches = shuffled_batches((rows,), np.tile(found.targets, 2), 0)
    head.compile(cosine_adam(3e-3, HEAD_EPOCHS * len(batches)), classification_loss(4))
    start = time.perf_counter()
    head.fit(batches, epochs=HEAD_EPOCHS, shuffle=False, verbose=0)
    head_s = time.perf_counter() - start
    each_s, once_s = HEAD_EPOCHS * features_s + head_s, features_s + head_s
    return Figure(
        f"frozen phase of {HEAD_EPOCHS} epochs: features in each epoch / features once",
        each_s / once_s,
        note=f"{each_s:.0f} (reckoned) against {once_s:.1f} s: features {features_s:.1f} s, "
        f"{HEAD_EPOCHS} epochs of the head {head_s:.1f} s; {backbone.name}, {len(found)} photos",
    )


def main() -> int:
    args = parse(__doc__, rounds=(7, "rounds of each"), photos=(192, "photos of 4 megapixels"))
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = [
            waiting(folder, args.rounds),
            *side_by_side(folder, args.photos, args.rounds),
            frozen_features(folder),
        ]
    method = (
        f"{args.rounds} rounds of each in turns, a round being {EPOCHS} epochs of one fit without "
        f"the first; ratios and intervals by signed ranks over the rounds; student at {SIZE} x "
        f"{SIZE}, batches of 32, augmented; all files in the page cache; load before "
        f"the first epoch {load:.1f}"
    )
    return finish(__file__, figures, method, args.write)


if __name__ == "__main__":
    raise SystemExit(main())
