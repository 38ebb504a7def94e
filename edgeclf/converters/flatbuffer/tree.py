"""A TFLite flatbuffer as a tree of objects, and what its fields mean."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

import numpy as np

from edgeclf.errors import ConversionError, MissingDependencyError

INTEGERS = {"INT8": np.int8, "UINT8": np.uint8, "INT16": np.int16, "INT32": np.int32}
STORED = {**INTEGERS, "FLOAT16": np.float16, "FLOAT32": np.float32}

_FILE_IDENTIFIER = b"TFL3"
_LARGEST_OLD_CODE = 127  # PLACEHOLDER_FOR_GREATER_OP_CODES, where one byte does not hold the code


@cache
def schema() -> Any:
    """The module of TFLite's tables and enumerations.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        return importlib.import_module("ai_edge_litert.schema_py_generated")
    except ModuleNotFoundError:
        raise MissingDependencyError("ai_edge_litert", "convert", "Editing TFLite") from None


def unpack(model: bytes) -> Any:
    """The flatbuffer as a tree of objects, all weights in it.

    Large weights may lie behind the flatbuffer, found by offset; packing a tree again would
    move them, so they are taken in.
    """
    tree = schema().ModelT.InitFromPackedBuf(model, 0)
    for buffer in tree.buffers:
        if buffer.offset and buffer.offset > 1:
            content = model[buffer.offset : buffer.offset + buffer.size]
            buffer.data = np.frombuffer(content, np.uint8)
            buffer.offset = buffer.size = 0
    return tree


def unpack_graph(model: bytes) -> tuple[Any, Any]:
    """The tree, and the only graph in it.

    Raises:
        ConversionError: There is another number of graphs.
    """
    tree = unpack(model)
    if len(tree.subgraphs) != 1:
        raise ConversionError(
            f"The TFLite model has {len(tree.subgraphs)} graphs (control flow); expected one."
        )
    return tree, tree.subgraphs[0]


def pack(tree: Any) -> bytes:
    """The tree as a flatbuffer.

    Each operator's code is written in the field of today and in the one of a byte before it, which
    OpenVINO and tf2onnx read first. litert-quantizer leaves that at 0, which means ADD.

    Equal zero points are written once. A weight has one of 8 bytes for each of its channels, all 0,
    and so has its bias: a tenth of a small network's file.
    """
    for code in tree.operatorCodes or []:
        code.deprecatedBuiltinCode = min(code.builtinCode, _LARGEST_OLD_CODE)
    builder = _sharing_builder()
    builder.Finish(tree.Pack(builder), _FILE_IDENTIFIER)
    return bytes(builder.Output())


def _sharing_builder() -> Any:
    """A builder that writes equal vectors of int64, which are zero points, in one place."""
    import flatbuffers

    class Sharing(flatbuffers.Builder):
        def __init__(self) -> None:
            super().__init__(1024)
            self._written: dict[bytes, int] = {}

        def CreateNumpyVector(self, values: Any) -> int:  # noqa: N802  # the library's name
            if values.dtype != np.int64:
                return int(super().CreateNumpyVector(values))
            content = values.tobytes()
            if content not in self._written:
                self._written[content] = int(super().CreateNumpyVector(values))
            return self._written[content]

    return Sharing()


def operator_name(tree: Any, operator: Any) -> str:
    """The name of an operator's kind, as ``CONV_2D``."""
    code = tree.operatorCodes[operator.opcodeIndex].builtinCode
    return _name_of(schema().BuiltinOperator, code)


def type_name(type_: int) -> str:
    """The name of a tensor's type, as ``FLOAT32``."""
    return _name_of(schema().TensorType, type_)


def _name_of(enumeration: Any, value: int) -> str:
    names: dict[int, str] = {v: key for key, v in vars(enumeration).items() if isinstance(v, int)}
    return names.get(value, str(value))


def text(value: Any) -> str:
    """A name in the tree, which holds them as bytes, or None for an empty one."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")


def stored_values(tree: Any, tensor: Any) -> Any:
    """The float32 values of a tensor that is stored in the file, in one row."""
    return np.frombuffer(np.asarray(tree.buffers[tensor.buffer].data).tobytes(), "<f4")


def scales_of(tensor: Any) -> list[float]:
    """What a tensor's integers are multiplied by: one number, or one a channel; [] for no scale."""
    quantization = tensor.quantization
    return [] if quantization is None or quantization.scale is None else list(quantization.scale)


def stored_floats(tree: Any, tensor: Any) -> Any:
    """What a stored tensor stands for, float32 in its shape; None for another type, or none."""
    data = tree.buffers[tensor.buffer].data
    kind = STORED.get(type_name(tensor.type))
    if data is None or kind is None:
        return None
    values = np.frombuffer(np.asarray(data).tobytes(), kind).reshape(tensor.shape)
    if scales := scales_of(tensor):
        shape = [1] * values.ndim
        if len(scales) > 1:
            shape[tensor.quantization.quantizedDimension] = len(scales)
        zero_points = np.reshape(tensor.quantization.zeroPoint, shape)
        values = (values.astype(np.float32) - zero_points) * np.reshape(scales, shape)
    return values.astype(np.float32)
