"""Brightness, contrast and sharpness of pictures, of as many as the time for it lets."""

from __future__ import annotations

from random import random
from time import thread_time

import numpy as np

from edgeclf.image import UInt8Array
from edgeclf.trust.reference import picture_statistics

_BUDGET_S = 20e-6  # a picture, on average
_SMOOTHING = 0.05


class Looker:
    """Called by the workers on what a model gets; may be shared by threads.

    Which pictures are looked at is left to chance, so that no pattern in the stream is missed or
    met each time. At 96x96 it is about every fourth.
    """

    def __init__(self) -> None:
        self.cost_s = _BUDGET_S  # of one look; that a thread's update is lost does no harm

    def __call__(self, tensor: UInt8Array) -> dict[str, float] | None:
        """Statistics by name of a picture uint8 [H, W, 3]; None if it was not looked at."""
        if random() * self.cost_s > _BUDGET_S:
            return None
        start = thread_time()
        found = {n: float(v[0]) for n, v in picture_statistics(tensor[np.newaxis]).items()}
        self.cost_s += _SMOOTHING * (thread_time() - start - self.cost_s)
        return found
