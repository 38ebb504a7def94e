"""Environment variables that decide a figure: those that a measured process gets, and does not.

A measurement says how many threads and which CPUs it takes, so a count that lies about in the
environment must not decide behind its back, and neither must a switch that slows Python down. What
chooses hardware or code, such as `CUDA_VISIBLE_DEVICES` or `OPENBLAS_CORETYPE`, without which some
boards cannot run at all, is the user's word: it stays, and is recorded beside the figure.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

# Beginnings of names.
_CLEARED = (
    "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "GOTO_", "BLIS_", "VECLIB_", "NUMEXPR_",
    "TF_NUM_", "PYTHON",
)  # fmt: skip
_KEPT = (  # all the same
    "OPENBLAS_CORETYPE", "MKL_ENABLE_INSTRUCTIONS", "PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE",
    "PYTHONNOUSERSITE", "PYTHONSAFEPATH", "PYTHONPYCACHEPREFIX", "PYTHONUTF8", "PYTHONIOENCODING",
    "PYTHONHASHSEED",
)  # fmt: skip
_RECORDED = (
    "TF_", "TFLITE_", "LITERT_", "XNN", "XLA_", "ORT_", "ONEDNN_", "DNNL_", "CUDA_", "CUDNN_",
    "NVIDIA_", "MALLOC_", "GLIBC_TUNABLES", "OPENBLAS_CORETYPE", "MKL_ENABLE_INSTRUCTIONS",
    "LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME",
)  # fmt: skip
_NO_FIGURE = ("TF_CPP_", "ORT_DISABLE_TELEMETRY")  # what edgeclf sets, or is about printing


def measured_variables(given: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a process that is measured.

    Args:
        given: All variables; by default those of this process.
    """
    given = os.environ if given is None else given
    return {
        name: value
        for name, value in given.items()
        if not name.startswith(_CLEARED) or name.startswith(_KEPT)
    }


def variables_in_force(given: Mapping[str, str] | None = None) -> list[str]:
    """What is set of those that decide a figure and that a measured process gets.

    Args:
        given: All variables; by default those of this process.

    Returns:
        ``NAME=value``, sorted; ``NAME`` alone where the value names a path, as a result tells of
        no user's folders.
    """
    return [
        name if os.sep in value else f"{name}={value}"
        for name, value in sorted(measured_variables(given).items())
        if name.startswith(_RECORDED) and not name.startswith(_NO_FIGURE)
    ]
