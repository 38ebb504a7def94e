"""The workstation's side: networks, training and distillation, on Keras over TensorFlow."""

from __future__ import annotations

import ctypes
import os

from edgeclf.errors import MissingDependencyError, OptionError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEEP_BYTES = 1 << 30


def _keep_freed_memory() -> None:
    """Has glibc keep the blocks that a training step frees for the next step.

    By default it returns each large one to the kernel, which then maps and clears it again: a
    sixth of a student's step on two cores. Elsewhere than on glibc, nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)


# Both are read when Keras and TensorFlow are first imported; a user's own choice stands.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

try:
    import keras
    import tensorflow  # noqa: F401 - Keras's error for a missing backend names no pip line
except ModuleNotFoundError as exc:
    raise MissingDependencyError(exc.name or "keras", "train", "Training") from None

_keep_freed_memory()

if keras.backend.backend() != "tensorflow":
    raise OptionError(
        f"Keras runs on {keras.backend.backend()!r}; edgeclf trains on TensorFlow. "
        "Unset KERAS_BACKEND, or set it to tensorflow."
    )
