"""How far maps can be believed: against maps that know nothing, and of a shuffled model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from edgeclf.datasets.photos import Photos
from edgeclf.errors import DataError
from edgeclf.explanation.cam import class_activation, enlarged
from edgeclf.explanation.methods import InputMap, Method, explain_input, in_picture
from edgeclf.explanation.shuffling import shuffled
from edgeclf.image import UInt8Array, decode_image, resize_image
from edgeclf.inference.classifier import Classifier
from edgeclf.metrics.statistics import paired_t_interval, wilson_interval
from edgeclf.runtimes.base import Float32Array
from edgeclf.system.progress import track

_STEPS = 20
_RANDOM_CELLS = 6  # of a random map along each side: as smooth as the maps it is held against
_BLUR = 1 / 8  # of the shorter side: what insertion starts from
_BLOB = 1 / 4  # of each side: one standard deviation of the centred blob
_FEWEST_PHOTOS = 2
_ASPECT = 1.03  # how far a mask's may be off: a scaled decode rounds its sides up
_KERAS_ONLY = "not known: only a .keras file has weights that can be shuffled here"
_CAM_ONLY = "not known: this file's maps use no dense layer"


def check(
    classifier: Classifier,
    photos: Photos,
    *,
    masks: str | os.PathLike[str] | None,
    method: Method | None,
    passes: int,
    seed: int,
) -> dict[str, Any]:
    """Measures the maps of each photo's most probable class.

    Deletion hides places in the order of the map, the most telling first, and insertion shows them
    over a blurred picture (Petsiuk et al., "RISE", 2018); each figure is the area under the curve
    of the class's probability. The pointing game asks whether a map's peak is on the object (Zhang
    et al., "Top-down Neural Attention", 2016). Shuffled weights should give another map (Adebayo
    et al., "Sanity Checks for Saliency Maps", 2018).

    Args:
        classifier: The model.
        photos: At least two.
        masks: A folder with a PNG of each photo's name, white where the object is; None for no
            pointing game.
        method: As for `edgeclf.explain`, like the next two.
        passes: Likewise.
        seed: Also of the random maps and of the shuffling.

    Returns:
        Plain JSON types. Means have their 95 % interval over the photos.

    Raises:
        DataError: Too few photos, or one without its mask.
    """
    if len(photos) < _FEWEST_PHOTOS:
        raise DataError(f"{len(photos)} photo(s) carry no interval; expected at least two.")
    found_masks = [
        None if masks is None else _mask_of(path, photos, masks) for path in photos.paths
    ]
    how: dict[str, Any] = {"method": method, "passes": passes, "seed": seed}
    rng = np.random.default_rng(seed)
    head = _shuffled_head(classifier, rng)
    rows: list[dict[str, Any]] = []
    with shuffled(classifier, seed) as other:
        for path, mask in track(zip(photos.paths, found_masks, strict=True), "check", len(photos)):
            picture = decode_image(path, classifier.artifact.metadata.image)
            tensor = resize_image(picture, classifier.artifact.metadata.image)
            found = explain_input(classifier, tensor, None, **how)
            row: dict[str, Any] = _curves(classifier, tensor, found, rng)
            row["passes"], row["method"] = found.passes, found.method
            if mask is not None:
                row["pointing"] = _pointing(classifier, found, picture.size, mask, path)
            if found.method == "cam" and head is not None:
                features = classifier.features(tensor[np.newaxis])[1][0]
                again = class_activation(features, head[:, found.target])
                row["head"] = correlation(found.grid, again)
            if other is not None:
                again = explain_input(other, tensor, found.target, **how).grid
                row["weights"] = correlation(found.grid, again)
            rows.append(row)
    return _summary(rows)


def correlation(one: Float32Array, other: Float32Array) -> float:
    """Pearson's, of two maps of one shape; of a map that is the same everywhere it is 0."""
    if min(one.std(), other.std()) < 1e-9:
        return 0.0
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def _shuffled_head(classifier: Classifier, rng: np.random.Generator) -> Float32Array | None:
    if classifier.artifact.metadata.features is None:
        return None
    head = classifier.artifact.features.head
    return None if head is None else rng.permuted(head, axis=0)


