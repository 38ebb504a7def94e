"""Importing an engine that is larger than what is used of it.

Keras imports pandas, scikit-learn, matplotlib and OpenCV, where they are installed, for data
frames, wrappers and plots: a third of its start and 200 MB. A verb needs none of that; in a user's
own process Keras is imported whole. Python looks for garbage among all that was imported again and
again meanwhile, which is a fifth of what is left.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from types import ModuleType

_NOT_FOR_KERAS = ("cv2", "matplotlib", "pandas", "sklearn")

_verbs: list[str] = []


@contextlib.contextmanager
def running_a_verb() -> Iterator[None]:
    """While this lasts, the process is a verb's."""
    _verbs.append("running")
    try:
        yield
    finally:
        _verbs.pop()


@contextlib.contextmanager
def importing(*, without: tuple[str, ...] = ()) -> Iterator[None]:
    """Imports what is imported in this block with less work.

    Args:
        without: Packages. In a verb, whoever imports one of them in this block is told that it is
            not installed; afterwards it can be imported, and where it has been before, it stays.
    """
    hidden = [name for name in without if _verbs and name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: not to be found
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        if collects:
            gc.enable()
        if _verbs:
            gc.freeze()  # modules last as long as the process: they need not be looked through


def import_keras() -> tuple[ModuleType, ModuleType]:
    """The modules tensorflow and keras, set up before the first import of either.

    Raises:
        ModuleNotFoundError: One is not installed.
    """
    from edgeclf.system.quiet import import_quietly  # every verb's start would pay for it

    # Both are read at the first import; a user's own choice stands.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with importing(without=_NOT_FOR_KERAS):
        return import_quietly("tensorflow"), import_quietly("keras")
