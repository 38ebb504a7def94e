from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeclf.artifact import Precision
from edgeclf.cli import main
from edgeclf.errors import MeasurementError, OptionError
from edgeclf.measurement import table_run
from edgeclf.measurement.jobs.memory import MemoryJob
from edgeclf.measurement.jobs.probes import ProbesJob, ProbesResult
from edgeclf.measurement.latency_model import LatencyModel, Timed, non_negative
from edgeclf.measurement.latency_table import (
    LatencyTable,
    latency_errors,
    memory_errors,
    read_operator,
    write_operator,
)
from edgeclf.measurement.probe_networks.plan import ProbeLayer, network, random_networks
from edgeclf.measurement.probe_networks.timing import by_layer, probe_artifact, time_network
from edgeclf.measurement.profiler.trace import Step
from edgeclf.metrics.operator_shapes import OperatorShape

PLANS = random_networks(40, 3)
SHAPES = [tuple(layer.shape for layer in plan) for plan in PLANS]


def operator_ms(o: OperatorShape) -> float:
    """An imaginary engine: so much for each operator, each product and each number written."""
    return 0.002 + o.multiply_adds / 4e7 + o.output[0] * o.output[1] * o.output[2] / 1e8


def imagined(shapes: Sequence[OperatorShape]) -> Timed:
    """Its profiler adds 3 microseconds to each operator, which a call does not take."""
    times = tuple(operator_ms(o) for o in shapes)
    return Timed(tuple(shapes), tuple(ms + 0.003 for ms in times), 0.02 + sum(times))


def job_done(job: Any) -> Any:
    """Instead of a process of its own: times from the imaginary engine, and memory by the file."""
    if isinstance(job, MemoryJob):
        pss = 40_000_000 + 2 * Path(job.model).stat().st_size
        return SimpleNamespace(phases={"steady": {"pss_bytes": pss}})
    assert isinstance(job, ProbesJob)
    plans: Any = vars(table_run)["random_networks"](job.count, job.seed)
    found = [imagined([layer.shape for layer in plans[number]]) for number in job.numbers]
    return ProbesResult(tuple(
        {"call_ms": each.call_ms, "operators_ms": list(each.operators_ms), "calls": 9}
        for each in found
    ))  # fmt: skip


@pytest.fixture(scope="module")
def table() -> Iterator[LatencyTable]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_run, "measure", job_done)
        yield table_run.measure_table(["onnx"], threads=1, seconds=1, networks=15)


def test_a_network_is_predicted_from_others() -> None:
    model = LatencyModel([imagined(shapes) for shapes in SHAPES[:30]])
    for shapes in SHAPES[30:]:
        expected = imagined(shapes).call_ms
        assert model.predict_ms(shapes) == pytest.approx(expected, rel=0.06)
    errors = latency_errors([imagined(shapes) for shapes in SHAPES])
    assert errors["networks"] == 40 and errors["median"] < 0.03 and errors["worst"] < 0.1


def test_no_weight_is_negative() -> None:
    rows = np.array([[1.0, 1], [1, 2], [1, 3]])
    assert non_negative(rows, rows @ [2, 0.5]) == pytest.approx([2, 0.5], abs=1e-3)
    assert non_negative(rows, rows @ [3, -0.5])[1] == 0


def test_memory_is_of_a_process_the_file_and_the_tensors() -> None:
    rows = [[size, pair, 40 + 2 * size + pair] for size, pair in
            ((0.1, 0.3), (0.5, 0.2), (1.0, 1.0), (2.0, 0.4), (0.2, 1.5))]  # fmt: skip
    assert memory_errors(rows)["worst"] < 0.01


def test_an_operator_is_one_line_of_the_file() -> None:
    for operator in SHAPES[0]:
        assert read_operator(write_operator(operator)) == operator
    assert write_operator(SHAPES[0][1]).startswith("conv ")
    for text in ("conv 1x1x1", "split 1x1x1 1x1x1 1 1", "conv 1x1x0 1x1x1 1 1"):
        with pytest.raises(ValueError, match=r"unpack|operator|size"):
            read_operator(text)


