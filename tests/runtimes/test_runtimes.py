"""The runtimes that come with edgeclf: which is taken, and that none stands in for another."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeclf
from edgeclf.artifact import load_artifact
from edgeclf.errors import MissingDependencyError, RuntimeLoadError
from edgeclf.image import load_image
from edgeclf.inference.classifier import Classifier
from edgeclf.runtimes import Device, runtime_names
from edgeclf.runtimes.fake import fake_artifact


def test_auto_goes_by_format_and_says_so(model_folder: Path) -> None:
    with Classifier(model_folder / "mugs.int8.tflite", threads=1) as classifier:
        info = classifier.describe()
    assert info.name == "litert" and info.reason == "the usual runtime of .tflite files"


def test_auto_takes_another_runtime_where_the_usual_one_is_missing(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeclf.runtimes import choice

    def missing(name: str) -> None:
        raise MissingDependencyError("onnxruntime", "onnxruntime", "Running an .onnx model")

    monkeypatch.setattr(choice, "import_runtime", missing)
    monkeypatch.setattr(choice, "runtimes_for", lambda format_: ("other",))
    found = choice.choose_runtime(load_artifact(model_folder / "mugs.int8.onnx"), "cpu")
    assert found.runtime == "other" and "onnxruntime is not installed" in found.reason
    monkeypatch.setattr(choice, "runtimes_for", lambda format_: ())
    with pytest.raises(MissingDependencyError, match=r"pip install 'edgeclf\[onnxruntime\]'"):
        choice.choose_runtime(load_artifact(model_folder / "mugs.int8.onnx"), "cpu")


def test_an_unknown_runtime_lists_the_known_ones() -> None:
    with pytest.raises(RuntimeLoadError, match=r"no runtime 'tpu'.*litert"):
        Classifier(fake_artifact(["a", "b"]), runtime="tpu")
    assert set(runtime_names()) >= {"fake", "litert", "onnxruntime", "tensorflow"}


@pytest.mark.parametrize(
    ("file", "runtime"), [("mugs.int8.onnx", "litert"), ("mugs.int8.tflite", "onnxruntime"),
                          ("mugs.int8.tflite", "tensorflow")]
)  # fmt: skip
def test_a_runtime_refuses_another_format(model_folder: Path, file: str, runtime: str) -> None:
    with pytest.raises(RuntimeLoadError, match="loads "):
        Classifier(model_folder / file, runtime=runtime)


@pytest.mark.parametrize("file", ["mugs.int8.tflite", "mugs.fp32.onnx", "mugs.keras"])
def test_cuda_is_never_replaced_by_the_cpu(model_folder: Path, file: str) -> None:
    try:
        classifier = Classifier(model_folder / file, device="cuda")
    except RuntimeLoadError as exc:
        assert "cuda" in str(exc).lower()
    else:
        assert classifier.describe().device == "cuda"


@pytest.mark.parametrize("device", ["gpu", "npu"])
def test_an_accelerator_is_never_replaced_by_the_cpu(model_folder: Path, device: Device) -> None:
    try:
        classifier = Classifier(model_folder / "mugs.fp32.tflite", device=device)
    except RuntimeLoadError as exc:
        assert device.upper() in str(exc) and "device='cpu'" in str(exc)
    else:
        assert classifier.describe().device == device


def test_a_missing_engine_names_the_pip_line(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def missing(name: str, *args: object) -> object:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    artifacts = {n: load_artifact(model_folder / n) for n in ("mugs.int8.tflite", "mugs.int8.onnx")}
    from edgeclf.runtimes import import_runtime

    for name in ("litert", "onnxruntime"):
        import_runtime(name)
    monkeypatch.setattr("edgeclf.runtimes.litert.importlib.import_module", missing)
    from edgeclf.runtimes.litert import LiteRTRuntime
    from edgeclf.runtimes.onnxruntime import OnnxRuntime

    with pytest.raises(MissingDependencyError, match=r"pip install 'edgeclf\[litert\]'"):
        LiteRTRuntime(artifacts["mugs.int8.tflite"])
    with pytest.raises(MissingDependencyError, match=r"pip install 'edgeclf\[onnxruntime\]'"):
        OnnxRuntime(artifacts["mugs.int8.onnx"])
    assert importlib.import_module is missing
    assert issubclass(MissingDependencyError, ImportError)


def test_onnxruntime_is_kept_from_reporting_to_its_maker(model_folder: Path) -> None:
    """Its uploader is a thread that starts at import: there must be none."""
    program = (
        "import os; from edgeclf.runtimes import import_runtime; import_runtime('onnxruntime'); "
        "assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'; "
        "print(len(os.listdir('/proc/self/task')))"
    )
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    bare = subprocess.run(
        [sys.executable, "-c", "import os, numpy; print(len(os.listdir('/proc/self/task')))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == bare.stdout


def test_the_compiled_model_interface_of_litert_answers_alike(
    model_folder: Path, mugs: Path
) -> None:
    """The one with accelerators, run here on the CPU."""
    from edgeclf.runtimes.litert import _CompiledModel

    artifact = load_artifact(model_folder / "mugs.fp32.tflite")
    photo = load_image(next((mugs / "eval").rglob("*.jpg")), artifact.metadata.image)
    compiled = _CompiledModel("CPU", artifact.content)
    with Classifier(artifact) as classifier:
        expected = classifier.classify(photo).probabilities
    assert compiled.invoke(photo[np.newaxis]) == pytest.approx(expected, abs=1e-5)


def test_onnxruntimes_threads_do_not_spin_between_calls(model_folder: Path) -> None:
    """By the CPU time of a process between its calls, and as describe() says it."""
    program = (
        "import sys, time, numpy as np\n"
        "from edgeclf import Classifier\n"
        "from edgeclf.runtimes.onnxruntime import OnnxRuntime\n"
        "images, waiting = np.zeros((1, 96, 96, 3), np.uint8), 'as the engine does'\n"
        "if sys.argv[2] == 'bare':\n"
        "    options = OnnxRuntime.import_engine().SessionOptions()\n"
        "    options.intra_op_num_threads = 2\n"
        "    session = OnnxRuntime.import_engine().InferenceSession(sys.argv[1], options)\n"
        "    call = lambda: session.run(None, {'image': images})\n"
        "else:\n"
        "    classifier = Classifier(sys.argv[1], runtime=sys.argv[2], threads=2)\n"
        "    call = lambda: classifier.probabilities(images)\n"
        "    waiting = classifier.describe().waiting\n"
        "spent = 0.0\n"
        "for _ in range(20):\n"
        "    call()\n"
        "    spent -= time.process_time()\n"
        "    time.sleep(0.02)\n"
        "    spent += time.process_time()\n"
        "print(spent / 20 * 1e3, waiting)\n"
    )
    found = {}
    for name in ("onnxruntime", "onnxruntime-spinning", "bare"):
        done = subprocess.run(
            [sys.executable, "-c", program, model_folder / "mugs.int8.onnx", name],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        ms, _, waiting = done.stdout.strip().partition(" ")
        found[waiting] = float(ms)
    bare = found.pop("as the engine does")
    assert found.keys() == {"sleeping", "spinning within a call"}
    assert max(found.values()) < 3.0 < bare, "of 20 ms between two calls"


def test_onnxruntime_gives_back_what_a_much_larger_batch_took(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeclf.runtimes.onnxruntime import OnnxRuntime

    runtime = OnnxRuntime(load_artifact(model_folder / "mugs.int8.onnx"), threads=1)
    session, given_back = runtime._session, []

    class Recorder:
        def run(self, names: object, inputs: dict[str, np.ndarray], rule: Any) -> Any:
            key = "memory.enable_memory_arena_shrinkage"
            given_back.append(rule is not None and rule.get_run_config_entry(key) == "cpu:0")
            return session.run(names, inputs, rule)

    runtime._session = Recorder()
    expected = runtime.run(np.zeros((1, 96, 96, 3), np.uint8))
    for count in (16, 3, 0, 1, 1, 8, 1, 1):
        rows = runtime.run(np.zeros((count, 96, 96, 3), np.uint8))
        assert np.array_equal(rows, np.repeat(expected, count, axis=0))
    small_after_large = [False, False, False, True, False, False, False, True, False]
    assert given_back == small_after_large


@pytest.mark.parametrize("module", ["converters", "measurement", "runtimes"])
def test_sessions_are_made_in_one_place(module: str) -> None:
    """So that none spins where another process waits, or takes CPUs that it was not given."""
    made = [
        path.name
        for path in (Path(edgeclf.__file__).parent / module).rglob("*.py")
        if re.search(r"\bSessionOptions\(|\bInferenceSession\(", path.read_text())
    ]
    assert made == (["onnxruntime.py"] if module == "runtimes" else [])
