from __future__ import annotations

import ctypes
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeclf
from edgeclf import ImageSpec, Metadata
from edgeclf.artifact import save_artifact, seal_artifact
from edgeclf.cli import main
from edgeclf.errors import ArtifactError, IntegrityError, MeasurementError, OptionError
from edgeclf.measurement.jobs.profile import ProfileResult
from edgeclf.measurement.profiler import litert, roofline
from edgeclf.measurement.profiler.profile import describe_operators
from edgeclf.measurement.profiler.trace import Step, quiet_means
from edgeclf.metrics.multiply_adds import onnx_multiply_adds
from edgeclf.metrics.tflite_graph import TFLiteOperator
from edgeclf.profile import Operator, _sentences

MUGS_MULTIPLY_ADDS = 23_597_760  # as tests/test_compare.py counts them in every conversion
DEPTHWISE = TFLiteOperator(
    "DEPTHWISE_CONV_2D", "dw", ((1, 8, 8, 4), (1, 3, 3, 4)), ((1, 8, 8, 4),), ("INT8", "INT8"), 0
)
DENSE = TFLiteOperator("FULLY_CONNECTED", "fc", ((1, 4), (2, 4)), ((1, 2),), ("INT8", "INT8"), 0)


@pytest.mark.parametrize("name", ["int8.tflite", "dynamic.tflite", "fp32.onnx", "int8.onnx"])
def test_every_operator_is_timed_and_counted(model_folder: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "profile.json"
    found = edgeclf.profile(model_folder / f"mugs.{name}", threads=1, seconds=0.2, out=out)
    assert sum(o.multiply_adds or 0 for o in found.operators) == MUGS_MULTIPLY_ADDS
    assert sum(o.share for o in found.operators) == pytest.approx(1)
    assert sum(o.ms for o in found.operators) == pytest.approx(found.operators_ms)
    assert found.operators_ms < found.profiled_ms
    for operator in found.operators:
        if operator.multiply_adds:
            assert operator.name and operator.arithmetic in found.peaks
    record = json.loads(out.read_text())
    assert record["schema"] == "edgeclf.profile/1" and record["precision"] == name.split(".")[0]
    assert record["file"] == f"mugs.{name}" and record["sentences"] == list(found.sentences)
    assert len(record["operators"]) == len(found.operators)
    assert record["environment"]["cpu"] and record["calls"] >= 4
    assert record["cpus_left"] is None or record["cpus_left"] > 0


def test_channels_that_a_layout_rounds_up_are_not_counted() -> None:
    """ONNX Runtime computes blocks of 8 or 16 channels; the model has 20 and 12 of them."""
    onnx = pytest.importorskip("onnx", reason="needs edgeclf[convert]")
    pytest.importorskip("onnxruntime", reason="needs edgeclf[onnxruntime]")
    from edgeclf.measurement.profiler.onnxruntime import OnnxRuntimeProfiler

    rng = np.random.default_rng(0)
    sizes = {"first": (20, 3, 3, 3), "second": (12, 20, 1, 1)}
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Conv", ["image", "first"], ["a"], "a", pads=[1, 1, 1, 1]),
            onnx.helper.make_node("Relu", ["a"], ["b"]),
            onnx.helper.make_node("Conv", ["b", "second"], ["c"], "c"),
        ],
        "two", [onnx.helper.make_tensor_value_info("image", 1, [1, 3, 8, 8])],
        [onnx.helper.make_tensor_value_info("c", 1, [1, 12, 8, 8])],
        [onnx.numpy_helper.from_array(rng.normal(size=size).astype(np.float32), name)
         for name, size in sizes.items()],
    )  # fmt: skip
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9
    )
    profiler = OnnxRuntimeProfiler(model.SerializeToString(), 1)
    profiler.call_profiled()
    counts = [step.multiply_adds for step in profiler.trace().steps if step.type == "Conv"]
    assert counts == [8 * 8 * 20 * 27, 8 * 8 * 12 * 20]


