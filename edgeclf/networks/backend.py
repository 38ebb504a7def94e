"""Keras over TensorFlow, for the workstation's modules: set up before its first import, or refused.

They import `keras`, its `layers` and `ops`, and `tf` from here, so that none of them can be the
first to import Keras without its settings, and a missing package is told with the pip line.
"""

from __future__ import annotations

from edgeclf.errors import MissingDependencyError, OptionError
from edgeclf.system.lean import import_keras

try:
    import_keras()
    import keras
    import tensorflow as tf  # Keras's error for a missing backend names no pip line
    from keras import layers, ops
except ModuleNotFoundError as exc:
    raise MissingDependencyError(exc.name or "keras", "train", "Training") from None

if keras.backend.backend() != "tensorflow":
    raise OptionError(
        f"Keras runs on {keras.backend.backend()!r}; edgeclf trains on TensorFlow. "
        "Unset KERAS_BACKEND, or set it to tensorflow."
    )

__all__ = ["keras", "layers", "ops", "tf"]
