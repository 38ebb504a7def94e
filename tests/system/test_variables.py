from __future__ import annotations

import pytest

from edgeclf.system.environment import environment
from edgeclf.system.variables import measured_variables, variables_in_force

GIVEN = {
    "PATH": "/bin",
    "HOME": "/home/somebody",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "KMP_BLOCKTIME": "0",
    "TF_NUM_INTRAOP_THREADS": "1",
    "PYTHONOPTIMIZE": "2",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONPATH": "/home/somebody/src",
    "OPENBLAS_CORETYPE": "ARMV8",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "1",
    "LD_PRELOAD": "/usr/lib/libjemalloc.so",
    "ORT_DISABLE_TELEMETRY": "1",
}


def test_counts_of_threads_and_switches_of_python_do_not_reach_a_measurement() -> None:
    cleared = GIVEN.keys() - measured_variables(GIVEN).keys()
    assert cleared == {
        "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "KMP_BLOCKTIME",
        "TF_NUM_INTRAOP_THREADS", "PYTHONOPTIMIZE", "PYTHONDONTWRITEBYTECODE",
    }  # fmt: skip


def test_what_decides_and_stays_is_recorded_without_a_path() -> None:
    assert variables_in_force(GIVEN) == [
        "CUDA_VISIBLE_DEVICES=1",
        "LD_PRELOAD",
        "OPENBLAS_CORETYPE=ARMV8",
        "PYTHONPATH",
        "TF_ENABLE_ONEDNN_OPTS=0",
    ]


def test_the_environment_of_a_figure_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = environment()["variables"]
    assert "TF_ENABLE_ONEDNN_OPTS=0" in found and "OMP_NUM_THREADS=1" not in found
