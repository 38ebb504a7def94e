"""Maps from many answers to the same picture, partly hidden: for files that have no dense head.

What is hidden shows the colour that the graph's first step makes zero of, which is a grey.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from edgeclf.explanation.cam import enlarged, scaled
from edgeclf.image import UInt8Array
from edgeclf.runtimes.base import Float32Array

Score = Callable[[UInt8Array], Float32Array]  # uint8 [N, H, W, 3] to a class's probabilities [N]

_BATCH_SIZE = 32
_CELLS = 7  # of RISE's masks along each side, as in its paper
_SHOWN = 0.5  # how many of them


def score_cam(
    score: Score, image: UInt8Array, features: Float32Array, hidden: Float32Array, passes: int
) -> tuple[Float32Array, int]:
    """The channels of the features, each weighted by what the picture says seen through it alone.

    Wang et al., "Score-CAM" (2020). A channel's weight is the class's probability for the picture
    under the channel as mask, above that for a picture that is all hidden.

    Args:
        score: A class's probabilities of pictures.
        image: uint8 [H, W, 3], the model's input.
        features: float32 [h, w, c] of this image.
        hidden: float32 [3], the colour of what is hidden.
        passes: How many images may be run, at least 2; of more channels, those that vary most over
            the picture are taken.

    Returns:
        float32 [h, w], 0..1, and the number of images that were run.
    """
    varying = features.std(axis=(0, 1))
    order = np.argsort(-varying, kind="stable")[: passes - 1]
    channels = features[..., order[varying[order] > 0]].transpose(2, 0, 1)
    low = channels.min(axis=(1, 2), keepdims=True)
    masks = (channels - low) / (channels.max(axis=(1, 2), keepdims=True) - low)
    size = image.shape[1], image.shape[0]
    fine = (np.zeros(image.shape[:2], np.float32), *(enlarged(mask, size) for mask in masks))
    nothing, *scores = _scores(score, image, iter(fine), hidden)
    weights = np.asarray(scores, np.float32) - nothing
    return scaled(np.maximum(np.tensordot(weights, channels, 1), 0)), len(scores) + 1


def rise(
    score: Score, image: UInt8Array, hidden: Float32Array, passes: int, seed: int
) -> Float32Array:
    """How probable the class is on average where a place is seen, over random masks.

    Petsiuk et al., "RISE" (2018): coarse random masks, enlarged and shifted by less than a cell.
    Each place is averaged over the masks that show it, so that it does not matter how many do.

    Args:
        score: A class's probabilities of pictures.
        image: uint8 [H, W, 3], the model's input.
        hidden: float32 [3], the colour of what is hidden.
        passes: How many masks.
        seed: Of the masks.

    Returns:
        float32 [H, W], 0..1, from the least to the most telling place; all zeros where all places
        tell the same.
    """
    seen = np.full(image.shape[:2], 1e-6, np.float32)
    total = np.zeros(image.shape[:2], np.float32)
    masks = random_masks(image.shape[:2], passes, seed)
    again = random_masks(image.shape[:2], passes, seed)  # made twice, as together they are large
    for mask, probability in zip(masks, _scores(score, image, again, hidden), strict=True):
        seen += mask
        total += probability * mask
    mean = total / seen
    span = mean - mean.min()
    return scaled(np.where(span.max() > 1e-5, span, 0))  # below are the roundings of the sums


def random_masks(shape: tuple[int, int], count: int, seed: int) -> Iterator[Float32Array]:
    """RISE's masks, float32 [H, W], 0..1."""
    rng = np.random.default_rng(seed)
    height, width = shape
    for _ in range(count):
        cells = (rng.random((_CELLS + 1, _CELLS + 1)) < _SHOWN).astype(np.float32)
        left, top = rng.random(2)
        yield enlarged(cells, (width, height), (left, top, left + _CELLS, top + _CELLS))


def _scores(
    score: Score, image: UInt8Array, masks: Iterator[Float32Array], hidden: Float32Array
) -> Iterator[float]:
    """The class's probability for the picture under each mask, some pictures at a time."""
    from itertools import islice

    while batch := list(islice(masks, _BATCH_SIZE)):
        shown = np.stack(batch)[..., np.newaxis]
        pictures = hidden + (image - hidden) * shown
        yield from score(np.rint(pictures).astype(np.uint8)).tolist()
