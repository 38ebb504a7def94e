"""What a TFLite file holds beside its weights is held once, and named shortly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeclf.artifact import load_artifact

schema = pytest.importorskip(
    "ai_edge_litert.schema_py_generated", reason="needs edgeclf[litert]"
)  # fmt: skip


def test_equal_zero_points_are_written_once(model_folder: Path) -> None:
    content = load_artifact(model_folder / "mugs.int8.tflite").content
    graph = schema.Model.GetRootAs(content, 0).Subgraphs(0)
    places: dict[bytes, set[int]] = {}
    vectors = 0
    for index in range(graph.TensorsLength()):
        quantization = graph.Tensors(index).Quantization()
        if quantization is not None and quantization.ZeroPointLength() > 1:
            values = quantization.ZeroPointAsNumpy()
            at = values.__array_interface__["data"][0]
            places.setdefault(values.tobytes(), set()).add(at)
            vectors += 1
    assert vectors > len(places) > 1
    assert all(len(found) == 1 for found in places.values())


def test_each_tensor_has_a_short_name_of_its_own(model_folder: Path) -> None:
    for precision in ("int8", "fp32"):
        content = load_artifact(model_folder / f"mugs.{precision}.tflite").content
        graph = schema.Model.GetRootAs(content, 0).Subgraphs(0)
        names = [graph.Tensors(index).Name().decode() for index in range(graph.TensorsLength())]
        assert len({*names}) == len(names)
        assert {"image"} < {*names}
        for name in names:
            _, _, behind = name.partition(";")
            assert not behind or behind.isdecimal(), name
        computed = {
            names[output]
            for index in range(graph.OperatorsLength())
            for output in np.atleast_1d(graph.Operators(index).OutputsAsNumpy())
        }
        assert not [name for name in computed if ";" in name]
