"""The temperature that makes a file's confidence as high as it is right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeclf.artifact import Precision
from edgeclf.inference.confidence import Floats

# ln T is expected to be 0 within this standard deviation: where the photos hold few errors, and so
# say little, T stays near 1; with a hundred it no longer counts. Of 0.35 to 1.5, this one had the
# least loss on the other halves of the photos of two mugs students.
_PRIOR_SD = 0.7
_RANGE = (np.log(0.05), np.log(20))  # of ln T
_NATS = 12.0  # what is less likely than the best by so much does not count
_FLOOR = 1e-12
_INTEGER_FLOOR = 2.0**-9  # half a step of an int8 softmax


@dataclass(frozen=True)
class Temperature:
    """A temperature and what it rests on.

    Attributes:
        value: What log-probabilities are divided by; below 1 the model is surer than it said.
        interval_95: Where it lies with 95 % probability.
        photos: How many it was fitted to.
        wrong: How many of them were answered wrong, which carry most of what is known of it.
    """

    value: float
    interval_95: tuple[float, float]
    photos: int
    wrong: int


def floor_of(precision: Precision) -> float:
    """The smallest probability that is told from 0."""
    return _INTEGER_FLOOR if precision == "int8-full" else _FLOOR


def fit_temperature(
    probabilities: Floats, targets: npt.NDArray[np.integer], floor: float = _FLOOR
) -> Temperature:
    """The T of greatest posterior density, by the likelihood of the right classes.

    A model's logits are its log-probabilities up to a constant, so the softmax suffices. Errors
    decide how large T must be; without any, the likelihood alone would send T to 0 and every
    confidence to 1, so ln T has a normal prior around 0. Its interval is that of the posterior.

    Args:
        probabilities: [N, classes], as the model gives them.
        targets: [N], the right classes.
        floor: Smaller probabilities count as this one.
    """
    logs = np.log(np.maximum(np.asarray(probabilities, np.float64), floor))
    logs -= logs.max(axis=1, keepdims=True)
    right = logs[np.arange(len(logs)), targets]
    wide = np.linspace(*_RANGE, 121)
    losses = _posterior(logs, right, wide)
    near = wide[losses < losses.min() + _NATS]
    step = wide[1] - wide[0]
    fine = np.linspace(near[0] - step, near[-1] + step, 201)
    losses = _posterior(logs, right, fine)
    density = np.exp(losses.min() - losses)
    share = (density.cumsum() - density / 2) / density.sum()
    low, high = np.exp(np.interp((0.025, 0.975), share, fine))
    return Temperature(
        float(np.exp(fine[losses.argmin()])),
        (float(low), float(high)),
        len(logs),
        int((logs.argmax(axis=1) != targets).sum()),
    )


def mean_loss(
    probabilities: Floats, targets: npt.NDArray[np.integer], temperature: float, floor: float
) -> float:
    """The mean negative log-likelihood of the right classes at a temperature."""
    logs = np.log(np.maximum(np.asarray(probabilities, np.float64), floor))
    logs -= logs.max(axis=1, keepdims=True)
    return _loss(logs, logs[np.arange(len(logs)), targets], temperature) / len(logs)


def _posterior(logs: Floats, right: Floats, each: Floats) -> Floats:
    """The negative logarithm of the posterior at each ln T, up to a constant."""
    losses = [_loss(logs, right, float(np.exp(log))) for log in each]
    found: Floats = np.array(losses) + each**2 / (2 * _PRIOR_SD**2)
    return found


def _loss(logs: Floats, right: Floats, temperature: float) -> float:
    return float((np.log(np.exp(logs / temperature).sum(axis=1)) - right / temperature).sum())
