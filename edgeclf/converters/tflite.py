"""Keras to TFLite: float by TensorFlow's converter, int8 by litert-quantizer.

The int8 graph takes the photo's bytes as they are. The network without its normalisation is
quantised with an input range of exactly (0 - mean) / std .. (255 - mean) / std, so the input's
own scale 1 / std and zero point are the normalisation; one QUANTIZE operation that flips the sign
bit turns uint8 into int8. The softmax stays in float: in int8 it would round every score to a
multiple of 1/256.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import numpy as np

from edgeclf.artifact import Normalization
from edgeclf.converters.base import Converted, Source, Target
from edgeclf.converters.flatbuffer import lift_quiet_channels, with_uint8_input
from edgeclf.errors import ConversionError, MissingDependencyError
from edgeclf.image import UInt8Array
from edgeclf.training.backbones import part

_SIGNATURE, _INPUT_NAME, _OUTPUT_NAME = "serving_default", "image", "probabilities"


def convert_tflite(source: Source, target: Target) -> Converted:
    """Converts to a TFLite flatbuffer.

    Args:
        source: The model and, for int8, the calibration images.
        target: ``fp32.tflite`` or ``int8.tflite``.

    Returns:
        A model from uint8 [1, H, W, 3] to float32 [1, classes].
    """
    if not target.quantized:
        return Converted(_float_tflite(source.model, "uint8"))
    assert source.calibration is not None
    network = part(source.model, "normalize", "probabilities")
    return _quantize(_float_tflite(network, "float32"), source.normalization, source.calibration)


def _float_tflite(model: Any, input_dtype: str) -> bytes:
    import tensorflow as tf

    shape = (1, *model.input_shape[1:])
    signature = [tf.TensorSpec(shape, input_dtype, name=_INPUT_NAME)]
    module = tf.Module()
    module.variables_of_model = [variable.value for variable in model.variables]
    module.function = tf.function(
        lambda image: {_OUTPUT_NAME: model(image, training=False)}, input_signature=signature
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.function.get_concrete_function()], module
    )
    try:
        return bytes(converter.convert())
    except Exception as exc:  # the converter's errors share no base class below Exception
        raise ConversionError(f"TensorFlow cannot convert this model to TFLite: {exc}") from exc


def _quantize(model: bytes, scheme: Normalization, calibration: UInt8Array) -> Converted:
    samples = [{_INPUT_NAME: _normalized(image[np.newaxis], scheme)} for image in calibration]
    with _quiet():
        ranges = _static_int8(model).calibrate({_SIGNATURE: samples})
        # Not what the photos happened to hold, but what bytes can be: the scale becomes 1 / std.
        extremes = _normalized(np.array([0, 255], np.uint8), scheme)
        span = ranges[f"{_SIGNATURE}_{_INPUT_NAME}:0"]
        for key, value in zip(("min", "max"), extremes, strict=True):
            span[key] = np.full_like(span[key], value)
        engine = _static_int8(lift_quiet_channels(model, ranges))
        quantized = engine.quantize(ranges, enable_progress_report=False).quantized_model
    return Converted(
        with_uint8_input(bytes(quantized), _INPUT_NAME),
        {
            "scheme": "static, symmetric int8 weights per channel, int8 activations per tensor",
            "kept_in_float": ["softmax"],
            "calibration": "moving average of minimum and maximum",
            "tool": f"litert-quantizer {version('litert-quantizer')}",
        },
    )


def _static_int8(model: bytes) -> Any:
    """A quantiser with our recipe: everything in int8 but the softmax and the output."""
    try:
        from litert_quantizer import algorithm_manager, qtyping, quantizer
    except ModuleNotFoundError:
        raise MissingDependencyError("litert_quantizer", "convert", "int8 TFLite") from None
    operation = qtyping.TFLOperationName
    engine = quantizer.Quantizer(bytearray(model))
    engine.add_static_config(
        ".*", operation.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8
    )
    for left_in_float in (operation.SOFTMAX, operation.OUTPUT):
        engine.update_quantization_recipe(
            ".*", left_in_float, algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE
        )
    return engine


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantiser's own progress bars and its interpreter's debugging warnings."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _normalized(values: UInt8Array, scheme: Normalization) -> Any:
    return ((values.astype(np.float32) - scheme.mean) / scheme.std).astype(np.float32)
