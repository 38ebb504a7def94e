"""Keras to ONNX by tf2onnx, and to int8 by ONNX Runtime's static quantiser.

int8 means QDQ: pairs of QuantizeLinear and DequantizeLinear around float operations, which every
engine understands and ONNX Runtime fuses into integer kernels. Weights use seven of their eight
bits (`reduce_range`): CPUs without VNNI add two products in 16 bits, and full-range values
overflow there without a word.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgeclf.converters.base import Converted, Source, Target
from edgeclf.errors import ConversionError, MissingDependencyError
from edgeclf.image import UInt8Array

_OPSET = 18
_INPUT_NAME, _OUTPUT_NAME = "image", "probabilities"
_CALIBRATION_BATCH = 8
_KEPT_IN_FLOAT = ("Softmax",)


def convert_onnx(source: Source, target: Target) -> Converted:
    """Converts to an ONNX model.

    Args:
        source: The model and, for int8, the calibration images.
        target: ``fp32.onnx`` or ``int8.onnx``.

    Returns:
        A model from uint8 [N, H, W, 3] to float32 [N, classes], N free.
    """
    content = _float_onnx(source.model)
    if not target.quantized:
        return Converted(content)
    assert source.calibration is not None
    return _quantize(content, source.calibration)


def _float_onnx(model: Any) -> bytes:
    try:
        import tensorflow as tf
        import tf2onnx
    except ModuleNotFoundError as exc:
        raise MissingDependencyError(exc.name or "tf2onnx", "convert", "ONNX") from None
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8, name=_INPUT_NAME)]
    function = tf.function(lambda image: {_OUTPUT_NAME: model(image, training=False)})
    try:
        proto, _ = tf2onnx.convert.from_function(function, signature, opset=_OPSET)
    except Exception as exc:  # tf2onnx raises whatever its rewriters raise
        raise ConversionError(f"tf2onnx cannot convert this model: {exc}") from exc
    _rename_output(proto, _OUTPUT_NAME)
    return bytes(proto.SerializeToString())


def _rename_output(proto: Any, name: str) -> None:
    """Gives the only output its public name, in the graph and at the node that computes it."""
    (output,) = proto.graph.output
    if output.name == name:
        return
    for node in proto.graph.node:
        node.output[:] = [name if o == output.name else o for o in node.output]
    output.name = name


def _quantize(content: bytes, calibration: UInt8Array) -> Converted:
    try:
        import onnx
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ModuleNotFoundError as exc:
        extra = "onnxruntime" if exc.name == "onnxruntime" else "convert"
        raise MissingDependencyError(exc.name or "onnx", extra, "int8 ONNX") from None
    kept = [n.name for n in onnx.load_from_string(content).graph.node
            if n.op_type in _KEPT_IN_FLOAT]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        original, fused, quantized = (Path(folder) / f"{n}.onnx" for n in ("a", "b", "c"))
        original.write_bytes(content)
        try:
            # Folds BatchNorm into the convolutions, so that they are quantised as one.
            quant_pre_process(original, fused, skip_symbolic_shape=True)
            quantize_static(
                fused,
                quantized,
                _Reader(calibration),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=kept,
            )
        except Exception as exc:  # onnxruntime's errors share no base class below Exception
            raise ConversionError(f"onnxruntime cannot quantise this model: {exc}") from exc
        return Converted(
            quantized.read_bytes(),
            {
                "scheme": "static QDQ, symmetric int8 weights per channel, "
                "uint8 activations per tensor",
                "reduce_range": True,
                "kept_in_float": ["softmax"],
                "calibration": "minimum and maximum",
                "tool": f"onnxruntime {version('onnxruntime')}",
            },
        )


class _Reader:
    """Feeds calibration images to ONNX Runtime, which asks until it is given None."""

    def __init__(self, images: UInt8Array) -> None:
        self._batches = self._iterate(images)

    @staticmethod
    def _iterate(images: UInt8Array) -> Iterator[dict[str, UInt8Array]]:
        for start in range(0, len(images), _CALIBRATION_BATCH):
            yield {_INPUT_NAME: images[start : start + _CALIBRATION_BATCH]}

    def get_next(self) -> dict[str, UInt8Array] | None:
        return next(self._batches, None)
