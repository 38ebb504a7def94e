"""What other tools make of our files is called that, and not damaged or no artifact."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgeclf.artifact import Metadata, load_artifact, save_artifact, seal_artifact
from edgeclf.errors import ArtifactError, IntegrityError
from edgeclf.image import ImageSpec

METADATA = Metadata("mugs", ("white", "black"), ImageSpec(4, 4))


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """The mean of each channel, of which two are classes."""
    onnx = pytest.importorskip("onnx", reason="needs edgeclf[convert]")
    make = onnx.helper
    floats, size = onnx.TensorProto.FLOAT, ["N", 4, 4, 3]
    nodes = [
        make.make_node("Cast", ["image"], ["x"], to=floats),
        make.make_node("Mul", ["x", "scale"], ["y"]),
        make.make_node("ReduceMean", ["y", "axes"], ["z"], keepdims=0),
        make.make_node("MatMul", ["z", "weights"], ["logits"]),
        make.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    graph = make.make_graph(
        nodes, "mugs",
        [make.make_tensor_value_info("image", onnx.TensorProto.UINT8, size)],
        [make.make_tensor_value_info("probabilities", floats, ["N", 2])],
        [make.make_tensor("scale", floats, [], [0.01]),
         make.make_tensor("axes", onnx.TensorProto.INT64, [2], [1, 2]),
         make.make_tensor("weights", floats, [3, 2], range(6))],
    )  # fmt: skip
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9)
    path = save_artifact(
        seal_artifact(model.SerializeToString(), METADATA), tmp_path / "mugs.onnx"
    ).path
    assert path is not None and load_artifact(path).metadata == METADATA
    return path


def refused(path: Path, tool: str) -> None:
    words = f"was an edgeclf artifact, and {tool} has rewritten it: .* convert the model again"
    with pytest.raises(IntegrityError, match=words):
        load_artifact(path)


def test_saved_anew_by_onnx(artifact: Path, tmp_path: Path) -> None:
    import onnx

    onnx.save(onnx.load(artifact), tmp_path / "saved.onnx")
    refused(tmp_path / "saved.onnx", "another tool")
    inside = {"save_as_external_data": True, "size_threshold": 0, "location": "weights"}
    onnx.save(onnx.load(artifact), tmp_path / "outside.onnx", **inside)
    refused(tmp_path / "outside.onnx", "another tool")


def test_converted_to_another_version_by_onnx(artifact: Path, tmp_path: Path) -> None:
    from onnx import load, save, version_converter

    save(version_converter.convert_version(load(artifact), 21), tmp_path / "later.onnx")
    refused(tmp_path / "later.onnx", "another tool")


@pytest.mark.parametrize("file", ["optimised.onnx", "mugs.ort"])
def test_optimised_by_onnxruntime(file: str, artifact: Path, tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime", reason="needs edgeclf[onnxruntime]")
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / file)
    options.log_severity_level = 3
    ort.InferenceSession(artifact, options, providers=["CPUExecutionProvider"])
    refused(tmp_path / file, "ONNX Runtime")


def test_simplified(artifact: Path, tmp_path: Path) -> None:
    onnxsim = pytest.importorskip("onnxsim", reason="needs onnxsim")
    import onnx

    onnx.save(onnxsim.simplify(onnx.load(artifact))[0], tmp_path / "simple.onnx")
    refused(tmp_path / "simple.onnx", "onnxsim")


def test_converted_by_openvino(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino_telemetry", None)  # it would report the import
    openvino = pytest.importorskip("openvino", reason="needs edgeclf[interop]")
    openvino.save_model(openvino.convert_model(artifact), tmp_path / "mugs.xml")
    refused(tmp_path / "mugs.xml", "OpenVINO")


def test_what_drops_all_that_is_ours_leaves_no_artifact(artifact: Path, tmp_path: Path) -> None:
    import onnx

    onnx.utils.extract_model(artifact, tmp_path / "part.onnx", ["image"], ["logits"])
    with pytest.raises(ArtifactError, match="is not an edgeclf artifact"):
        load_artifact(tmp_path / "part.onnx")


def test_a_tflite_file_keeps_a_mark_in_its_standard_metadata(tmp_path: Path) -> None:
    pytest.importorskip("flatbuffers", reason="needs edgeclf[convert]")
    from edgeclf.converters.tflite_metadata import tflite_metadata

    model = b"\x1c\0\0\0TFL3" + bytes(200) + tflite_metadata(METADATA, "image", "probabilities")
    sealed = seal_artifact(model, METADATA)
    assert load_artifact(sealed.content).metadata == METADATA
    (tmp_path / "requantised.tflite").write_bytes(model)
    refused(tmp_path / "requantised.tflite", "another tool")
    for position in (8, 23, 250, len(sealed.content) - 1):  # one flip is damage, wherever it is
        damaged = bytearray(sealed.content)
        damaged[position] ^= 1
        with pytest.raises(IntegrityError, match="bytes have changed"):
            load_artifact(bytes(damaged))
