"""Tiny ONNX classifiers of 8x8 pictures, built by hand in the shapes that exporters give them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = 3
SIZE = 8


def weights(dtype: Any = np.float32) -> list[Any]:
    """A convolution's and a dense layer's, for inputs of 0 to 255."""
    rng = np.random.default_rng(0)
    kernel = (rng.normal(size=(4, 3, 3, 3)) / 255).astype(dtype)
    bias = rng.normal(size=4).astype(dtype)
    dense = rng.normal(size=(4, CLASSES)).astype(dtype)
    return [
        numpy_helper.from_array(values, name)
        for name, values in (("kernel", kernel), ("bias", bias), ("dense", dense))
    ]


def nodes(given: str = "x", answer: str = "y", softmax: str = "Softmax") -> list[Any]:
    """Convolution, ReLU, pooling, dense layer and softmax."""
    return [
        helper.make_node("Conv", [given, "kernel", "bias"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten", axis=1),
        helper.make_node("MatMul", ["f", "dense"], ["logits"], "dense"),
        helper.make_node(softmax, ["logits"], [answer], "softmax"),
    ]


def model(
    nodes_: list[Any] | None = None,
    *,
    inputs: list[Any] | None = None,
    outputs: list[Any] | None = None,
    initializers: list[Any] | None = None,
    opset: int = 17,
    others: dict[str, int] | None = None,
    **fields: Any,
) -> Any:
    """A model from "x" float32 [N, 3, 8, 8] to "y" [N, 3], or as it is said."""
    graph = helper.make_graph(
        nodes() if nodes_ is None else nodes_,
        "g",
        inputs or [tensor("x", ["N", 3, SIZE, SIZE])],
        outputs or [tensor("y", ["N", CLASSES])],
        weights() if initializers is None else initializers,
    )
    opsets = [helper.make_opsetid(*each) for each in {"": opset, **(others or {})}.items()]
    made = helper.make_model(graph, opset_imports=opsets, **fields)
    made.ir_version = min(made.ir_version, 3 if opset < 9 else 8)
    if made.ir_version < 4:  # all constants are inputs there
        for each in made.graph.initializer:
            made.graph.input.append(tensor(each.name, each.dims, each.data_type))
    onnx.checker.check_model(made)
    return made


def tensor(name: str, shape: Any, kind: int = TensorProto.FLOAT) -> Any:
    """An input or output."""
    return helper.make_tensor_value_info(name, kind, shape)
