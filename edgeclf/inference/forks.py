"""What a fork leaves of an engine: nothing that may be used, or even freed."""

from __future__ import annotations

import os
import weakref
from typing import Any

from edgeclf.errors import InferenceError

_LIVE: weakref.WeakSet[Any] = weakref.WeakSet()


def mark_after_fork(classifier: Any) -> None:
    """Lets a classifier's `forked` be set in every child that this process is forked into."""
    _LIVE.add(classifier)


def check_process(forked: bool) -> None:
    """Refuses to use an engine in a child of the process that loaded it.

    Raises:
        InferenceError: It is one.
    """
    if forked:
        raise InferenceError(
            "This classifier was loaded before the process was forked, and its engine's "
            "threads did not come along. Build the Classifier in the child (with gunicorn: in "
            "post_fork, without --preload), or start processes with 'spawn'."
        )


def _after_fork() -> None:
    """In a forked child: marks what it inherited, and keeps it from ever being freed.

    Freeing an engine waits for its threads, which a fork does not copy; ONNX Runtime then hangs as
    the child ends.
    """
    import ctypes

    for classifier in _LIVE:
        classifier.forked = True
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(classifier._runtime))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
