"""What `benchmarks/students.py` plans and makes of its rows, without teaching anything."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edgeclf.artifact import load_artifact
from support import REPOSITORY

SETTINGS = [f"{runtime}, {threads}" for runtime in ("litert", "onnxruntime")
            for threads in ("1 thread", "2 threads")]  # fmt: skip


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("edgeclf.converters")
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    yield importlib.import_module("students")
    for name in ("students", "student_networks", "student_training", "student_plot", "shared"):
        sys.modules.pop(name, None)


def taught(network: str, seed: int, top1: float, size: int = 300_000) -> dict[str, Any]:
    file = {"top1": top1, "size_bytes": size, "metadata_bytes": 100_000}
    return {
        "network": network, "seed": seed, "cpu_s": 50.0, "parameters": 100_000,
        "views": 8, "epochs": 3, "keras": {"top1": top1}, "tflite": file, "onnx": file,
    }  # fmt: skip


def judged(top1: float) -> dict[str, Any]:
    return {"top1": top1, "images": 240}


def times(ms: float) -> dict[str, dict[str, list[float]]]:
    return {
        setting: {call: [ms * (1 + n / 100) for n in range(6)] for call in ("call_ms", "answer_ms")}
        for setting in SETTINGS
    }


def test_passes_are_never_more_than_the_cpu_time_allows(script: ModuleType) -> None:
    training = importlib.import_module("student_training")
    for passes in range(1, 200):
        views, epochs = training.plan(passes)
        assert 1 <= views <= training.VIEWS and passes - epochs < views * epochs <= passes
    assert training.plan(24) == (8, 3), "the present student is taught as 'edgeclf distill' does"


def test_a_teacher_is_judged_by_its_own_order_of_classes(
    script: ModuleType, model_folder: Path, mugs: Path, tmp_path: Path
) -> None:
    """Also where no ``labels.txt`` lies beside the photos."""
    shutil.copytree(mugs / "eval", tmp_path / "eval")
    teacher = load_artifact(model_folder / "mugs.fp32.tflite")
    assert list(teacher.metadata.labels) != sorted(teacher.metadata.labels)
    found = script.teacher_of({"data": str(tmp_path), "teacher": str(teacher.path)})
    known = (teacher.metadata.accuracy or {})["artifact"]
    assert found == known and found["images"] == 24


def test_figures_tell_where_a_peer_is_not_beaten(script: ModuleType, tmp_path: Path) -> None:
    networks = importlib.import_module("student_networks")
    peers = ("mobilenet-v2-0.35", "mcunet")
    accuracies = {
        networks.PRESENT: 0.98, networks.HALF: 0.978, networks.SAME: 0.99, peers[0]: 0.95,
        peers[1]: 0.995,
    }  # fmt: skip
    latencies = {
        networks.PRESENT: 1.0,
        networks.HALF: 0.4,
        networks.SAME: 0.9,
        peers[0]: 0.5,
        peers[1]: 2.0,
    }
    rows = [
        taught(name, seed, top1 + seed / 1000, 120_000 if name == networks.HALF else 300_000)
        for seed in range(3)
        for name, top1 in accuracies.items()
    ]
    lines = script.summarize(
        "mugs", rows, {n: times(ms) for n, ms in latencies.items()}, judged(1.0)
    )
    figures = {figure.what: figure for figure in script.figures_of(lines)}
    half, same = f"mugs, {networks.HALF}", f"mugs, {networks.SAME}"
    assert figures[f"{half}: a call of the present student's, litert, 1 thread"].value == (
        pytest.approx(0.4)
    )
    assert figures[f"{half}: size of the tflite of the present student's"].value == 0.4
    above = figures[f"{half}: int8 onnx top-1 above the present student's, points"]
    assert above.value == pytest.approx(-0.2) and above.met
    closed = figures[f"{same}: of the present student's gap to the teacher closed, onnx"]
    assert closed.value == pytest.approx(0.01 / 0.019) and closed.met
    front = figures["mugs: peers that one of ours is ahead of, litert"]
    assert (front.value, front.met) == (1, False) and front.note == "not ahead of MCUNet"


def test_the_page_shows_a_row_for_each_network(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    monkeypatch.syspath_prepend(str(REPOSITORY / "tools"))
    table = importlib.import_module("student_table")
    rows = [taught("student", 0, 0.98), taught("mcunet", 0, 0.97)]
    latency = {"student": times(0.5), "mcunet": times(0.7)}
    document = {
        "rows": script.summarize("mugs", rows, latency, judged(0.996)),
        "environment": {"cpu": "a", "cpus_available": 2, "kernel": "6", "commit": "c",
                        "command": "python"},
        "method": "as said",
    }  # fmt: skip
    (tmp_path / "students.a.2cpu.json").write_text(json.dumps(document))
    page = table.students(tmp_path)
    assert "mugs, judged by 240 photos, teacher 99.6 %" in page
    mcunet = next(line for line in page.splitlines() if "MCUNet" in line)
    assert "litert, onnxruntime" in mcunet and "0.71" in mcunet
