"""To TFLite: a float graph, written directly or by TensorFlow; litert-quantizer for the rest.

The network is converted without its normalisation, as a float graph from float32 to probabilities.
How bytes become its input is then a change of type that holds the normalisation as scale and zero
point (`flatbuffer.take_bytes`), so int8 normalises for nothing.
Logits and softmax stay in float, but for ``int8-full``: in int8 the softmax rounds every score to
a multiple of 1/256.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np

from edgeclf.artifact import Format, Normalization, Precision
from edgeclf.converters import flatbuffer, tflite_weights
from edgeclf.converters.base import Converted, FileGraph, Recipe, Source, TensorFlowGraph
from edgeclf.converters.calibration import Ranges
from edgeclf.converters.channels import count_of
from edgeclf.converters.layer_inputs import Layer
from edgeclf.converters.ptq import StaticInt8, fallback_recipes
from edgeclf.converters.readers.tflite import shapes_at
from edgeclf.converters.tensorflow_graph import exporting, flat_function
from edgeclf.converters.tflite_metadata import BUFFER_NAME, tflite_metadata
from edgeclf.converters.tflite_running import activations, quiet
from edgeclf.converters.tflite_stretches import QuantizedTFLite
from edgeclf.errors import ConversionError, MissingDependencyError, mapped
from edgeclf.image import ImageSpec
from edgeclf.runtimes.base import Float32Array


class TFLiteConverter:
    """Writes ``.tflite``; see `edgeclf.converters.base.Converter`.

    Args:
        source: A TensorFlow graph, or a float TFLite file.
    """

    format: ClassVar[Format] = "tflite"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "fp16", "dynamic", "int8", "int8-full")
    takes_quantized: ClassVar[bool] = True

    def __init__(self, source: Source) -> None:
        self._source = source
        self._scheme = source.metadata.normalization
        image = source.metadata.image
        graph = source.graph
        if isinstance(graph, TensorFlowGraph):
            graph = graph.written(self.format) or graph
        if isinstance(graph, TensorFlowGraph):
            self._float_graph = flatbuffer.as_float_graph(
                _from_tensorflow(graph, (1, image.height, image.width, 3))
            )
        elif graph.format == "tflite":
            self._float_graph = _from_file(graph, image)
        else:
            raise ConversionError(
                f"A .{graph.format} model cannot become TFLite here; convert it to "
                f".{graph.format} artifacts, or start from the Keras model or SavedModel."
            )
        self._int8 = StaticInt8(_TFLiteEngine(self._scheme), self._float_graph, source)

    def recipes(self, precision: Precision) -> Sequence[Recipe]:
        """See `Converter.recipes`."""
        return [Recipe(precision)] if self._source.quantized else fallback_recipes(precision)

    def convert(self, recipe: Recipe) -> Converted:
        """See `Converter.convert`."""
        if recipe.precision == "fp32" or self._source.quantized:
            record = self._source.quantized.record() if self._source.quantized else None
            return Converted(self._finish(self._float_graph, recipe), record)
        if recipe.calibration is None:
            layers = flatbuffer.image_layers(self._float_graph)
            quantized = _quantize(self._float_graph, _weight_recipe(recipe.precision, layers))
            if recipe.precision == "dynamic":
                quantized = tflite_weights.with_seven_bits(quantized, layers)
            return Converted(self._finish(quantized, recipe), self._scheme_of(recipe, []))
        if recipe.precision == "int8-full" and not self._scheme.is_exact:
            raise ConversionError(
                "int8-full has no float operation to normalise with; its source must expect "
                f"(x - m) / s with a whole m, not {self._scheme}."
            )
        quantized, errors, in_float = self._int8.quantize(recipe)
        return Converted(self._finish(quantized, recipe), self._scheme_of(recipe, in_float), errors)

    def _finish(self, float_graph: bytes, recipe: Recipe) -> bytes:
        tree, takes_bytes = flatbuffer.unpack(float_graph), recipe.precision != "int8-full"
        if takes_bytes:
            flatbuffer.take_bytes(tree, self._scheme)
            flatbuffer.say_batch(tree, is_free=True)
        flatbuffer.sign(tree)
        flatbuffer.shorten_names(tree)
        metadata = tflite_metadata(
            dataclasses.replace(self._source.metadata, precision=recipe.precision),
            "image",
            "probabilities",
        )
        flatbuffer.add_metadata(tree, BUFFER_NAME, metadata)
        model = flatbuffer.pack(tree)
        if takes_bytes and not _can_resize(model):
            flatbuffer.say_batch(tree, is_free=False)
            model = flatbuffer.pack(tree)
        return model

    def _scheme_of(self, recipe: Recipe, in_float: Sequence[str]) -> dict[str, Any]:
        weights = "symmetric int8 weights per channel (dense layers: per tensor)"
        schemes = {
            "fp16": "weights stored as fp16, computed in float",
            "dynamic": "symmetric int8 weights per channel, computed in float",
            "int8": f"static, {weights}, int{recipe.activation_bits} activations per tensor",
            "int8-full": f"static, {weights}, int8 activations per tensor, int8 input and output",
        }
        kept = {
            "int8": ["softmax", "logits", *in_float],
            "dynamic": ["the convolution that takes the image"],
        }.get(recipe.precision, [])
        return {
            "scheme": schemes[recipe.precision],
            "recipe": str(recipe),
            "kept_in_float": kept,
            "calibration": recipe.calibration,
            "reduce_range": _reduced_range(recipe),
            "weight_rounding": "GPTQ" if recipe.calibration else "nearest",
            "bias_correction": recipe.calibration is not None,
            "tool": f"litert-quantizer {version('litert-quantizer')}",
        }


class _TFLiteEngine:
    """See `edgeclf.converters.ptq.Engine`; a model is a flatbuffer."""

    def __init__(self, scheme: Normalization) -> None:
        self._scheme = scheme

    def input_name(self, float_graph: bytes) -> str:
        return flatbuffer.input_name(float_graph)

    def operators(self, float_graph: bytes) -> dict[str, str]:
        return flatbuffer.operator_outputs(float_graph)

    def activations(
        self, model: bytes, images: Iterable[Float32Array], wanted: Sequence[str] | None
    ) -> Iterator[dict[str, Any]]:
        return activations(model, images, wanted)

    def weight_layers(self, float_graph: bytes) -> list[Layer]:
        return tflite_weights.weight_layers(float_graph)

    def levels(self, layer: Layer, recipe: Recipe) -> int:
        full = layer.is_depthwise or not _has_seven_bits(recipe)
        return tflite_weights.EIGHT_BITS if full else tflite_weights.SEVEN_BITS

    def is_per_tensor(self, layer: Layer) -> bool:
        return layer.kernel is None  # see _static_recipe

    def with_weights(self, float_graph: bytes, weights: Mapping[str, Float32Array]) -> bytes:
        return tflite_weights.with_weights(float_graph, weights)

    def quantize(
        self, float_graph: bytes, ranges: Ranges, recipe: Recipe, in_float: Sequence[str]
    ) -> bytes:
        logits, behind = flatbuffer.head_tensors(float_graph)
        if recipe.precision == "int8":
            in_float = [*in_float, *behind]
        float_graph = tflite_weights.raise_dead_channels(float_graph, ranges)
        static = _static_recipe(recipe, in_float, self._scheme, logits)
        quantized = _quantize(float_graph, static, ranges)
        return tflite_weights.with_seven_bits(quantized) if _has_seven_bits(recipe) else quantized

    def unactivated(self, float_graph: bytes) -> list[str]:
        return tflite_weights.linear_layers(float_graph)

    def alike(self, float_graph: bytes) -> dict[str, str]:
        return {}

    def in_stretches(self, float_graph: bytes, quantized: bytes) -> QuantizedTFLite:
        return QuantizedTFLite(quantized)


def _has_seven_bits(recipe: Recipe) -> bool:
    """Whether weights but depthwise ones leave a bit unused; see `tflite_weights.with_seven_bits`.

    Nothing adds products of 16-bit activations in 16 bits.
    """
    return recipe.activation_bits == 8


def _reduced_range(recipe: Recipe) -> str:
    """Which weights have seven bits, in words."""
    if recipe.precision == "dynamic":
        return "a dense layer that takes the image"
    return "all but depthwise" if recipe.calibration and _has_seven_bits(recipe) else "none"


def _can_resize(model: bytes) -> bool:
    """Whether the graph takes two images at a time once its input is resized."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(model_content=model)
        (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
        try:
            interpreter.resize_tensor_input(given["index"], (2, *given["shape"][1:]))
            interpreter.allocate_tensors()
            interpreter.invoke()
        except (RuntimeError, ValueError):
            return False
        return len(interpreter.get_tensor(answer["index"])) == 2


@exporting()
def _from_tensorflow(graph: TensorFlowGraph, shape: tuple[int, ...]) -> bytes:
    try:
        import tensorflow as tf
    except ModuleNotFoundError as exc:
        raise MissingDependencyError(exc.name or "tensorflow", "convert", "TFLite") from None
    module = tf.Module()
    module.kept = list(graph.variables)
    with mapped(ConversionError, "TensorFlow cannot convert this model to TFLite"):
        module.function = flat_function(graph, shape)
        concrete = module.function.get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
        # Else it writes a SavedModel and reads it again; a loaded one it would print advice about.
        own = all(isinstance(kept, tf.Variable) for kept in graph.variables)
        converter.experimental_lower_to_saved_model = not own
        return bytes(converter.convert())


def _from_file(graph: FileGraph, image: ImageSpec) -> bytes:
    rows, columns, depth = image.height, image.width, count_of(graph.channels)
    wanted = (1, depth, rows, columns) if graph.channels_first else (1, rows, columns, depth)
    with mapped(ConversionError, f"The TFLite model cannot be given one image, {wanted}"):
        content = flatbuffer.with_one_image(graph.content)
        return flatbuffer.as_float_graph(
            content,
            output=graph.output,
            shapes=shapes_at(content, wanted),
            head=graph.head,
            channels=graph.channels,
            channels_first=graph.channels_first,
        )


def _quantizer() -> tuple[Any, Any, Any]:
    try:
        from litert_quantizer import algorithm_manager, qtyping, quantizer
    except ModuleNotFoundError:
        raise MissingDependencyError("litert_quantizer", "convert", "Quantising TFLite") from None
    return algorithm_manager.AlgorithmName, qtyping, quantizer.Quantizer


def _weight_recipe(precision: Precision, image_layers: Iterable[str]) -> Any:
    """Weights alone, as fp16 or as int8, behind a DEQUANTIZE each: computed in float.

    XNNPACK takes all of that as one graph. Kernels that quantise activations as they come exist
    there for convolutions and dense layers but not for depthwise ones, so each of these would end
    one part of the graph and begin another.

    The image is bytes, so an engine may multiply integers in the layer that takes it. As a
    convolution, where it has few weights, that one stays in float; as a dense layer it may hold
    most of them.
    """

    def add_to(engine: Any) -> None:
        algorithms, types, _ = _quantizer()
        operations = types.TFLOperationName
        if precision == "dynamic":
            engine.add_weight_only_config(".*", operations.ALL_SUPPORTED, num_bits=8)
            for layer in image_layers:
                engine.update_quantization_recipe(
                    re.escape(layer), operations.CONV_2D, algorithm_key=algorithms.NO_QUANTIZE
                )
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
    """Weights and activations, but for what stays in float.

    Weights are per channel, those of dense layers per tensor: an older interpreter
    (tflite-runtime 2.14) takes a dense layer with a scale for each channel and a float input, and
    answers as if all had the first one's.
    """

    def add_to(engine: Any) -> None:
        algorithms, types, _ = _quantizer()
        operations = types.TFLOperationName
        engine.add_static_config(
            ".*",
            operations.ALL_SUPPORTED,
            activation_num_bits=recipe.activation_bits,
            weight_num_bits=8,
        )
        engine.add_static_config(
            ".*",
            operations.FULLY_CONNECTED,
            activation_num_bits=recipe.activation_bits,
            weight_num_bits=8,
            weight_granularity=types.QuantGranularity.TENSORWISE,
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
            engine.add_dynamic_config(
                _scope_of(logits),
                operations.FULLY_CONNECTED,
                num_bits=8,
                granularity=types.QuantGranularity.TENSORWISE,
            )
        for tensor in in_float:
            engine.update_quantization_recipe(
                _scope_of(tensor), operations.ALL_SUPPORTED, algorithm_key=algorithms.NO_QUANTIZE
            )

    return add_to


def _scope_of(tensor: str) -> str:
    """What the quantiser finds the operator of that output by, and no other."""
    return f"(^|;){re.escape(tensor)}(;|$)"


def _quantize(float_graph: bytes, add_recipe_to: Any, ranges: Ranges | None = None) -> bytes:
    _, _, engine_class = _quantizer()
    engine = engine_class(bytearray(float_graph))
    tensor_ranges: Mapping[str, Any] | None = None
    if ranges is not None:
        ranks = flatbuffer.tensor_ranks(float_graph)
        tensor_ranges = {
            name: {key: np.full((1,) * ranks[name], value, np.float32)
                   for key, value in zip(("min", "max"), span, strict=True)}
            for name, span in ranges.items()
        }  # fmt: skip
    with mapped(ConversionError, "litert-quantizer cannot quantise this model"), quiet():
        add_recipe_to(engine)
        result = engine.quantize(tensor_ranges, enable_progress_report=False)
    return bytes(result.quantized_model)
