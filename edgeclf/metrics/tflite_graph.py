"""The operators of a TFLite file, read with what ai-edge-litert brings along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TFLiteOperator:
    """One operator of a graph.

    Attributes:
        kind: Its name, as ``CONV_2D``.
        name: The name of its first output.
        inputs: Shapes of its inputs; () for one left out.
        outputs: Shapes of its outputs.
        types: Types of its inputs, as ``INT8``; "" for one left out.
        graph: The index of its graph in the file; 0 is the one that is run.
    """

    kind: str
    name: str
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]
    types: tuple[str, ...]
    graph: int


def read_operators(model: bytes) -> list[TFLiteOperator]:
    """Reads the operators in the order they stand in, without their weights.

    Args:
        model: A flatbuffer, or an artifact that begins with one.

    Raises:
        ImportError: ai-edge-litert is not installed.
    """
    from ai_edge_litert import schema_py_generated as schema

    file = schema.Model.GetRootAs(model, 0)
    kinds, types = _names(schema.BuiltinOperator), _names(schema.TensorType)

    def describe(graph: Any, index: int, number: int) -> TFLiteOperator:
        operator = graph.Operators(index)
        code = file.OperatorCodes(operator.OpcodeIndex())
        inputs = [operator.Inputs(i) for i in range(operator.InputsLength())]
        outputs = [operator.Outputs(i) for i in range(operator.OutputsLength())]
        # Older writers know only the narrow field, newer ones fill both.
        kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        name = graph.Tensors(outputs[0]).Name() or b"" if outputs else b""
        return TFLiteOperator(
            kinds.get(kind, str(kind)),
            name.decode(errors="replace"),
            tuple(_shape(graph, tensor) for tensor in inputs),
            tuple(_shape(graph, tensor) for tensor in outputs),
            tuple(types[graph.Tensors(t).Type()] if t >= 0 else "" for t in inputs),
            number,
        )

    graphs = [file.Subgraphs(number) for number in range(file.SubgraphsLength())]
    return [
        describe(graph, index, number)
        for number, graph in enumerate(graphs)
        for index in range(graph.OperatorsLength())
    ]


def _shape(graph: Any, tensor: int) -> tuple[int, ...]:
    if tensor < 0:
        return ()
    found = graph.Tensors(tensor)
    return tuple(int(found.Shape(i)) for i in range(found.ShapeLength()))


def _names(enumeration: Any) -> dict[int, str]:
    return {v: key for key, v in vars(enumeration).items() if isinstance(v, int)}
