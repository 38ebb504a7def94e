"""To TFLite: TensorFlow's converter for the float graph, litert-quantizer for the other precisions.

The network is converted without its normalisation, as a core from float32 to probabilities. How
bytes become the core's input is then one operation that holds the normalisation as scale and
zero point (`flatbuffer.with_bytes_input`), so int8 needs no arithmetic before its first layer.
Logits and softmax stay in float, but for ``int8-full``: in int8 the softmax rounds every score to
a multiple of 1/256.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np

from edgeclf.artifact import Format, Normalization, Precision
from edgeclf.converters import flatbuffer
from edgeclf.converters.base import (
    FLOAT_LAYERS,
    METHODS,
    Converted,
    FileGraph,
    LayerError,
    Recipe,
    Source,
    TensorFlowGraph,
)
from edgeclf.converters.calibration import (
    CalibrationMethod,
    Observations,
    Ranges,
    relative_error,
    spread,
)
from edgeclf.converters.rounding import ROUNDING_IMAGES, round_layers
from edgeclf.converters.tflite_metadata import BUFFER_NAME, tflite_metadata
from edgeclf.errors import ConversionError, MissingDependencyError
from edgeclf.image import UInt8Array

_LEVELS = 127
_ERROR_IMAGES = 8  # what a layer's error is measured on
_CORRECTION_IMAGES = 64  # what a bias is corrected by


class TFLiteConverter:
    """Writes ``.tflite``; see `edgeclf.converters.base.Converter`.

    Args:
        source: A TensorFlow graph, or a float TFLite file.
    """

    format: ClassVar[Format] = "tflite"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "fp16", "dynamic", "int8", "int8-full")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._scheme = source.metadata.normalization
        image = source.metadata.image
        if isinstance(source.graph, TensorFlowGraph):
            self._core = flatbuffer.as_core(
                _from_tensorflow(source.graph, (1, image.height, image.width, 3))
            )
        elif source.graph.format == "tflite":
            self._core = _from_file(source.graph)
        else:
            raise ConversionError(
                f"A .{source.graph.format} model cannot become TFLite here; convert it to "
                f".{source.graph.format} artifacts, or start from the Keras model or SavedModel."
            )
        self._logits = flatbuffer.logits_layer(self._core)
        self._rounded_core: bytes | None = None
        self._ranges: dict[CalibrationMethod, Ranges] = {}
        self._worst: list[LayerError] = []

    def recipes(self, precision: Precision) -> Sequence[Recipe]:
        """See `Converter.recipes`."""
        if precision == "int8-full":  # what a microcontroller takes has no float layers
            return [Recipe(precision, method) for method in METHODS]
        if precision != "int8":
            return [Recipe(precision)]
        return [
            *(Recipe("int8", method) for method in METHODS),
            *(Recipe("int8", METHODS[0], float_layers=count) for count in FLOAT_LAYERS),
            Recipe("int8", METHODS[0], activation_bits=16),
            Recipe("fp16"),
        ]

    def convert(self, recipe: Recipe) -> Converted:
        """See `Converter.convert`."""
        if recipe.precision == "fp32":
            return Converted(self._finish(self._core, recipe))
        if recipe.calibration is None:
            quantized = _quantize(self._core, _weight_recipe(recipe.precision))
            return Converted(self._finish(quantized, recipe), self._scheme_of(recipe, []))
        if recipe.precision == "int8-full" and not self._scheme.is_exact:
            raise ConversionError(
                "int8-full has no float operation to normalise with; its source must expect "
                f"(x - m) / s with a whole m, not {self._scheme}."
            )
        ranges = self._calibrated(recipe.calibration)
        in_float = self._layers_for_float(recipe)
        core = flatbuffer.lift_quiet_channels(self._rounded(), ranges)
        add_recipe_to = _static_recipe(recipe, in_float, self._scheme, self._logits)
        quantized = _quantize(core, add_recipe_to, ranges)
        quantized = self._correct_biases(quantized)
        errors = self._layer_errors(quantized)
        if not self._worst:  # of the first, plain attempt: what a rescue goes by
            self._worst = sorted(errors, key=lambda e: -e.error)
        return Converted(
            self._finish(quantized, recipe), self._scheme_of(recipe, in_float), tuple(errors)
        )

    def _finish(self, core: bytes, recipe: Recipe) -> bytes:
        if recipe.precision == "int8-full":
            model = flatbuffer.with_signature(core)
        else:
            model = flatbuffer.with_bytes_input(core, self._scheme)
            if _can_resize(model):
                model = flatbuffer.with_free_batch(model)
        metadata = tflite_metadata(
            dataclasses.replace(self._source.metadata, precision=recipe.precision),
            "image",
            "probabilities",
        )
        return flatbuffer.with_metadata(model, BUFFER_NAME, metadata)

    def _scheme_of(self, recipe: Recipe, in_float: Sequence[str]) -> dict[str, Any]:
        schemes = {
            "fp16": "weights stored as fp16, computed in float",
            "dynamic": "symmetric int8 weights per channel, activations quantised as they come",
            "int8": "static, symmetric int8 weights per channel, "
            f"int{recipe.activation_bits} activations per tensor",
            "int8-full": "static, symmetric int8 weights per channel, int8 activations per "
            "tensor, int8 input and output",
        }
        kept = ["softmax", "logits", *in_float] if recipe.precision == "int8" else []
        return {
            "scheme": schemes[recipe.precision],
            "recipe": str(recipe),
            "kept_in_float": kept,
            "calibration": recipe.calibration,
            "weight_rounding": "GPTQ" if recipe.calibration else "nearest",
            "bias_correction": recipe.calibration is not None,
            "tool": f"litert-quantizer {version('litert-quantizer')}",
        }

    def _calibrated(self, method: CalibrationMethod) -> Ranges:
        if method not in self._ranges:
            assert self._source.calibration is not None
            observations = Observations(method)
            for tensors in _activations(self._core, self._source.calibration, self._scheme):
                observations.add(tensors)
            ranges = observations.ranges()
            # Not what the photos happened to hold, but what bytes can be: the scale is 1 / std.
            extremes = _normalized(np.array([[0] * 3, [255] * 3], np.uint8), self._scheme)
            name = flatbuffer.input_name(self._core)
            ranges[name] = (float(extremes.min()), float(extremes.max()))
            self._ranges[method] = ranges
        return self._ranges[method]

    def _layers_for_float(self, recipe: Recipe) -> list[str]:
        if recipe.float_layers and not self._worst:
            self.convert(Recipe(recipe.precision, recipe.calibration))
        return [layer.tensor for layer in self._worst[: recipe.float_layers]]

    def _rounded(self) -> bytes:
        """The core with its weights on int8's grid; made once, whatever the ranges are."""
        if self._rounded_core is None:
            assert self._source.calibration is not None
            images = spread(self._source.calibration, ROUNDING_IMAGES)
            layers = flatbuffer.weight_layers(self._core)
            seen = (
                # A convolution is given one image [1, H, W, C].
                {n: v[0] if v.ndim == 4 else v for n, v in tensors.items()}
                for tensors in _activations(self._core, images, self._scheme)
            )
            levels = dict.fromkeys((layer.name for layer in layers), _LEVELS)
            rounded = round_layers(layers, seen, levels)
            self._rounded_core = flatbuffer.with_weights(self._core, rounded)
        return self._rounded_core

    def _correct_biases(self, quantized: bytes) -> bytes:
        """Takes the mean error of each linear layer's channels out of its bias, front to back.

        Rounded weights and clipped activations no longer sum to what they did, and images are
        mostly smooth: so a channel is off by nearly the same everywhere. After Nagel et al.,
        "Data-Free Quantization through Weight Equalization and Bias Correction" (2019), section
        4.2, with means measured instead of derived. Layers with a ReLU in them are left alone; the
        next linear one makes up for it.
        """
        assert self._source.calibration is not None
        images = spread(self._source.calibration, _CORRECTION_IMAGES)

        def means(model: bytes, wanted: Sequence[str]) -> dict[str, Any]:
            sums: dict[str, Any] = dict.fromkeys(wanted, 0.0)
            for tensors in _activations(model, images, self._scheme):
                for name in wanted:
                    values = tensors[name]
                    sums[name] += values.reshape(-1, values.shape[-1]).mean(axis=0)
            return {name: total / len(images) for name, total in sums.items()}

        layers = flatbuffer.linear_layers(quantized)
        targets = means(self._core, layers)
        for layer in layers:
            error = targets[layer] - means(quantized, [layer])[layer]
            quantized = flatbuffer.with_added_bias(quantized, layer, error)
        return quantized

    def _layer_errors(self, quantized: bytes) -> list[LayerError]:
        """Each layer's error in the whole network, with the errors of those before it."""
        assert self._source.calibration is not None
        images = spread(self._source.calibration, _ERROR_IMAGES)
        operators = flatbuffer.operator_outputs(self._core)
        errors: dict[str, list[float]] = {}
        for reference, other in zip(
            _activations(self._core, images, self._scheme),
            _activations(quantized, images, self._scheme),
            strict=True,
        ):
            for name in operators.keys() & reference.keys() & other.keys():
                errors.setdefault(name, []).append(relative_error(reference[name], other[name]))
        return [LayerError(name, operator, float(np.mean(errors[name])))
                for name, operator in operators.items() if name in errors]  # fmt: skip


