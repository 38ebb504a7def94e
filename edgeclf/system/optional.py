"""Packages that an engine imports if it finds them, left out where nobody will use them.

Keras imports pandas, scikit-learn, matplotlib and OpenCV for data frames, wrappers and plots: a
third of its start and 170 MB (`benchmarks/waiting.py`). A verb needs none of that. In a user's own
process Keras is imported whole, as the user may.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

_in_verb: list[bool] = []


@contextlib.contextmanager
def running_a_verb() -> Iterator[None]:
    """While this lasts, the process is a verb's: `left_out` leaves out."""
    _in_verb.append(True)
    try:
        yield
    finally:
        _in_verb.pop()


@contextlib.contextmanager
def left_out(*packages: str) -> Iterator[None]:
    """Whoever imports one of the packages in this block is told that it is not installed.

    Only in a verb, see `running_a_verb`, and only those that are not imported yet. Afterwards all
    can be imported.
    """
    hidden = [name for name in packages if _in_verb and name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: not to be found
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
