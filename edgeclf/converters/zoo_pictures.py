"""What a model of the zoo is calibrated and judged on where there is no ImageNet.

The user's own photos, best like those that will be classified; or crops of the sample photos that
scikit-image and scikit-learn carry, which are few, and say so in their names. Either way the two
halves share no photo. Nothing here needs labels: the gate asks how often an answer changes.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from edgeclf.converters.calibration import CALIBRATION_IMAGES
from edgeclf.datasets.photos import find_unlabelled
from edgeclf.errors import DataError, MissingDependencyError
from edgeclf.system.files import sha256_of

FEWEST_PHOTOS = 40  # of the user's: with half of them one changed answer is 5 %
_MOST_JUDGED = 400
# By package: where it keeps them, those for calibration, and those to judge by.
_SAMPLES = {
    "skimage": (
        "data",
        ("astronaut.png", "motorcycle_left.png", "grass.png", "gravel.png", "coins.png", "ihc.png",
         "retina.jpg"),
        ("coffee.png", "chelsea.png", "rocket.jpg", "brick.png", "camera.png",
         "hubble_deep_field.jpg"),
    ),
    "sklearn": ("datasets/images", ("flower.jpg",), ("china.jpg",)),
}  # fmt: skip
_PROJECTS = {"skimage": "scikit-image", "sklearn": "scikit-learn"}
_CROPS = (12, 18)  # of each photo, for calibration and to judge by


@dataclass(frozen=True)
class Pictures:
    """Pictures for both purposes, not yet written.

    Attributes:
        text: What they are, in words.
        sha256: Of what they are made of.
        write: Puts them into two folders, for calibration and for the comparison.
    """

    text: str
    sha256: str
    write: Callable[[Path, Path], None]

    def record(self) -> dict[str, Any]:
        """What an artifact says of them."""
        return {"text": self.text, "sha256": self.sha256}


def pictures_of(folder: str | os.PathLike[str]) -> Pictures:
    """The user's photos: half of them, at most 200, for calibration; of the rest at most 400.

    Args:
        folder: Photos in whatever folders below it, or a CSV that names them.

    Raises:
        DataError: There are fewer than 40 different ones.
    """
    found = find_unlabelled(folder)
    different = dict(zip(found.content_sha256, found.paths, strict=True))
    if len(different) < FEWEST_PHOTOS:
        copies = len(found) - len(different)
        noted = f" and {copies} copies of these" if copies else ""
        raise DataError(
            f"{found.root} holds {len(different)} photos{noted}; expected at least "
            f"{FEWEST_PHOTOS}, half to calibrate on and half to compare answers on. Add photos, "
            "or leave out --photos for crops of sample photos."
        )
    order = np.random.default_rng(0).permutation(sorted(different)).tolist()
    half = min(len(order) // 2, CALIBRATION_IMAGES)
    halves = (order[:half], order[half : half + _MOST_JUDGED])

    def write(*folders: Path) -> None:
        for place, contents in zip(folders, halves, strict=True):
            place.mkdir()
            for number, content in enumerate(contents):
                path = different[content].resolve()
                (place / f"{number:04d}-{path.name}").symlink_to(path)

    text = f"{len(halves[0])} and {len(halves[1])} photos of the user's"
    return Pictures(text, sha256_of(*halves[0], "/", *halves[1]), write)


def sample_pictures() -> Pictures:
    """Crops of the sample photos in scikit-image and scikit-learn.

    Raises:
        MissingDependencyError: One of them is not installed.
        DataError: It has lost a photo.
    """
    halves: tuple[list[Path], list[Path]] = ([], [])
    for package, (folder, *names) in _SAMPLES.items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise MissingDependencyError(package, "zoo", "Calibrating without --photos")
        for half, own in zip(halves, names, strict=True):
            half += [Path(spec.origin).parent / folder / name for name in own]
    missing = [path for path in (*halves[0], *halves[1]) if not path.is_file()]
    if missing:
        raise DataError(
            f"{missing[0]} is gone: another version of the package, or a repackaged one. Give "
            "photos of your own with --photos DIR."
        )
    releases = " and ".join(f"{name} {version(name)}" for name in _PROJECTS.values())
    text = (
        f"crops of {len(halves[0])} and {len(halves[1])} sample photos in {releases}, "
        "not ImageNet's"
    )

    def write(*folders: Path) -> None:
        for seed, (place, paths, count) in enumerate(zip(folders, halves, _CROPS, strict=True)):
            place.mkdir()
            _write_crops(paths, place, count, seed)

    return Pictures(text, sha256_of(*halves[0], "/", *halves[1], str(_CROPS)), write)


def _write_crops(paths: Sequence[Path], folder: Path, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for path in paths:
        with Image.open(path) as opened:
            photo = opened.convert("RGB")
        for number in range(count):
            crop = _crop(photo, rng)
            crop.save(folder / f"{path.stem}-crop-{number:02d}.png", compress_level=1)


def _crop(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A square part, perhaps mirrored, and a little brighter, paler or more contrasted."""
    side = int(min(photo.size) * rng.uniform(0.45, 1.0))
    left, top = (int(rng.integers(0, size - side + 1)) for size in photo.size)
    part = photo.crop((left, top, left + side, top + side))
    if rng.random() < 0.5:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        part = enhance(part).enhance(float(rng.uniform(0.75, 1.25)))
    return part