def test_what_is_off_the_fast_path_is_told(model_folder: Path, tmp_path: Path) -> None:
    from support import tflite_models

    int8 = edgeclf.profile(model_folder / "mugs.int8.tflite", threads=1, seconds=0.1)
    assert {o.by for o in int8.operators} == {"XNNPACK"}
    metadata = Metadata("beside", ("a", "b", "c"), ImageSpec(*tflite_models.SIZE), "int8")
    beside = seal_artifact(tflite_models.model(quantized=True), metadata)
    path = save_artifact(beside, tmp_path / "beside.int8.tflite").path
    foreign = edgeclf.profile(path, threads=1, seconds=0.1)  # XNNPACK makes no int8 of uint8
    assert [o.type for o in foreign.operators if "not delegated" in o.notes] == ["QUANTIZE"]
    assert f"1 of {len(foreign.operators)} operators run outside XNNPACK" in foreign.sentences[1]
    dynamic = edgeclf.profile(model_folder / "mugs.dynamic.tflite", threads=1, seconds=0.1)
    assert {o.by for o in dynamic.operators} == {"XNNPACK"}
    onnx = edgeclf.profile(model_folder / "mugs.int8.onnx", threads=1, seconds=0.1)
    notes = {o.type: o.notes for o in onnx.operators}
    assert notes["DequantizeLinear"] == ("converts",) and notes["Transpose"] == ("transposes",)
    assert notes["QLinearConv"] == ()


def test_a_model_from_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ai_edge_litert")
    path, out = tmp_path / "product.tflite", tmp_path / "profile.json"
    path.write_bytes(roofline.tflite_product("fp32"))
    words = ["profile", str(path), "--threads", "1", "--seconds", "0.1", "--top", "1", "--out"]
    assert main([*words, str(out)]) == 0
    record = json.loads(out.read_text())
    assert record["precision"] is None
    (product,) = (o for o in record["operators"] if o["multiply_adds"])
    assert product["multiply_adds"] == roofline.PRODUCT and product["arithmetic"] == "fp32"
    printed = capsys.readouterr().out
    assert "Fully Connected (NC, F32) GEMM" in printed and "67.1 million" in printed
    assert "a call without it" in printed and printed.splitlines()[-1] == str(out)


def test_what_cannot_be_profiled_is_refused(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ArtifactError, match=r"of \.tflite and \.onnx files; received .*mugs\.keras"
    ):
        edgeclf.profile(model_folder / "mugs.keras")
    with pytest.raises(ArtifactError, match="Cannot read"):
        edgeclf.profile(tmp_path / "absent.tflite")
    for options in ({"runtime": "onnxruntime"}, {"threads": 0}, {"seconds": 0.0}):
        with pytest.raises(OptionError, match="Expected runtime 'litert'"):
            edgeclf.profile(model_folder / "mugs.int8.tflite", **options)  # type: ignore[arg-type]
    damaged = bytearray((model_folder / "mugs.int8.tflite").read_bytes())
    damaged[5000] ^= 1
    (tmp_path / "damaged.tflite").write_bytes(damaged)
    with pytest.raises(IntegrityError):
        edgeclf.profile(tmp_path / "damaged.tflite")
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(MeasurementError, match="onnxruntime cannot load this model"):
        edgeclf.profile(tmp_path / "empty.onnx")


def test_a_litert_without_a_profiler_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ai_edge_litert")

    def refuse(path: str) -> Any:
        raise OSError(path)

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    with pytest.raises(MeasurementError, match=r"2\.2 or later: pip install"):
        litert.LiteRTProfiler(b"", 1)


def test_control_flow_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ai_edge_litert")
    inner = dataclasses.replace(DENSE, graph=1)
    monkeypatch.setattr(litert, "read_operators", lambda _: [DEPTHWISE, inner])
    with pytest.raises(MeasurementError, match="several graphs"):
        litert.LiteRTProfiler(b"", 1)


def step(type_: str, count: int | None = 0, arithmetic: Any = None, by: str = "XNNPACK") -> Step:
    return Step(type_, "", arithmetic, count, by)


