"""Adds tensors and operators to a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeclf.converters.flatbuffer.tree import schema, text

SIGNATURE = "serving_default"


class Editor:
    """Adds tensors and operators to the only graph of an unpacked model."""

    def __init__(self, tree: Any) -> None:
        self._tree = tree
        (self._graph,) = tree.subgraphs
        self._taken = {text(tensor.name) for tensor in self._graph.tensors}

    def tensor(self, name: str, type_: int, shape: Any) -> int:
        """Adds a tensor, under another name if that one is taken; gives its index."""
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        tensor = schema().TensorT()
        tensor.name, tensor.type, tensor.buffer = name.encode(), type_, 0
        tensor.shape = [int(size) for size in shape]
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def constant(self, name: str, values: Any) -> int:
        """Adds a tensor that is stored in the file, float32 or int32; gives its index."""
        types = {"<f4": schema().TensorType.FLOAT32, "<i4": schema().TensorType.INT32}
        index = self.tensor(name, types[values.dtype.str], values.shape)
        buffer = schema().BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._tree.buffers.append(buffer)
        self._graph.tensors[index].buffer = len(self._tree.buffers) - 1
        return index

    def quantized(self, index: int, scale: float, zero_point: int) -> None:
        """Says that a tensor's integers stand for ``(value - zero_point) * scale``."""
        parameters = schema().QuantizationParametersT()
        parameters.scale, parameters.zeroPoint = [scale], [zero_point]
        self._graph.tensors[index].quantization = parameters

    def first(self, name: str, options: Any, inputs: list[int], output: int) -> None:
        """Puts an operator before all others."""
        self._graph.operators.insert(0, self._operator(name, options, inputs, output))

    def last(
        self, name: str, options: Any, inputs: list[int], output: int, version: int | None = None
    ) -> None:
        """Puts an operator behind all others, of a version that is not the usual one."""
        operator = self._operator(name, options, inputs, output, version)
        self._graph.operators.append(operator)

    def _operator(
        self, name: str, options: Any, inputs: list[int], output: int, version: int | None = None
    ) -> Any:
        operator = schema().OperatorT()
        builtin = getattr(schema().BuiltinOperator, name)
        operator.opcodeIndex = self._opcode_index(builtin, version)
        operator.inputs, operator.outputs = inputs, [output]
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema().BuiltinOptions, kind)
            operator.builtinOptions = options
        return operator

    def _opcode_index(self, builtin: int, version: int | None) -> int:
        codes = self._tree.operatorCodes
        for index, code in enumerate(codes):
            if code.builtinCode == builtin:
                return index
        code = schema().OperatorCodeT()
        code.builtinCode = builtin
        # Of QUANTIZE, 2 has the kernels from one integer type to another; RESHAPE has one version.
        code.version = version or (1 if builtin == schema().BuiltinOperator.RESHAPE else 2)
        codes.append(code)
        return len(codes) - 1

    def sign(self, input_name: str, output_name: str) -> None:
        """Writes the only signature anew, with the graph's input and output as they are."""
        signature = schema().SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = SIGNATURE.encode(), 0
        for field, name, (index,) in (("inputs", input_name, self._graph.inputs),
                                      ("outputs", output_name, self._graph.outputs)):  # fmt: skip
            tensor = schema().TensorMapT()
            tensor.name, tensor.tensorIndex = name.encode(), index
            setattr(signature, field, [tensor])
        self._tree.signatureDefs = [signature]
