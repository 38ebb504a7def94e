"""What a model's last layer answers: told from its scores, and made probabilities.

An artifact answers one label of several, by probabilities that sum to 1. A softmax gives them; of
logits it is added. One score for two labels is the probability of the second, or its logit. Scores
that are independent of each other are neither: no arithmetic makes a choice of them that the model
was trained for, so a multi-label model is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf.errors import ConversionError, OptionError
from edgeclf.runtimes.base import Float32Array

_TOLERANCE = 0.02  # of a probability, and of the sum of one image's
_ONE = 1e-6  # how far a softmax of one value may be from 1
_MIXED = 0.05  # of a probability, or of the largest score: beyond what rounding does
_SAME_SUM = 0.005  # relative: of bytes whose sum is 254 to 256


@dataclass(frozen=True)
class Head:
    """What stands between a model's scores and probabilities.

    Attributes:
        logits: Whether a softmax is missing, or a sigmoid where there is one score.
        single: Whether one score stands for two labels.
    """

    logits: bool = False
    single: bool = False

    def apply(self, scores: Float32Array) -> Float32Array:
        """From the scores float32 [N, classes or 1] to probabilities float32 [N, classes]."""
        if self.single:
            second = 1 / (1 + np.exp(-scores)) if self.logits else scores
            return np.concatenate([1 - second, second], axis=1).astype(np.float32)
        if not self.logits:
            return scores
        exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
        softmax: Float32Array = exponents / exponents.sum(axis=1, keepdims=True)
        return softmax

    def apply_in_tensorflow(self, scores: Any) -> Any:
        """The same in a TensorFlow graph."""
        import tensorflow as tf

        if self.single:
            second = tf.math.sigmoid(scores) if self.logits else scores
            return tf.concat([1 - second, second], axis=1)
        return tf.nn.softmax(scores) if self.logits else scores


def find_head(
    scores: Float32Array,
    labels: Sequence[str],
    *,
    logits: bool,
    file: str | Path,
    softmax: bool | None = None,
) -> Head:
    """Tells what a model answers, and whether that is what was said of it.

    Args:
        scores: float32 [N, scores], the answers to pictures of all sorts. One picture may happen
            to look like anything, so there should be several.
        labels: What the classes are called.
        logits: What was said of it.
        file: The model, for messages.
        softmax: Whether a softmax makes them; None where that is not known.

    Raises:
        OptionError: The labels do not fit, or the scores are not what was said of them.
        ConversionError: They are no choice between the labels, or no numbers.
    """
    single = scores.shape[1:] == (1,)
    if scores.ndim != 2 or (len(labels) != 2 if single else scores.shape[1] != len(labels)):
        expected = (
            "Expected two labels for one score: what 0 is called, then what 1 is called."
            if single
            else "Expected one label for each score."
        )
        raise OptionError(
            f"{file} answers with the shape {(1, *scores.shape[1:])}, but there are "
            f"{len(labels)} labels. {expected}"
        )
    check_numbers(scores, file)
    _refuse_ones(scores, file, softmax)
    _refuse_multiples(scores, file)
    if logits:
        _refuse_probabilities(scores, file)
    else:
        check_probabilities(scores, file)
    return Head(logits, single)


def check_numbers(scores: Float32Array, file: str | Path) -> None:
    """Refuses scores that are infinite or no numbers.

    Raises:
        ConversionError: There are such.
    """
    if not np.isfinite(scores).all():
        raise ConversionError(
            f"{file} answers some pictures with what is no number. Check --input-range, --mean and "
            "--std, or the model itself."
        )


def check_alone(together: Float32Array, alone: Float32Array, file: str | Path) -> None:
    """Refuses a model whose answer depends on the images that come with one, or on chance.

    Args:
        together: float32 [1, scores] of an image in a batch.
        alone: float32 [1, scores] of the same image by itself.
        file: The model, for messages.

    Raises:
        ConversionError: They differ.
    """
    change = float(np.abs(together - alone).max())
    if change > _MIXED * max(1.0, float(np.abs(alone).max())):
        raise ConversionError(
            f"{file} answers a picture otherwise when others come with it, or every time: a score "
            f"changes by {change:.3g}. It mixes the images of a batch, or draws numbers, as a "
            "normalisation or dropout in training mode does. Export it for inference, in PyTorch "
            "after model.eval()."
        )


def check_probabilities(scores: Float32Array, file: str | Path) -> None:
    """Refuses scores that are no probabilities of one label of several.

    Args:
        scores: float32 [N, scores]; a single score is the second label's probability.
        file: The model, for messages.

    Raises:
        OptionError: They are logits, as far as can be seen.
        ConversionError: They are independent of each other.
    """
    if not _are_shares(scores):
        raise OptionError(
            f"The scores of {file} are no probabilities: they run from {scores.min():.3f} to "
            f"{scores.max():.3f}, and those of one image sum to {scores[0].sum():.3f}. If they are "
            "logits, add --scores logits."
        )
    if scores.shape[1] > 1 and not _sum_to_one(scores):
        raise _multi_label(scores, file)


def _refuse_probabilities(scores: Float32Array, file: str | Path) -> None:
    """Refuses a second softmax, which would draw all answers together."""
    if not _are_shares(scores):
        return
    if scores.shape[1] == 1 or _sum_to_one(scores):
        raise OptionError(
            f"The scores of {file} are probabilities already: on {len(scores)} pictures all lie "
            f"between 0 and 1{'' if scores.shape[1] == 1 else ' and sum to 1'}. Leave out --scores "
            "logits."
        )
    raise _multi_label(scores, file)


def _refuse_ones(scores: Float32Array, file: str | Path, softmax: bool | None) -> None:
    """Refuses a softmax over an axis of one: of a batch of one image, or of the only score."""
    if np.abs(scores - 1).max() > _ONE:
        return
    if scores.shape[1] > 1:
        raise ConversionError(
            f"{file} answers 1 for each label of every picture, as a softmax does over an axis of "
            "one, such as that of the images. Export it with a softmax over the labels' axis."
        )
    if softmax:
        raise ConversionError(
            f"{file} answers 1 to every picture: it ends in a softmax over a single score, which "
            "is always 1. Train it with a sigmoid for one score, or with a softmax over two."
        )


def _refuse_multiples(scores: Float32Array, file: str | Path) -> None:
    """Refuses probabilities times a number: in percent, or in the steps of a byte."""
    sums = scores.sum(axis=1)
    total = float(sums.mean())
    allowed = _SAME_SUM * total
    if (
        scores.shape[1] > 1
        and total > 0
        and scores.min() >= -allowed
        and np.abs(sums - total).max() <= allowed
        and np.ptp(scores, axis=0).max() > allowed  # else it answers all pictures alike
        and abs(total - 1) > _TOLERANCE
    ):
        raise ConversionError(
            f"The scores of {file} are probabilities times {total:.4g}: none is below 0, and those "
            f"of each image sum to {total:.4g}. Export it with probabilities that sum to 1, or "
            "with its logits and --scores logits."
        )


def _are_shares(scores: Float32Array) -> bool:
    return bool(scores.min() >= -_TOLERANCE and scores.max() <= 1 + _TOLERANCE)


def _sum_to_one(scores: Float32Array) -> bool:
    return bool(np.abs(scores.sum(axis=1) - 1).max() <= _TOLERANCE)


def _multi_label(scores: Float32Array, file: str | Path) -> ConversionError:
    sums = scores.sum(axis=1)
    if len(scores) > 1 and np.abs(scores.sum(axis=0) - 1).max() <= _TOLERANCE:
        return ConversionError(
            f"{file} shares 1 among the images that it is given together, for each label, as a "
            "softmax over axis 0 does; expected probabilities of one image that sum to 1. Export "
            "it with a softmax over the last axis."
        )
    return ConversionError(
        f"{file} answers each label by itself, as a multi-label model with sigmoids does: its "
        f"scores lie between 0 and 1 and sum to {sums.min():.2f} to {sums.max():.2f}. An artifact "
        "answers one label of several, by probabilities that sum to 1; train the last layer with a "
        "softmax for that, or run this model by its own engine."
    )
