"""The multiply-adds of one operator, from the shapes of its tensors.

Counted are the products of convolutions and matrix multiplications, each with the addition that
follows it as one, taps on padding included: the figure that papers on small networks print, 300
million for MobileNetV2 at 224 x 224 (Sandler et al. 2018, table 4). Additions, activations, pooling
and softmax are left out; they are a few per cent of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from edgeclf.errors import MeasurementError

Shapes = Sequence[Sequence[int]]

# What multiplies in a way that is not counted here: an answer without it would be too small.
_UNCOUNTED_TFLITE = {
    "CUSTOM", "WHILE", "IF", "CONV_3D", "CONV_3D_TRANSPOSE", "LSTM", "RNN", "SVDF",
    "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_LSTM",
    "BIDIRECTIONAL_SEQUENCE_RNN",
}  # fmt: skip
_UNCOUNTED_ONNX = {"Einsum", "LSTM", "GRU", "RNN", "Loop", "If", "Scan", "Attention"}
# Where a quantised ONNX operator has its second factor; in the others it is input 1.
_ONNX_CONV = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}
_ONNX_PRODUCT = ("MatMul", "FusedMatMul", "MatMulInteger", "MatMulIntegerToFloat",
                 "DynamicQuantizeMatMul", "QLinearMatMul")  # fmt: skip
_ONNX_GEMM = ("Gemm", "FusedGemm", "QGemm")


def tflite_multiply_adds(kind: str, inputs: Shapes, outputs: Shapes) -> int:
    """Counts them in a TFLite operator.

    Args:
        kind: Its name, as ``CONV_2D``.
        inputs: Shapes of its inputs; [] for one left out.
        outputs: Shapes of its outputs.

    Raises:
        MeasurementError: It multiplies in a way that is not counted.
    """
    if kind in _UNCOUNTED_TFLITE:
        raise _uncounted(kind)
    if kind == "CONV_2D":  # weights [O, rows, columns, I / groups]
        return prod(outputs[0]) * prod(inputs[1][1:])
    if kind == "DEPTHWISE_CONV_2D":  # weights [1, rows, columns, O]
        return prod(outputs[0]) * prod(inputs[1][1:3])
    if kind == "FULLY_CONNECTED":  # weights [O, I]
        return prod(outputs[0]) * inputs[1][-1]
    if kind == "TRANSPOSE_CONV":  # output shape, weights [O, rows, columns, I], input
        return prod(inputs[2]) * prod(inputs[1][:3])
    if kind == "BATCH_MATMUL":
        # The first factor is [..., rows, depth] or its transpose, the output [..., rows, n].
        return prod(outputs[0]) * (prod(inputs[0][-2:]) // outputs[0][-2])
    return 0


def onnx_multiply_adds(kind: str, inputs: Shapes, outputs: Shapes) -> int:
    """Counts them in an ONNX operator, or in one that ONNX Runtime fused from several.

    Args:
        kind: Its name, as ``Conv``.
        inputs: Shapes of its inputs; [] for one that is not known, which may be of no matter.
        outputs: Shapes of its outputs, likewise.

    Raises:
        MeasurementError: It multiplies in a way that is not counted, or a shape that is needed is
            open.
    """

    def known(shapes: Shapes, index: int) -> Sequence[int]:
        shape = shapes[index] if index < len(shapes) else ()
        if not shape or 0 in shape:
            raise MeasurementError(
                f"Multiply-adds cannot be counted: the graph leaves a shape of a {kind} open."
            )
        return shape

    if kind in _UNCOUNTED_ONNX:
        raise _uncounted(kind)
    if kind in _ONNX_CONV:  # weights [O, I / groups, rows, columns]
        return prod(known(outputs, 0)) * prod(known(inputs, _ONNX_CONV[kind])[1:])
    if kind == "ConvTranspose":  # weights [I, O / groups, rows, columns]
        return prod(known(inputs, 0)) * prod(known(inputs, 1)[1:])
    if kind in _ONNX_GEMM:  # the first factor is [rows, depth] or its transpose
        return known(outputs, 0)[-1] * prod(known(inputs, 0))
    if kind in _ONNX_PRODUCT:
        return prod(known(outputs, 0)) * known(inputs, 0)[-1]
    return 0


def _uncounted(kind: str) -> MeasurementError:
    return MeasurementError(f"Multiply-adds cannot be counted: the graph has {kind} in it.")