def test_a_table_is_kept_in_a_file(table: LatencyTable, tmp_path: Path) -> None:
    table.save(tmp_path / "pi.json")
    loaded = LatencyTable.load(tmp_path / "pi.json")
    assert loaded.measured == ("onnx.fp32", "onnx.int8") and loaded.device["threads"] == 1
    for precision in ("int8", "fp32"):
        given: dict[str, Any] = {"format": "onnx", "precision": precision}
        expected = imagined(SHAPES[0]).call_ms
        assert loaded.predict_ms(SHAPES[0], **given) == pytest.approx(expected, rel=0.1)
        memory_mb = loaded.predict_memory_mb(SHAPES[0], 1_000_000, **given)
        assert memory_mb == pytest.approx(42, rel=0.02)
    assert loaded.unlike_here() == []
    assert loaded.errors["onnx.int8"]["latency"]["networks"] == 15
    with pytest.raises(OptionError, match=r"no times of tflite\.int8, only of onnx\.fp32"):
        loaded.predict_ms(SHAPES[0], format="tflite", precision="int8")


def test_a_table_of_another_machine_says_so(table: LatencyTable) -> None:
    device = {**table.device, "cpu": "Cortex-A76"}
    (line,) = LatencyTable({**table.document, "device": device}).unlike_here()
    assert line.startswith("CPU is ") and line.endswith("here, Cortex-A76 there")


def test_another_version_and_damage_are_refused(table: LatencyTable, tmp_path: Path) -> None:
    path = tmp_path / "pi.json"
    whole = json.loads(json.dumps(table.document))
    for document, words in (
        ({**whole, "schema": "edgeclf.latency-table/1"}, "has the schema"),
        ({**whole, "networks": []}, "holds no networks"),
        ({**whole, "device": None}, "damaged"),
        ({**whole, "networks": [{"operators": ["conv"], "times": {}}]}, "damaged"),
        ({**whole, "networks": [{**whole["networks"][0], "operators": []}]}, "damaged"),
    ):
        path.write_text(json.dumps(document))
        with pytest.raises(OptionError, match=words):
            LatencyTable.load(path)
    for text in ('{"schema"', "[" * 100_000):
        path.write_text(text)
        with pytest.raises(OptionError, match="not JSON"):
            LatencyTable.load(path)
    with pytest.raises(OptionError, match="Cannot read"):
        LatencyTable.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        (("device",), {}, "'cpu' is missing"),
        (("device", "threads"), 0, "threads is 0"),
        (("device", "cpu"), None, "no words"),
        (("device", "engines"), [], "of another type"),
        (("networks", 0, "operators", 0), "conv 9x9x3 9x9x3 0 1", "an operator 'conv"),
        (("networks", 0, "times", "onnx.int8", "call_ms"), float("inf"), "call_ms holds inf"),
        (("networks", 0, "times", "onnx.int8", "call_ms"), "1", "call_ms holds '1'"),
        (("networks", 0, "times", "onnx.int8", "operators_ms", 0), -5, "operators_ms holds -5"),
        (("networks", 0, "times", "onnx.int8", "operators_ms", 0), float("nan"), "holds nan"),
        (("networks", 0, "times", "onnx.int8", "operators_ms"), [1], "holds 1 numbers, not"),
        (("memory", "onnx.int8"), 3, "of another type"),
        (("memory", "onnx.int8", 0), [1, 2], "memory holds 2 numbers, not 3"),
        (("memory", "onnx.int8", 0, 2), 0, "memory holds 0"),
    ],
)
def test_a_table_edited_by_hand_is_refused_before_anything_is_predicted(
    where: tuple[Any, ...], value: object, words: str, table: LatencyTable, tmp_path: Path
) -> None:
    document = json.loads(json.dumps(table.document))
    *places, last = where
    part = document
    for place in places:
        part = part[place]
    part[last] = value
    (tmp_path / "pi.json").write_text(json.dumps(document))
    with pytest.raises(OptionError, match=f"pi.json: .*damaged.*({words})"):
        LatencyTable.load(tmp_path / "pi.json")


def test_the_verb_writes_and_prints_a_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime", reason="needs edgeclf[onnxruntime]")
    monkeypatch.setattr(table_run, "measure", job_done)
    monkeypatch.setattr(table_run, "random_networks", lambda count, seed: PLANS[:15])
    out = tmp_path / "pi.json"
    given = ["profile", "--table", "--runtime", "onnxruntime", "--threads", "2", "--out", str(out)]
    assert main(given) == 0
    printed = capsys.readouterr().out
    assert "latency of networks left out is predicted within" in printed
    assert LatencyTable.load(out).device["threads"] == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--table"], "Expected a file"),
        (["--table", "mugs.onnx", "--out", "a.json"], "one of a FILE"),
        ([], "one of a FILE"),
        (["--table", "--out", "a.json", "--threads", "0"], "1 to 1024 threads"),
        (["--table", "--out", "a.json", "--threads", "100000"], "1 to 1024 threads"),
        (["--table", "--out", "a.json", "--runtime", "tensorflow"], "expected litert or"),
    ],
)
def test_what_the_verb_refuses(
    given: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["profile", *given]) == 2
    assert words in capsys.readouterr().err


