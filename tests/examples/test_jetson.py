"""examples/jetson, on the CPU."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import edgeclf
from support.example_scripts import start, words


def test_on_the_cpu_it_tells_the_first_call_from_the_later_ones(
    model_folder: Path, photos: list[Path]
) -> None:
    pytest.importorskip("onnxruntime")
    model = model_folder / "mugs.fp32.onnx"
    done = start("jetson", model, *photos[:2], "--device", "cpu", "--calls", 20)
    assert done.returncode == 0 and done.stderr == ""
    runtime, provider, *answers, load, first, later = done.stdout.splitlines()
    assert runtime.startswith("runtime   onnxruntime (onnxruntime ")
    assert runtime.endswith("the usual runtime of .onnx files")
    assert provider == "provider  CPUExecutionProvider on cpu"
    with edgeclf.Classifier(model) as classifier:
        for photo, line in zip(photos[:2], answers, strict=True):
            assert line == f"{photo}: {words(classifier.classify(photo), 1)}"
    assert re.fullmatch(r"load +[\d.]+ ms", load)
    assert re.fullmatch(r"first +[\d.]+ ms inference", first)
    assert re.fullmatch(r"later +[\d.]+ ms inference, median of 20", later)


def test_cuda_is_what_runs_or_an_error(model_folder: Path, photos: list[Path]) -> None:
    pytest.importorskip("onnxruntime")
    from edgeclf.runtimes.onnxruntime import OnnxRuntime

    if "CUDAExecutionProvider" in OnnxRuntime.import_engine().get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    done = start("jetson", model_folder / "mugs.fp32.onnx", photos[0])
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("jetson.py: The installed onnxruntime has no CUDAExecutionProvider")
