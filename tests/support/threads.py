"""How many threads the engines of the tests take.

One each: the workers share the CPUs already, and threads that wait for a small network's next step
spin. TensorFlow and OpenBLAS read these when they are first imported, also in child processes.
"""

from __future__ import annotations

import os

ONE_THREAD = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OPENBLAS_NUM_THREADS")


def users_environment() -> dict[str, str]:
    """The variables without those, for what must run as it would for a user."""
    return {name: value for name, value in os.environ.items() if name not in ONE_THREAD}