def test_operators_are_held_against_the_peak_of_their_arithmetic() -> None:
    steps = [
        step("QUANTIZE", by="LiteRT's own kernels"),
        step("Convolution (NHWC, QC8) IGEMM", 2_000_000, "int8"),
        step("Convolution (NHWC, F32) IGEMM", 1_000_000, "fp32"),
        step("Fully Connected (NC, F16) GEMM", 1_000_000, "fp16"),
        step("Convolution (NHWC, QC8) DWConv", 768, "int8"),
        step("Deconvolution (NHWC, QC8)", None, "int8"),
    ]
    peaks = {"int8": {"gmacs_per_s": 80.0}, "fp32": {"gmacs_per_s": 40.0}}
    times = [0.05, 0.1, 0.1, 0.1, 0.0005, 0.1495]
    rows = describe_operators(steps, times, peaks, "XNNPACK")
    assert [r["gmacs_per_s"] for r in rows] == pytest.approx([None, 20, 10, 10, None, None])
    assert [r["share_of_peak"] for r in rows] == pytest.approx([None, 0.25, 0.25, None, None, None])
    assert [r["notes"] for r in rows] == [
        ["not delegated", "converts"], [], ["in float"], ["in float"], [], [],
    ]  # fmt: skip
    assert rows[1]["share"] == pytest.approx(0.2)


def test_the_finding_names_what_matters() -> None:
    def operator(type_: str, ms: float, count: int | None, *notes: str) -> Operator:
        by = "own" if "not delegated" in notes else "XNNPACK"
        return Operator(type_, "", by, ms, ms / 2, "int8", count, None, None, notes)

    runtime = {"fast_path": "XNNPACK", "threads": 1}
    engines = {"litert": 25.0, "onnxruntime": 50.0}
    peaks = {"int8": {"gmacs_per_s": 50.0, "engine": "onnxruntime", "engines": engines}}
    operators = [
        operator("QUANTIZE", 0.5, 0, "not delegated", "converts"),
        operator("GEMM", 0.75, 25_000_000),
        operator("GEMM", 0.75, 25_000_000),
    ]

    def words(given: list[Operator], ms: float = 2.0, rates: Any = peaks, left: Any = 1.0) -> Any:
        found = ProfileResult(runtime, 10, left, {"plain": ms}, rates, ())
        return list(_sentences(given, found))

    assert words(operators) == [
        "75% of the time is in 2 GEMM.",
        "1 of 3 operators run outside XNNPACK: 1 QUANTIZE (25% of the time).",
        "Conversions between types: 1, 25.0% of the time.",
        "At this CPU's peak (int8 50.0 GMAC/s by onnxruntime, 25.0 by litert) its 50.0 million "
        "multiply-adds would take 1.000 ms, 50% of the 2.000 ms a call takes.",
    ]
    assert "cannot be told" in words([*operators, operator("CUSTOM", 0.0, None)])[-1]
    assert "whose peak is not measured" in words(operators, rates={})[-1]
    assert "2.00 times a call: the profiler" in words(operators, 1.0)[-1]
    assert "50% of a call is in no operator" in words(operators, 4.0)[-1]
    assert "busy: 0.6 CPUs were left for 1 thread." in words(operators, left=0.6)[-1]
    assert words(operators, left=None) == words(operators)
    in_parts = [
        each for pair in zip(operators[1:], [operators[0]] * 2, strict=True) for each in pair
    ]
    assert "parts" not in " ".join(words(in_parts))
    assert "XNNPACK gets the graph in 3 parts" in words([*in_parts, operators[1]])[2]


def test_disturbed_calls_are_left_out_with_all_their_operators() -> None:
    quiet = np.array([[1.0, 3.0], [1.1, 3.1], [0.9, 2.9], [1.0, 3.0]])
    disturbed = np.array([[50.0, 3.0], [1.0, 90.0]])
    means = quiet_means(np.concatenate([quiet, disturbed]))
    assert means == pytest.approx([2.9 / 3, 8.9 / 3])  # of the first four, but the slowest
    assert quiet_means(np.array([[2.0], [2.0]])) == pytest.approx([2.0])


