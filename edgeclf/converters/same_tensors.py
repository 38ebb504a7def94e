"""Which tensors of two float graphs are the same, so that what was measured of one serves both.

Exporters name, fuse and order what they write as they like; what a tensor holds on a few photos
tells which it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

_ALIKE = 1e-4  # relative to a tensor's largest value: two engines' float32

Tensors: TypeAlias = Mapping[str, npt.NDArray[Any]]


def same_tensors(ours: Iterable[Tensors], theirs: Iterable[Tensors]) -> dict[str, str | None]:
    """Each tensor of one graph to the one that it is in the other, or None.

    Args:
        ours: For each of a few images the tensors by name; sizes of 1 do not count.
        theirs: Likewise, on the same images.

    Returns:
        The first that agrees on every image. A tensor of zeros alone tells nothing: it has none.
    """
    matches: dict[str, list[str]] | None = None
    for own, other in zip(ours, theirs, strict=True):
        squeezed = {name: np.squeeze(values) for name, values in other.items()}
        if matches is None:
            matches = {name: list(squeezed) for name in own}
        matches = {
            name: [each for each in found if _alike(np.squeeze(own[name]), squeezed[each])]
            for name, found in matches.items()
            if name in own
        }
        del squeezed  # tensors are gone with the next image
    return {name: next(iter(found), None) for name, found in (matches or {}).items()}


def _alike(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    if one.shape != other.shape:
        return False
    largest = float(np.abs(one).max(initial=0))
    allowed = _ALIKE * largest
    part = (slice(None, None, 7),) * min(one.ndim, 1)  # most pairs differ there already
    return (
        largest > 0
        and bool(np.abs(one[part] - other[part]).max(initial=0) <= allowed)
        and bool(np.abs(one - other).max() <= allowed)
    )
