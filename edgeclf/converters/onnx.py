"""To ONNX: tf2onnx for the float graph, ONNX Runtime's QDQ quantiser for int8.

As for TFLite, the network is converted without its normalisation and gets one DequantizeLinear
before it that holds it as scale and zero point. int8 means QDQ: pairs of QuantizeLinear and
DequantizeLinear around float operations, which every engine understands and fuses into integer
kernels. Weights but depthwise ones use seven of their eight bits (`reduce_range`): CPUs without
VNNI add two products in 16 bits, and full-range values overflow there without a word.
"""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgeclf.artifact import Format, Normalization, Precision
from edgeclf.converters import onnx_graph
from edgeclf.converters.base import (
    FLOAT_LAYERS,
    METHODS,
    Converted,
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
from edgeclf.errors import ConversionError, MissingDependencyError
from edgeclf.image import UInt8Array

_OPSET = 18
_OPSET_INT16 = 21  # the first whose QuantizeLinear knows 16 bits
_DEQUANTIZED = "_DequantizeLinear_Output"  # what the quantiser calls a tensor behind its pair
_QUANTIZED_BIAS, _BIAS_SCALE = "_quantized", "_quantized_scale"
_LEVELS, _LEVELS_REDUCED = 127, 64  # of int8, and of what reduce_range leaves of it
_ERROR_IMAGES = 8
_CORRECTION_IMAGES = 64


class OnnxConverter:
    """Writes ``.onnx``; see `edgeclf.converters.base.Converter`.

    Args:
        source: A TensorFlow graph, or a float ONNX file.
    """

    format: ClassVar[Format] = "onnx"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "fp16", "int8")

    def __init__(self, source: Source) -> None:
        _import("onnx")
        self._source = source
        self._scheme = source.metadata.normalization
        image = source.metadata.image
        if isinstance(source.graph, TensorFlowGraph):
            core = _from_tensorflow(source.graph, (None, image.height, image.width, 3))
        elif source.graph.format == "onnx":
            core = onnx_graph.as_core(source.graph)
        else:
            raise ConversionError(
                f"A .{source.graph.format} model cannot become ONNX here; convert it to "
                f".{source.graph.format} artifacts, or start from the Keras model or SavedModel."
            )
        onnx_graph.free_batch(core)
        self._core = core
        self._fused: Any = None
        self._rounded_cores: dict[int, Any] = {}
        self._ranges: dict[CalibrationMethod, Ranges] = {}
        self._worst: list[LayerError] = []

    def recipes(self, precision: Precision) -> Sequence[Recipe]:
        """See `Converter.recipes`."""
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
            return Converted(onnx_graph.with_bytes_input(self._core, self._scheme))
        if recipe.precision == "fp16":
            return Converted(
                onnx_graph.with_bytes_input(_as_fp16(self._core), self._scheme),
                self._scheme_of(recipe, []),
            )
        assert recipe.calibration is not None
        if self._fused is None:
            self._fused = _fused(self._core)
        ranges = self._calibrated(recipe.calibration)
        in_float = self._layers_for_float(recipe)
        quantized = _quantize(self._rounded(recipe), ranges, recipe, in_float)
        self._correct_biases(quantized)
        errors = self._layer_errors(quantized)
        if not self._worst:  # of the first, plain attempt: what a rescue goes by
            self._worst = sorted(errors, key=lambda e: -e.error)
        return Converted(
            onnx_graph.with_bytes_input(quantized, self._scheme),
            self._scheme_of(recipe, in_float),
            tuple(errors),
        )

    def _scheme_of(self, recipe: Recipe, in_float: Sequence[str]) -> dict[str, Any]:
        if recipe.precision == "fp16":
            return {"scheme": "weights and activations in fp16", "recipe": str(recipe),
                    "tool": f"onnxruntime {version('onnxruntime')}"}  # fmt: skip
        return {
            "scheme": "static QDQ, symmetric int8 weights per channel, "
            f"uint{recipe.activation_bits} activations per tensor",
            "recipe": str(recipe),
            "reduce_range": "all but depthwise" if _reduces_range(recipe) else "none",
            "kept_in_float": ["softmax", "logits", *in_float],
            "calibration": recipe.calibration,
            "weight_rounding": "GPTQ",
            "bias_correction": True,
            "tool": f"onnxruntime {version('onnxruntime')}",
        }

    def _calibrated(self, method: CalibrationMethod) -> Ranges:
        if method not in self._ranges:
            assert self._source.calibration is not None
            observations = Observations(method)
            for tensors in _activations(self._fused, self._source.calibration, self._scheme):
                observations.add(tensors)
            ranges = observations.ranges()
            # Not what the photos happened to hold, but what bytes can be: the scale is 1 / std.
            extremes = _normalized(np.array([[0] * 3, [255] * 3], np.uint8), self._scheme)
            ranges[onnx_graph.CORE_INPUT] = (float(extremes.min()), float(extremes.max()))
            self._ranges[method] = ranges
        return self._ranges[method]

    def _layers_for_float(self, recipe: Recipe) -> list[str]:
        if recipe.float_layers and not self._worst:
            self.convert(Recipe(recipe.precision, recipe.calibration))
        return [layer.tensor for layer in self._worst[: recipe.float_layers]]

    def _rounded(self, recipe: Recipe) -> Any:
        """The core with its weights on int8's grid; made once for each grid."""
        levels = _LEVELS_REDUCED if _reduces_range(recipe) else _LEVELS
        if levels not in self._rounded_cores:
            assert self._source.calibration is not None
            images = spread(self._source.calibration, ROUNDING_IMAGES)
            layers = onnx_graph.weight_layers(self._fused)
            seen = (
                # A convolution is given one image [1, C, H, W].
                {n: v[0].transpose(1, 2, 0) if v.ndim == 4 else v for n, v in tensors.items()}
                for tensors in _activations(
                    self._fused, images, self._scheme, [layer.given for layer in layers]
                )
            )
            grids = {layer.name: _LEVELS if len(layer.weights) > 1 else levels
                     for layer in layers}  # fmt: skip
            rounded = round_layers(layers, seen, grids)
            self._rounded_cores[levels] = onnx_graph.with_weights(self._fused, rounded)
        return self._rounded_cores[levels]

    def _correct_biases(self, quantized: Any) -> None:
        """As `TFLiteConverter` does, on the quantised biases of the linear convolutions."""
        from onnx import numpy_helper

        assert self._source.calibration is not None
        images = spread(self._source.calibration, _CORRECTION_IMAGES)

        def means(model: Any, wanted: Sequence[str]) -> dict[str, Any]:
            sums: dict[str, Any] = dict.fromkeys(wanted, 0.0)
            for tensors in _activations(model, images, self._scheme, wanted):
                for name, values in tensors.items():  # all but axis 1, the channels
                    sums[name] += values.mean(axis=(0, *range(2, values.ndim)))
            return {name: total / len(images) for name, total in sums.items()}

        stored = {tensor.name: tensor for tensor in quantized.graph.initializer}
        produced = {name for node in quantized.graph.node for name in node.output}
        layers = onnx_graph.linear_layers(self._fused)
        targets = means(self._fused, [node.output[0] for node in layers])
        for node in layers:
            bias = stored.get(f"{node.input[2]}{_QUANTIZED_BIAS}")
            seen = f"{node.output[0]}{_DEQUANTIZED}"
            if bias is None or seen not in produced:
                continue  # left in float
            scale = numpy_helper.to_array(stored[f"{node.input[2]}{_BIAS_SCALE}"])
            error = targets[node.output[0]] - means(quantized, [seen])[seen]
            limits = np.iinfo(np.int32)
            added = numpy_helper.to_array(bias) + np.rint(error / scale)
            values = np.clip(added, limits.min, limits.max).astype(np.int32)
            bias.CopyFrom(numpy_helper.from_array(values, bias.name))

    def _layer_errors(self, quantized: Any) -> list[LayerError]:
        """Each layer's error in the whole network, with the errors of those before it."""
        assert self._source.calibration is not None
        images = spread(self._source.calibration, _ERROR_IMAGES)
        kinds = {node.output[0]: node.op_type for node in self._fused.graph.node}
        errors: dict[str, list[float]] = {}
        for reference, other in zip(
            _activations(self._fused, images, self._scheme),
            _activations(quantized, images, self._scheme),
            strict=True,
        ):
            for name in kinds.keys() & reference.keys():
                values = other.get(f"{name}{_DEQUANTIZED}", other.get(name))
                if values is not None and values.shape == reference[name].shape:
                    errors.setdefault(name, []).append(relative_error(reference[name], values))
        return [LayerError(name, kind, float(np.mean(errors[name])))
                for name, kind in kinds.items() if name in errors]  # fmt: skip


