"""The operators that a Keras network becomes in a converted file, and how large that file is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from edgeclf.artifact import Format, Precision
from edgeclf.errors import OptionError
from edgeclf.metrics.operator_shapes import OperatorShape
from edgeclf.networks.backend import keras
from edgeclf.networks.builder import normalization_of
from edgeclf.trust.certificate import most_jpeg_bytes, most_png_bytes

Shape = tuple[int, int, int]

# What a converter folds into the operator before it, and what only training has.
_FOLDED = {"BatchNormalization", "ReLU", "Dropout", "SpatialDropout2D", "InputLayer"}
_CLIPS = {"relu", "relu6", "linear"}

# Of the file, in bytes. Of a number in a kernel by precision; a channel of a quantised layer also
# has a scale and a zero point, of its kernel and of its biases.
_NUMBER_BYTES = {"fp32": 4, "int8": 1}
_CHANNEL_BYTES = {"tflite": {"fp32": 4, "int8": 13}, "onnx": {"fp32": 4, "int8": 17}}
_OPERATOR_BYTES = {"tflite": {"fp32": 320, "int8": 580}, "onnx": {"fp32": 380, "int8": 1_400}}
# Beside the model: labels, provenance and statistics; four golden images as PNG and a JPEG, which
# use so much of what they may; and the novelty's basis.
_RECORD_BYTES = 15_000
_PNGS, _PNG_BYTES_PER_PIXEL, _SHARE = 4, 1.5, 0.85
_BASIS_BYTES_PER_FEATURE = 44
_BASE64 = 4 / 3


def operators_of(model: keras.Model) -> tuple[OperatorShape, ...]:
    """What an engine runs of a network, in order.

    Args:
        model: A network in the frame of `edgeclf.networks.builder.build_classifier`, of
            convolutions, depthwise ones, BatchNorm, ReLU and additions.

    Returns:
        Its operators, with what conversion folds into them.

    Raises:
        OptionError: It has a layer that a latency table does not know.
    """
    found: list[OperatorShape] = []
    for layer in _in_order(model):
        found += _operators(model, layer)
    return tuple(found)


def size_bytes_of(model: keras.Model, precision: Precision, format: Format) -> int:
    """About how large the sealed artifact of a network becomes.

    The model itself is predicted within some per cent. Beside it lies what edgeclf seals with it:
    from some 45 kB at 80 pixels a side up to 90 kB, most of that the certificate's golden photos,
    whose size depends on the photos.

    Args:
        model: As for `operators_of`.
        precision: ``int8`` or ``fp32``.
        format: ``tflite`` or ``onnx``.

    Raises:
        OptionError: It has a layer that a latency table does not know, or the precision or format
            is another.
    """
    return artifact_bytes(operators_of(model), precision, format)


def artifact_bytes(
    operators: tuple[OperatorShape, ...], precision: Precision, format: Format
) -> int:
    """`size_bytes_of` a network that has not been built, by its operators."""
    rows, columns, _ = operators[0].input
    png = min(_PNG_BYTES_PER_PIXEL * rows * columns, _SHARE * most_png_bytes(rows, columns))
    features = next((o.output[2] for o in operators if o.kind == "pool"), 0)
    sealed = _RECORD_BYTES + _BASE64 * (_PNGS * png + _SHARE * most_jpeg_bytes(rows, columns))
    return round(model_bytes(operators, precision, format) + sealed
                 + _BASIS_BYTES_PER_FEATURE * features)  # fmt: skip


def model_bytes(operators: tuple[OperatorShape, ...], precision: Precision, format: Format) -> int:
    """About how large the model of those operators is, without what edgeclf seals with it.

    Raises:
        OptionError: The precision is not int8 or fp32, or the format not tflite or onnx.
    """
    if precision not in _NUMBER_BYTES or format not in _CHANNEL_BYTES:
        raise OptionError(
            f"Precision is {precision!r} and format {format!r}; expected int8 or fp32, and tflite "
            "or onnx, whose sizes are known."
        )
    number, channel = _NUMBER_BYTES[precision], _CHANNEL_BYTES[format][precision]
    return sum(
        o.weights * number + o.biases * channel + _OPERATOR_BYTES[format][precision]
        for o in operators
    )


def _in_order(model: keras.Model) -> Iterator[Any]:
    """The layers in the order they run; each is used once."""
    network = getattr(model, "_functional", None) or model  # of a Sequential one
    if not hasattr(network, "_nodes_by_depth"):
        raise _unknown(model, "is no functional network")
    depths = sorted(network._nodes_by_depth, reverse=True)
    nodes = [node for depth in depths for node in network._nodes_by_depth[depth]]
    layers = [node.operation for node in nodes]
    for layer in layers:
        if layers.count(layer) > 1:
            raise _unknown(layer, "is used more than once")
        yield layer


def _operators(model: keras.Model, layer: Any) -> list[OperatorShape]:
    kind = type(layer).__name__
    if kind == "Activation":
        kind = {"softmax": "Softmax"}.get(_activation(layer), "ReLU")
    if kind in _FOLDED:
        _check_clip(layer)
        return []
    if kind not in _KNOWN:
        raise _unknown(layer, f"is a {kind}")
    given = layer.input[0] if isinstance(layer.input, list) else layer.input
    at, made = _shape(layer, given), _shape(layer, layer.output)
    found = [_KNOWN[kind](layer, at, made)]
    if kind == "Rescaling":
        mean = normalization_of(model).mean if layer.name == "normalize" else 0.5
        if isinstance(mean, tuple) or not float(mean).is_integer():
            raise _unknown(layer, "is no normalisation that an int8 input holds by itself")
    elif kind in ("Conv2D", "DepthwiseConv2D", "Dense"):
        if kind == "Dense" and _activation(layer) == "softmax":
            found.append(OperatorShape("softmax", made, made))
        else:
            _check_clip(layer)
    return found


def _quantize(layer: Any, at: Shape, made: Shape) -> OperatorShape:
    return OperatorShape("quantize", at, made)


def _conv(layer: Any, at: Shape, made: Shape) -> OperatorShape:
    kernel, stride = _square(layer)
    if layer.groups != 1:
        raise _unknown(layer, f"has {layer.groups} groups")
    return OperatorShape("conv", at, made, kernel, stride)


def _depthwise(layer: Any, at: Shape, made: Shape) -> OperatorShape:
    kernel, stride = _square(layer)
    if layer.depth_multiplier != 1:
        raise _unknown(layer, f"has a depth multiplier of {layer.depth_multiplier}")
    return OperatorShape("depthwise", at, made, kernel, stride)


def _add(layer: Any, at: Shape, made: Shape) -> OperatorShape:
    shapes = {_shape(layer, tensor) for tensor in layer.input}
    if len(layer.input) != 2 or len(shapes) != 1:
        raise _unknown(layer, "adds others than two tensors of one shape")
    return OperatorShape("add", at, made)


def _pool(layer: Any, at: Shape, made: Shape) -> OperatorShape:
    return OperatorShape("pool", at, made)


def _dense(layer: Any, at: Shape, made: Shape) -> OperatorShape:
    return OperatorShape("dense", at, made)


def _softmax(layer: Any, at: Shape, made: Shape) -> OperatorShape:
    return OperatorShape("softmax", at, made)


_KNOWN: dict[str, Callable[[Any, Shape, Shape], OperatorShape]] = {
    "Rescaling": _quantize,
    "Conv2D": _conv,
    "DepthwiseConv2D": _depthwise,
    "Add": _add,
    "GlobalAveragePooling2D": _pool,
    "Dense": _dense,
    "Softmax": _softmax,
}


def _square(layer: Any) -> tuple[int, int]:
    """The one kernel size and the one stride of a convolution."""
    kernels, strides = set(layer.kernel_size), set(layer.strides)
    if len(kernels) > 1 or len(strides) > 1 or set(layer.dilation_rate) != {1}:
        raise _unknown(layer, "is not square, or dilated")
    return int(kernels.pop()), int(strides.pop())


def _check_clip(layer: Any) -> None:
    """That what follows a product is nothing, ReLU or ReLU6, which cost nothing."""
    if getattr(layer, "negative_slope", 0) or _activation(layer) not in _CLIPS:
        raise _unknown(layer, f"activates by {_activation(layer)}")


def _activation(layer: Any) -> str:
    function = getattr(layer, "activation", None)
    return "linear" if function is None else str(function.__name__)


def _shape(layer: Any, tensor: Any) -> Shape:
    sizes = tuple(tensor.shape[1:])
    if None in sizes or len(sizes) not in (1, 3):
        raise _unknown(layer, f"has the shape {tuple(tensor.shape)}")
    return (1, 1, int(sizes[0])) if len(sizes) == 1 else (
        int(sizes[0]), int(sizes[1]), int(sizes[2])
    )  # fmt: skip


def _unknown(layer: Any, what: str) -> OptionError:
    return OptionError(
        f"The layer {layer.name!r} {what}, which a latency table does not know. Expected "
        "convolutions, depthwise convolutions, BatchNorm, ReLU, additions, a global average, a "
        "dense layer and a softmax, as the students and EfficientNet-Lite have them."
    )