def test_xnnpacks_operators_find_those_of_the_file_or_none() -> None:
    dw, gemm = "Convolution (NHWC, QC8) DWConv", "Fully Connected (NC, QS8, QC8W) GEMM"
    found = litert._match(["Static Reshape (NC)", dw, "Add (ND)", gemm], [DEPTHWISE, DENSE])
    assert found is not None and [o.name for o in found] == ["dw", "fc"]
    assert litert._match([gemm, dw], [DEPTHWISE, DENSE]) is None  # another order
    assert litert._match([gemm], [DEPTHWISE, DENSE]) is None  # two in one
    assert litert._xnnpack_arithmetic(gemm) == "int8"
    assert litert._xnnpack_arithmetic("Fully Connected (NC, QD8, F32, QC8W)") == "int8"
    assert litert._xnnpack_arithmetic("Fully Connected (NC, QDU8, F32, QC8W) GEMM") == "int8"
    assert litert._xnnpack_arithmetic("Fully Connected (NC, F32, QC8W) GEMM") == "fp32"
    assert litert._xnnpack_arithmetic("Convolution (NHWC, F16) IGEMM") == "fp16"


def test_fused_onnx_operators_are_counted() -> None:
    image, kernel, answer = (1, 8, 8, 3), (4, 3, 3, 3), (1, 8, 8, 4)
    quantised = [image, (), (), kernel, (), (), (), ()]
    assert onnx_multiply_adds("QLinearConv", quantised, [answer]) == 8 * 8 * 4 * 27
    assert onnx_multiply_adds("QGemm", [(2, 5), (), ()], [(2, 7)]) == 2 * 5 * 7
    assert onnx_multiply_adds("Gemm", [(5, 2)], [(2, 7)]) == 2 * 5 * 7  # transposed
    assert onnx_multiply_adds("MatMulIntegerToFloat", [(1, 4, 5)], [(1, 4, 6)]) == 4 * 5 * 6
    with pytest.raises(MeasurementError, match="leaves a shape of a Conv open"):
        onnx_multiply_adds("Conv", [image, ()], [answer])


def test_the_peaks_models_multiply_matrices() -> None:
    rng = np.random.default_rng(1)
    interpreter_module = pytest.importorskip("ai_edge_litert.interpreter")
    onnxruntime = pytest.importorskip("onnxruntime")
    weights = roofline._weights("float64").T
    integers = rng.integers(0, 256, (roofline.ROWS, roofline.DEPTH)).astype(np.uint8)
    floats = rng.random((roofline.ROWS, roofline.DEPTH), np.float32)

    def by_onnxruntime(kind: Any, given: Any) -> Any:
        return onnxruntime.InferenceSession(roofline.onnx_product(kind)).run(None, {"a": given})[0]

    def by_litert(kind: Any, given: Any) -> Any:
        interpreter = interpreter_module.Interpreter(model_content=roofline.tflite_product(kind))
        interpreter.allocate_tensors()
        interpreter.set_tensor(0, given)
        interpreter.invoke()
        return interpreter.get_tensor(2)

    assert np.array_equal(by_onnxruntime("int8", integers), integers @ weights)
    signed = integers.view(np.int8)
    expected = np.clip(np.round((signed @ weights) * 0.02), -128, 127)  # one scale for all
    assert np.abs(by_litert("int8", signed) - expected).max() <= 1
    for run_product in (by_onnxruntime, by_litert):
        np.testing.assert_allclose(run_product("fp32", floats), floats @ weights, rtol=1e-3, atol=1)


def test_the_verb_does_not_hide_pythons_own_profilers() -> None:
    for words in (["-m", "edgeclf.profile"], ["-m", "cProfile", "-m", "edgeclf.profile"]):
        done = subprocess.run(
            [sys.executable, *words, "--help"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 and "usage: edgeclf profile" in done.stdout, done.stderr
    code = "import edgeclf.profile, profile; assert profile.Profile.runcall"
    subprocess.run([sys.executable, "-c", code], check=True)
