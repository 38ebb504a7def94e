"""Photos decoded once, by the device's own preprocessing, into a memory-mapped array."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from edgeclf.datasets.photos import Photos
from edgeclf.errors import DataError, ImageError, listed
from edgeclf.image import ImageSpec, UInt8Array, load_image
from edgeclf.system import files
from edgeclf.system.cpu import available_cpus
from edgeclf.system.progress import track

POLICY_VERSION = 4  # raise when edgeclf.image turns the same file into other pixels


def cache_photos(photos: Photos, spec: ImageSpec, folder: str | Path) -> UInt8Array:
    """Decodes photos, or finds them decoded already.

    The cache's name is a hash of the photos' content, their order and the spec, so a changed
    photo is decoded again and an unchanged one never.

    Args:
        photos: What to decode.
        spec: Input size and resize policy.
        folder: Where caches are kept.

    Returns:
        uint8 RGB [N, H, W, 3], 0..255, mapped from disk and read-only.

    Raises:
        DataError: Photos that cannot be read, each named with its reason.
    """
    key = files.sha256_of(
        json.dumps([POLICY_VERSION, spec.to_dict()]), "".join(photos.content_sha256)
    )
    path = Path(folder) / f"photos-{key[:16]}.npy"
    if not path.exists():
        with files.replacing(path) as temporary:
            shape = (len(photos), spec.height, spec.width, 3)
            array = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
            files.reserve(temporary)
            _decode(photos, spec, array)
            array.flush()
    mapped: UInt8Array = np.load(path, mmap_mode="r")
    return mapped


def _decode(photos: Photos, spec: ImageSpec, array: UInt8Array) -> None:
    def decode(index: int) -> str | None:
        try:
            array[index] = load_image(photos.paths[index], spec)
        except ImageError as exc:
            return str(exc)
        return None

    title = f"decode to {spec.width}x{spec.height}"
    with ThreadPoolExecutor(available_cpus()) as pool:
        results = pool.map(decode, range(len(photos)))
        failures = [r for r in track(results, title, len(photos)) if r is not None]
    if failures:
        raise DataError(
            f"{len(failures)} of {len(photos)} files in {photos.root} cannot be read; repair or "
            "remove them:\n  " + listed(failures, "\n  ", 5)
        )