def _curves(
    classifier: Classifier, tensor: UInt8Array, found: InputMap, rng: np.random.Generator
) -> dict[str, Any]:
    """The curves of deletion and insertion for a map and the two that know nothing."""
    height, width = tensor.shape[:2]
    y, x = ((np.arange(n) + 0.5) / n - 0.5 for n in (height, width))
    blob = np.exp(-(y[:, np.newaxis] ** 2 + x**2) / (2 * _BLOB**2))
    random = rng.random((_RANDOM_CELLS, _RANDOM_CELLS)).astype(np.float32)
    maps = {
        "map": enlarged(found.grid, (width, height)),
        "random": enlarged(random, (width, height)),
        "centre": blob,
    }
    mean = classifier.artifact.metadata.normalization.means
    plain = np.broadcast_to(np.rint(np.clip(mean, 0, 255)), tensor.shape).astype(np.uint8)
    blur = ImageFilter.GaussianBlur(min(height, width) * _BLUR)
    blurred = np.asarray(Image.fromarray(tensor).filter(blur))
    curves: dict[str, Any] = {}
    for name, start, end in (("deletion", tensor, plain), ("insertion", blurred, tensor)):
        curves[name] = {
            kind: classifier.probabilities(_changed(start, end, values, rng))[:, found.target]
            for kind, values in maps.items()
        }
    return curves


def _changed(
    start: UInt8Array, end: UInt8Array, values: Float32Array, rng: np.random.Generator
) -> UInt8Array:
    """From one picture to another in equal steps, where the map is largest first.

    Returns:
        uint8 [steps + 1, H, W, 3].
    """
    # Equal values in a random order: by rows, the zeros of a map would be an order of their own.
    order = np.lexsort((rng.random(values.size), -values.ravel()))
    rank = np.empty(values.size)
    rank[order] = np.arange(values.size) / values.size
    shares = np.linspace(0, 1, _STEPS + 1)[:, np.newaxis, np.newaxis]
    changed = rank.reshape(values.shape) < shares
    return np.where(changed[..., np.newaxis], end, start)


def _mask_of(path: Path, photos: Photos, masks: str | os.PathLike[str]) -> Path:
    mask = Path(masks, photos.name_of(path)).with_suffix(".png")
    if not mask.is_file():
        raise DataError(
            f"There is no mask {mask} for the photo {path}; expected a PNG of its name, "
            "white where the object is."
        )
    return mask


def _pointing(
    classifier: Classifier, found: InputMap, size: tuple[int, int], mask: Path, photo: Path
) -> tuple[bool, float, bool]:
    """Whether the map's peak is on the object, the object's share, and whether the centre is."""
    with Image.open(mask) as image:
        inside = np.asarray(image.convert("L")) > 127
    height, width = inside.shape
    aspect = width * size[1] / (height * size[0])
    if not 1 / _ASPECT < aspect < _ASPECT:
        raise DataError(
            f"The mask {mask} is {width} x {height}, and its photo {photo} {size[0]} x {size[1]}, "
            "upright; expected the same sides."
        )
    values = in_picture(found.grid, size, classifier.artifact.metadata.image)
    row, column = np.unravel_index(values.argmax(), values.shape)
    peak = inside[int((row + 0.5) * height / size[1]), int((column + 0.5) * width / size[0])]
    return bool(peak), float(inside.mean()), bool(inside[height // 2, width // 2])


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    record: dict[str, Any] = {
        "photos": len(rows),
        "method": rows[0]["method"],
        "passes": max(row["passes"] for row in rows),
    }
    for name in ("deletion", "insertion"):
        curves = {kind: np.stack([row[name][kind] for row in rows]) for kind in rows[0][name]}
        areas = {kind: (c[:, 1:] + c[:, :-1]).mean(axis=1) / 2 for kind, c in curves.items()}
        record[name] = {kind: _mean(area) for kind, area in areas.items()}
        for kind in ("random", "centre"):
            record[name][f"map_minus_{kind}"] = _mean(areas["map"] - areas[kind])
        record[name]["curves"] = {kind: c.mean(axis=0).tolist() for kind, c in curves.items()}
    record["pointing"] = _pointing_summary([row["pointing"] for row in rows if "pointing" in row])
    record["randomisation"] = {
        "the dense layer": _mean(row["head"] for row in rows) if "head" in rows[0] else _CAM_ONLY,
        "all weights": _mean(row["weights"] for row in rows)
        if "weights" in rows[0] else _KERAS_ONLY,
    }  # fmt: skip
    return record


def _pointing_summary(rows: list[tuple[bool, float, bool]]) -> Mapping[str, Any] | None:
    if not rows:
        return None
    hits, areas, centres = (list(column) for column in zip(*rows, strict=True))
    return {
        "share": sum(hits) / len(rows),
        "interval_95": list(wilson_interval(sum(hits), len(rows))),
        "random": sum(areas) / len(rows),
        "centre": sum(centres) / len(rows),
    }


def _mean(values: Iterable[float]) -> dict[str, Any]:
    sample = [float(value) for value in values]
    return {"mean": float(np.mean(sample)), "interval_95": list(paired_t_interval(sample))}