def _can_resize(model: bytes) -> bool:
    """Whether the graph takes two images at a time once its input is resized."""
    from ai_edge_litert.interpreter import Interpreter

    with _quiet():
        interpreter = Interpreter(model_content=model)
        (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
        try:
            interpreter.resize_tensor_input(given["index"], (2, *given["shape"][1:]))
            interpreter.allocate_tensors()
            interpreter.invoke()
        except (RuntimeError, ValueError):
            return False
        return len(interpreter.get_tensor(answer["index"])) == 2


def _from_tensorflow(graph: TensorFlowGraph, shape: tuple[int, ...]) -> bytes:
    try:
        import tensorflow as tf
    except ModuleNotFoundError as exc:
        raise MissingDependencyError(exc.name or "tensorflow", "convert", "TFLite") from None
    module = tf.Module()
    module.kept = list(graph.variables)
    module.function = tf.function(
        lambda image: {"probabilities": graph.function(image)},
        input_signature=[tf.TensorSpec(shape, tf.float32, name="image")],
    )
    try:
        concrete = module.function.get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
        return bytes(converter.convert())
    except Exception as exc:  # the converter's errors share no base class below Exception
        raise ConversionError(f"TensorFlow cannot convert this model to TFLite: {exc}") from exc


def _from_file(graph: FileGraph) -> bytes:
    try:
        return flatbuffer.as_core(
            graph.content, channels_first=graph.channels_first, logits=graph.logits
        )
    except (ValueError, TypeError, AttributeError, IndexError, OverflowError) as exc:
        raise ConversionError(f"The TFLite model cannot be read: {exc!r}.") from exc


def _quantizer() -> tuple[Any, Any, Any]:
    try:
        from litert_quantizer import algorithm_manager, qtyping, quantizer
    except ModuleNotFoundError:
        raise MissingDependencyError("litert_quantizer", "convert", "Quantising TFLite") from None
    return algorithm_manager.AlgorithmName, qtyping, quantizer.Quantizer


def _weight_recipe(precision: Precision) -> Any:
    """Weights alone: as fp16, or as int8 with activations quantised as they come."""

    def add_to(engine: Any) -> None:
        algorithms, types, _ = _quantizer()
        operations = types.TFLOperationName
        if precision == "dynamic":
            engine.add_dynamic_config(".*", operations.ALL_SUPPORTED, num_bits=8)
            return
        half = types.OpQuantizationConfig(
            weight_tensor_config=types.TensorQuantizationConfig(
                num_bits=16, dtype=types.TensorDataType.FLOAT
            ),
            compute_precision=types.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        )
        for operation in (operations.CONV_2D, operations.DEPTHWISE_CONV_2D,
                          operations.FULLY_CONNECTED):  # fmt: skip
            engine.update_quantization_recipe(".*", operation, half, algorithms.FLOAT_CASTING)

    return add_to


def _static_recipe(
    recipe: Recipe, in_float: Sequence[str], scheme: Normalization, logits: str | None
) -> Any:
    """Weights and activations, but for what stays in float."""

    def add_to(engine: Any) -> None:
        algorithms, types, _ = _quantizer()
        operations = types.TFLOperationName
        engine.add_static_config(
            ".*",
            operations.ALL_SUPPORTED,
            activation_num_bits=recipe.activation_bits,
            weight_num_bits=8,
        )
        left_in_float = []
        if recipe.precision == "int8":
            left_in_float = [operations.SOFTMAX, operations.OUTPUT]
            if recipe.activation_bits != 8 or not scheme.is_exact:
                left_in_float.append(operations.INPUT)
        for operation in left_in_float:
            engine.update_quantization_recipe(".*", operation, algorithm_key=algorithms.NO_QUANTIZE)
        if recipe.precision == "int8" and logits is not None:
            # 256 levels for the logits of many classes tie their ranks, as they would in the
            # softmax; here the weights are int8 and the sums stay float.
            engine.add_dynamic_config(re.escape(logits), operations.FULLY_CONNECTED, num_bits=8)
        for tensor in in_float:
            engine.update_quantization_recipe(
                re.escape(tensor), operations.ALL_SUPPORTED, algorithm_key=algorithms.NO_QUANTIZE
            )

    return add_to


def _quantize(core: bytes, add_recipe_to: Any, ranges: Ranges | None = None) -> bytes:
    _, _, engine_class = _quantizer()
    engine = engine_class(bytearray(core))
    given: Mapping[str, Any] | None = None
    if ranges is not None:
        ranks = flatbuffer.tensor_ranks(core)
        given = {
            name: {key: np.full((1,) * ranks[name], value, np.float32)
                   for key, value in zip(("min", "max"), span, strict=True)}
            for name, span in ranges.items()
        }  # fmt: skip
    try:
        with _quiet():
            add_recipe_to(engine)
            result = engine.quantize(given, enable_progress_report=False)
    except (ValueError, RuntimeError, KeyError, TypeError) as exc:
        raise ConversionError(f"litert-quantizer cannot quantise this model: {exc}") from exc
    return bytes(result.quantized_model)


def _activations(
    model: bytes, images: UInt8Array, scheme: Normalization
) -> Iterator[dict[str, Any]]:
    """Runs a core on one image after the other and gives every tensor by name, in float."""
    from ai_edge_litert.interpreter import Interpreter

    with _quiet():
        interpreter = Interpreter(model_content=model, experimental_preserve_all_tensors=True)
        interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    constants = flatbuffer.constant_tensors(model)
    details = [d for d in interpreter.get_tensor_details()
               if d["name"] and d["index"] not in constants]  # fmt: skip
    for image in images:
        values = _normalized(image[np.newaxis], scheme)
        interpreter.set_tensor(given["index"], _as_type(values, given))
        interpreter.invoke()
        tensors: dict[str, Any] = {}
        for detail in details:
            try:
                values = interpreter.get_tensor(detail["index"])
            except ValueError:  # scratch memory of a kernel
                continue
            if values.size and detail["dtype"] in (np.float32, np.int8, np.int16):
                tensors[detail["name"]] = _as_float(values, detail)
        yield tensors


def _as_type(values: Any, detail: Mapping[str, Any]) -> Any:
    if detail["dtype"] == np.float32:
        return values
    scale, zero_point = detail["quantization"]
    limits = np.iinfo(detail["dtype"])
    quantized = np.rint(values / scale) + zero_point
    return np.clip(quantized, limits.min, limits.max).astype(detail["dtype"])


def _as_float(values: Any, detail: Mapping[str, Any]) -> Any:
    scale, zero_point = detail["quantization"]
    if values.dtype == np.float32 or not scale:
        return values.astype(np.float32)
    return (values.astype(np.float32) - zero_point) * scale


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantiser's own progress bars and its interpreter's debugging warnings."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _normalized(values: UInt8Array, scheme: Normalization) -> Any:
    return ((values.astype(np.float32) - scheme.means) / scheme.stds).astype(np.float32)