def _import(module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        missing = exc.name or module
        extra = "onnxruntime" if missing == "onnxruntime" else "convert"
        raise MissingDependencyError(missing, extra, "Converting to ONNX") from None


def _from_tensorflow(graph: TensorFlowGraph, shape: tuple[int | None, ...]) -> Any:
    tf, tf2onnx = _import("tensorflow"), _import("tf2onnx")
    signature = [tf.TensorSpec(shape, tf.float32, name=onnx_graph.CORE_INPUT)]
    function = tf.function(lambda image: {onnx_graph.OUTPUT: graph.function(image)})
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # an optimiser that gives up is logged with its traceback
    try:
        proto, _ = tf2onnx.convert.from_function(function, signature, opset=_OPSET)
    except Exception as exc:  # tf2onnx raises whatever its rewriters raise
        raise ConversionError(f"tf2onnx cannot convert this model: {exc}") from exc
    finally:
        logger.setLevel(level)
    return onnx_graph.with_public_names(proto)


def _fused(core: Any) -> Any:
    """The core with BatchNorm folded into the convolutions, so that they are quantised as one."""
    import onnx

    quantization = _import("onnxruntime.quantization.shape_inference")
    with tempfile.TemporaryDirectory() as folder:
        original, fused = (Path(folder) / name for name in ("a.onnx", "b.onnx"))
        onnx.save(core, original)
        try:
            quantization.quant_pre_process(original, fused, skip_symbolic_shape=True)
        except Exception as exc:  # onnxruntime's errors share no base class below Exception
            raise ConversionError(f"onnxruntime cannot prepare this model: {exc}") from exc
        return onnx.load(fused)


def _quantize(fused: Any, ranges: Ranges, recipe: Recipe, in_float: Sequence[str]) -> Any:
    import onnx
    from onnxruntime.quantization import CalibrationMethod as Method
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    model = copy.deepcopy(fused)
    wide = recipe.activation_bits == 16
    if wide:
        model = onnx.version_converter.convert_version(model, _OPSET_INT16)
    spans = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    # 256 levels for the logits of many classes tie their ranks, as they would in the softmax: the
    # last layer's weights are int8 and its sums stay float.
    tail = {onnx_graph.OUTPUT, *onnx_graph.logits_tail(model)}
    excluded = [node.name for node in model.graph.node
                if node.output[0] in in_float
                or (node.output[0] in tail and node.op_type not in onnx_graph.DENSE)]  # fmt: skip
    depthwise = [layer.name for layer in onnx_graph.weight_layers(fused) if len(layer.weights) > 1]
    try:
        quantizer = QDQQuantizer(
            model,
            True,  # per channel
            _reduces_range(recipe),
            QuantType.QInt8,
            QuantType.QUInt16 if wide else QuantType.QUInt8,
            TensorsData(Method.MinMax, spans),
            [],
            excluded,
            sorted({*QLinearOpsRegistry, *QDQRegistry}),
            {
                "OpTypesToExcludeOutputQuantization": list(onnx_graph.DENSE),
                # Depthwise kernels do not add products in pairs, so they cannot overflow.
                "TensorQuantOverrides": {
                    name: [{"axis": 0, "reduce_range": False}] for name in depthwise
                },
            },
        )
        quantizer.quantize_model()
    except Exception as exc:  # onnxruntime's errors share no base class below Exception
        raise ConversionError(f"onnxruntime cannot quantise this model: {exc}") from exc
    return quantizer.model.model


def _reduces_range(recipe: Recipe) -> bool:
    """Only the integer kernels can overflow; there are none for 16-bit activations."""
    return recipe.activation_bits == 8


def _as_fp16(core: Any) -> Any:
    float16 = _import("onnxruntime.transformers.float16")
    try:
        return float16.convert_float_to_float16(copy.deepcopy(core), keep_io_types=True)
    except Exception as exc:  # as above
        raise ConversionError(f"onnxruntime cannot store this model as fp16: {exc}") from exc


def _activations(
    model: Any, images: UInt8Array, scheme: Normalization, wanted: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Runs a core on one image after the other and gives the float tensors by name."""
    import onnx

    onnxruntime = _import("onnxruntime")
    exposed = copy.deepcopy(model)
    for info in list(exposed.graph.output):
        exposed.graph.output.remove(info)
    typed = onnx.shape_inference.infer_shapes(exposed).graph.value_info
    floats = {info.name for info in typed
              if info.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}  # fmt: skip
    floats.add(onnx_graph.OUTPUT)
    names = [n for node in exposed.graph.node for n in node.output
             if n in floats and (wanted is None or n in wanted)]  # fmt: skip
    exposed.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        exposed.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    for image in images:
        given = _normalized(image[np.newaxis], scheme)
        yield dict(zip(names, session.run(names, {onnx_graph.CORE_INPUT: given}), strict=True))


def _normalized(values: UInt8Array, scheme: Normalization) -> Any:
    return ((values.astype(np.float32) - scheme.means) / scheme.stds).astype(np.float32)
