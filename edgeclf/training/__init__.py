"""The workstation's side: networks, training and distillation, on Keras over TensorFlow."""

from __future__ import annotations

import os

from edgeclf.errors import MissingDependencyError, OptionError

# Both are read when Keras and TensorFlow are first imported; a user's own choice stands.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

try:
    import keras
    import tensorflow  # noqa: F401 - Keras's error for a missing backend names no pip line
except ModuleNotFoundError as exc:
    raise MissingDependencyError(exc.name or "keras", "train", "Training") from None

if keras.backend.backend() != "tensorflow":
    raise OptionError(
        f"Keras runs on {keras.backend.backend()!r}; edgeclf trains on TensorFlow. "
        "Unset KERAS_BACKEND, or set it to tensorflow."
    )