def test_probe_networks_are_the_same_each_time_and_fit_the_family() -> None:
    assert random_networks(40, 3) == PLANS and random_networks(3, 4) != PLANS[:3]
    for plan in PLANS:
        assert plan[0].shape.kind == "quantize" and plan[-1].shape.kind == "softmax"
        assert sum(layer.shape.multiply_adds for layer in plan) <= 1e8
        for before, layer in pairwise(plan):
            assert layer.shape.input == before.shape.output
            if layer.shape.kind == "add":
                assert layer.shortcut is not None
                assert plan[layer.shortcut].shape.output == layer.shape.input
            if layer.shape.kind in ("conv", "depthwise"):
                assert layer.shape.output[2] % 8 == 0


def small_network() -> tuple[ProbeLayer, ...]:
    blocks = [(3, 1, 8, None), (5, 2, 16, 2.0), (3, 1, 16, 3.0)]
    return tuple(network(33, stem=16, blocks=blocks, head=24, classes=3))


@pytest.mark.parametrize("precision", ["int8", "fp32"])
@pytest.mark.parametrize("format_", ["tflite", "onnx"])
def test_an_engine_runs_a_probe_as_it_is(format_: str, precision: Precision) -> None:
    pytest.importorskip({"tflite": "ai_edge_litert", "onnx": "onnxruntime"}[format_])
    found = time_network(small_network(), format_, precision, threads=1, seconds=0.05)
    assert found["call_ms"] > 0 and found["calls"] >= 2
    assert len(found["operators_ms"]) == len(small_network())


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_both_formats_give_probabilities(precision: Precision) -> None:
    from edgeclf import Classifier

    pixels = np.random.default_rng(0).integers(0, 256, (1, 33, 33, 3), np.uint8)
    for format_, runtime in (("tflite", "litert"), ("onnx", "onnxruntime")):
        pytest.importorskip({"litert": "ai_edge_litert"}.get(runtime, runtime))
        artifact = probe_artifact(small_network(), format_, precision)
        with Classifier(artifact, runtime=runtime, threads=1) as classifier:
            assert classifier.probabilities(pixels).sum() == pytest.approx(1, abs=1e-4)


def test_int8_in_onnx_is_fused_as_it_is_in_ours() -> None:
    pytest.importorskip("onnxruntime", reason="needs edgeclf[onnxruntime]")
    from edgeclf.measurement.profiler.onnxruntime import OnnxRuntimeProfiler

    artifact = probe_artifact(small_network(), "onnx", "int8")
    profiler = OnnxRuntimeProfiler(artifact.content, 1)
    profiler.call_profiled()
    kinds = [step.type for step in profiler.trace().steps]
    assert kinds.count("QLinearConv") == 10 and kinds.count("QLinearAdd") == 1
    assert "Conv" not in kinds and "Add" not in kinds


def test_times_go_to_the_layers_they_belong_to() -> None:
    plan = small_network()
    products = [layer.shape for layer in plan if layer.shape.multiply_adds]
    steps = [Step("Convert", "", None, 0, "XNNPACK")]
    steps += [Step("Convolution", "", "int8", o.multiply_adds, "XNNPACK") for o in products[:-1]]
    steps += [Step("Add (ND)", "", None, 0, "XNNPACK"), Step("Mean", "", None, 0, "XNNPACK"),
              Step("Fully Connected", "", "int8", None, "XNNPACK"),
              Step("Softmax", "", None, 0, "XNNPACK")]  # fmt: skip
    times = [float(number + 1) for number in range(len(steps))]
    found = by_layer(plan, steps, times)
    assert found[0] == 1 and found[1] == 2 and sum(found) == sum(times)
    by_kind = {layer.shape.kind: ms for layer, ms in zip(plan, found, strict=True)}
    end = len(times)
    assert [by_kind[kind] for kind in ("add", "pool", "dense", "softmax")] == [
        end - 3, end - 2, end - 1, end
    ]  # fmt: skip
    with pytest.raises(MeasurementError, match="The engine ran"):
        by_layer(plan, steps[2:], times[2:])
