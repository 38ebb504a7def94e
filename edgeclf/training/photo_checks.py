"""What training looks at before it begins: photos that cannot be read, copies, uneven classes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from edgeclf.datasets.cache import POLICY_VERSION
from edgeclf.datasets.folders import by_path
from edgeclf.datasets.photos import Photos
from edgeclf.errors import DataError, ImageError, listed
from edgeclf.image import ImageSpec, load_image
from edgeclf.system import files
from edgeclf.system.cpu import available_cpus
from edgeclf.system.environment import library_versions
from edgeclf.system.progress import log, track

_SPEC = ImageSpec(32, 32)  # small, so that a JPEG is decoded at its smallest scale
_UNEVEN = 10  # classes that differ by more than this are worth a remark
_SHOWN = 5
_MOST_CLASSES = 12  # up to so many are listed


def keep_readable(photos: Photos, cache: Path, *, skip: bool) -> Photos:
    """Decodes every photo; one is unreadable if `edgeclf.image` refuses it.

    Content that was read once is remembered in `cache`, so only new photos cost time.

    Args:
        photos: What to read.
        cache: Folder for what is remembered.
        skip: Whether unreadable photos are left out, and named, instead of refused.

    Raises:
        DataError: Photos cannot be read; with `skip`, none of a class can.
    """
    reasons = _read_all(photos, cache)
    if not reasons:
        return photos
    shown = _lines(reasons.values())
    finding = f"{len(reasons)} of {len(photos)} files in {photos.root} cannot be read"
    if not skip:
        raise DataError(
            f"{finding}; repair or remove them, or leave them out with --skip-unreadable:{shown}"
        )
    kept = photos.subset([i for i in range(len(photos)) if i not in reasons])
    gone = set(photos.targets.tolist()) - set(kept.targets.tolist())
    if gone:
        names = listed(photos.labels[index] for index in sorted(gone))
        raise DataError(f"{finding}, and no photo of {names} is left:{shown}")
    log(f"{finding} and were left out:{shown}")
    return kept


def _read_all(photos: Photos, cache: Path) -> dict[int, str]:
    """Why each photo that cannot be read cannot, by its index."""
    versions = library_versions(("pillow", "pillow-heif"))  # others may read it otherwise
    key = files.sha256_of(json.dumps([POLICY_VERSION, versions]))
    memory = cache / f"readable-{key[:16]}.json"
    known = set(json.loads(memory.read_text())) if memory.is_file() else set()
    read: set[str] = set()

    def examine(path: Path) -> str | None:
        try:
            digest = files.sha256_of(path)
            if digest not in known:
                load_image(path, _SPEC)
                read.add(digest)
        except ImageError as exc:
            return str(exc)
        except OSError as exc:
            return f"Cannot open {path}: {exc.strerror}. Check the path."
        return None

    with ThreadPoolExecutor(available_cpus()) as pool:
        answers = pool.map(examine, photos.paths)
        reasons = list(track(answers, "read the photos", len(photos)))
    if read:
        files.write_json(memory, sorted(known | read))
    return {index: reason for index, reason in enumerate(reasons) if reason is not None}


def describe_balance(photos: Photos) -> list[str]:
    """How many photos each class has, in lines to print; the last one may be a remark."""
    counts = np.bincount(photos.targets, minlength=len(photos.labels))
    order = np.argsort(-counts, kind="stable")
    named = [f"{label} {count:,}" for label, count in zip(photos.labels, counts, strict=True)]
    if len(named) > _MOST_CLASSES:
        half = _MOST_CLASSES // 2
        ends = [named[i] for i in (*order[:half], *order[-half:])]
        named = [*ends[:half], f"{len(order) - 2 * half:,} more", *ends[half:]]
    most, least = int(order[0]), int(order[-1])
    ratio = counts[most] / max(counts[least], 1)
    lines = [f"photos a class: {', '.join(named)}; largest to smallest {ratio:.1f} to 1"]
    if ratio > _UNEVEN:
        lines.append(
            f"remark: {photos.labels[most]} has {ratio:.0f} times the photos of "
            f"{photos.labels[least]}. Rare classes are learnt worse, and the accuracy over all "
            "photos hides it: add photos of them, or look at the accuracy of each class"
        )
    return lines


def describe_copies(photos: Photos, copies: Sequence[Sequence[Path]]) -> list[str]:
    """Which photos are there more than once, in lines to print."""
    if not copies:
        return []
    groups = (
        " = ".join(photos.name_of(path) for path in sorted(group, key=by_path)) for group in copies
    )
    extra = sum(len(group) - 1 for group in copies)
    remark = f"remark: {extra} photo(s) in {photos.root} are copies of others and count twice:"
    return (remark + _lines(groups)).splitlines()


def _lines(items: Iterable[str]) -> str:
    return "\n  " + listed(items, "\n  ", _SHOWN)
