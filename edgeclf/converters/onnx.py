"""To ONNX: a float graph, written directly or by tf2onnx; ONNX Runtime's QDQ quantiser for int8.

As for TFLite, the network is converted without its normalisation and gets one DequantizeLinear
before it that holds it as scale and zero point. int8 means QDQ: pairs of QuantizeLinear and
DequantizeLinear around float operations, which every engine understands and fuses into integer
kernels. Weights but depthwise ones use seven of their eight bits (`reduce_range`): CPUs without
VNNI add two products in 16 bits, and full-range values overflow there without a word.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgeclf.artifact import Format, Precision
from edgeclf.converters import onnx_graph, onnx_import
from edgeclf.converters.base import Converted, Recipe, Source, TensorFlowGraph
from edgeclf.converters.calibration import Ranges
from edgeclf.converters.layer_inputs import Layer
from edgeclf.converters.onnx_stretches import QuantizedOnnx
from edgeclf.converters.ptq import StaticInt8, fallback_recipes
from edgeclf.converters.tensorflow_graph import exporting, flat_function, input_signature
from edgeclf.errors import ConversionError, MissingDependencyError, mapped
from edgeclf.runtimes.base import Float32Array
from edgeclf.runtimes.onnxruntime import OnnxRuntime, open_session

_OPSET = 18
_OPSET_INT16 = 21  # the first whose QuantizeLinear knows 16 bits
_DEQUANTIZED = "_DequantizeLinear_Output"  # what the quantiser calls a tensor behind its pair
_LEVELS, _LEVELS_REDUCED = 127, 64  # of int8, and of what reduce_range leaves of it


class OnnxConverter:
    """Writes ``.onnx``; see `edgeclf.converters.base.Converter`.

    Args:
        source: A TensorFlow graph, or a float ONNX file.
    """

    format: ClassVar[Format] = "onnx"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "fp16", "int8")
    takes_quantized: ClassVar[bool] = True

    def __init__(self, source: Source) -> None:
        _import("onnx")
        self._source = source
        self._scheme = source.metadata.normalization
        image = source.metadata.image
        graph = source.graph
        if isinstance(graph, TensorFlowGraph):
            graph = graph.written(self.format) or graph
        if isinstance(graph, TensorFlowGraph):
            float_graph = _from_tensorflow(graph, (None, image.height, image.width, 3))
        elif graph.format == "onnx":
            float_graph = onnx_graph.as_float_graph(graph, image, len(source.metadata.labels))
        else:
            raise ConversionError(
                f"A .{graph.format} model cannot become ONNX here; convert it to "
                f".{graph.format} artifacts, or start from the Keras model or SavedModel."
            )
        onnx_graph.free_batch(float_graph, self._scheme)
        self._float_graph = float_graph
        self._int8: StaticInt8[Any] | None = None

    def recipes(self, precision: Precision) -> Sequence[Recipe]:
        """See `Converter.recipes`."""
        return [Recipe(precision)] if self._source.quantized else fallback_recipes(precision)

    def convert(self, recipe: Recipe) -> Converted:
        """See `Converter.convert`."""
        if recipe.precision == "fp32" or self._source.quantized:
            record = self._source.quantized.record() if self._source.quantized else None
            return Converted(onnx_graph.with_bytes_input(self._float_graph, self._scheme), record)
        if recipe.precision == "fp16":
            content = onnx_graph.with_bytes_input(_as_fp16(self._float_graph), self._scheme)
            return Converted(content, self._scheme_of(recipe, []))
        if self._int8 is None:
            self._int8 = StaticInt8(_OnnxEngine(), _fused(self._float_graph), self._source)
        quantized, errors, in_float = self._int8.quantize(recipe)
        content = onnx_graph.with_bytes_input(quantized, self._scheme)
        return Converted(content, self._scheme_of(recipe, in_float), errors)

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


class _OnnxEngine:
    """See `edgeclf.converters.ptq.Engine`; a model is a ModelProto."""

    def input_name(self, float_graph: Any) -> str:
        return onnx_graph.FLOAT_INPUT

    def operators(self, float_graph: Any) -> dict[str, str]:
        return {node.output[0]: node.op_type for node in float_graph.graph.node}

    def activations(
        self, model: Any, images: Iterable[Float32Array], wanted: Sequence[str] | None
    ) -> Iterator[dict[str, Any]]:
        names = _exposable(model, wanted)
        exposed = onnx_graph.up_to(model, list(names.values()))
        session = open_session(exposed.SerializeToString())
        for image in images:
            inputs = {onnx_graph.FLOAT_INPUT: image[np.newaxis]}
            values = session.run(list(names.values()), inputs) if names else []
            yield {
                **(inputs if wanted is None or onnx_graph.FLOAT_INPUT in wanted else {}),
                **{name: v.transpose(0, 2, 3, 1) if v.ndim == 4 else v
                   for name, v in zip(names, values, strict=True)},
            }  # fmt: skip

    def weight_layers(self, float_graph: Any) -> list[Layer]:
        return onnx_graph.weight_layers(float_graph)

    def levels(self, layer: Layer, recipe: Recipe) -> int:
        full = layer.is_depthwise or not _reduces_range(recipe)
        return _LEVELS if full else _LEVELS_REDUCED

    def with_weights(self, float_graph: Any, weights: Mapping[str, Float32Array]) -> Any:
        return onnx_graph.with_weights(float_graph, weights)

    def quantize(
        self, float_graph: Any, ranges: Ranges, recipe: Recipe, in_float: Sequence[str]
    ) -> Any:
        return _quantize(float_graph, ranges, recipe, in_float)

    def is_per_tensor(self, layer: Layer) -> bool:
        return False

    def unactivated(self, float_graph: Any) -> list[str]:
        return [node.output[0] for node in onnx_graph.linear_layers(float_graph)]

    def alike(self, float_graph: Any) -> dict[str, str]:
        return onnx_graph.activated_inputs(float_graph)

    def in_stretches(self, float_graph: Any, quantized: Any) -> QuantizedOnnx:
        return QuantizedOnnx(quantized, onnx_graph.linear_layers(float_graph))


def _exposable(model: Any, wanted: Sequence[str] | None) -> dict[str, str]:
    """The float graph's names of tensors to what holds them in a model, in float.

    What a quantised tensor stands for is what comes out of its pair.
    """
    import onnx

    produced = {name for node in model.graph.node for name in node.output}
    if wanted is None:
        typed = onnx.shape_inference.infer_shapes(model).graph.value_info
        floats = {info.name for info in typed
                  if info.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}  # fmt: skip
        found = [name for name in produced if name in {*floats, onnx_graph.OUTPUT}]
        return {name.removesuffix(_DEQUANTIZED): name for name in sorted(found, key=len)}
    paired = {name: f"{name}{_DEQUANTIZED}" for name in wanted}
    held = {name: pair if pair in produced else name for name, pair in paired.items()}
    return {name: other for name, other in held.items() if other in produced}


def _import(module: str) -> Any:
    import importlib

    if module.startswith("onnxruntime"):
        OnnxRuntime.import_engine()  # which keeps it from reporting to its maker
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        missing = exc.name or module
        extra = "onnxruntime" if missing == "onnxruntime" else "convert"
        raise MissingDependencyError(missing, extra, "Converting to ONNX") from None


@exporting()
def _from_tensorflow(graph: TensorFlowGraph, shape: tuple[int | None, ...]) -> Any:
    _import("tensorflow")
    tf2onnx = _import("tf2onnx")
    function = flat_function(graph, shape)

    def converted() -> Any:
        return tf2onnx.convert.from_function(
            function,
            input_signature(shape),
            opset=_OPSET,
            custom_op_handlers={"Erfc": (_as_erf, [])},
        )[0]

    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # an optimiser that gives up is logged with its traceback
    try:
        with mapped(ConversionError, "tf2onnx cannot convert this model"), _keeping_transposes():
            try:
                with _optimizing_in_place():
                    proto = converted()
            except _GaveUpError:
                proto = converted()
    finally:
        logger.setLevel(level)
    return onnx_graph.with_public_names(onnx_import.cleaned(proto))


class _GaveUpError(Exception):
    """An optimiser of tf2onnx failed and left a graph half changed."""


@contextlib.contextmanager
def _optimizing_in_place() -> Iterator[None]:
    """Lets tf2onnx's optimisers work without a copy of graph and weights for each, to go back to.

    The copies take a quarter of its time and 300 MB in EfficientNet-Lite0. Where one would be
    needed, it raises `_GaveUpError`. Neither does each optimiser write the weights into protobuf
    messages again, which keep what was in them before until all is over: another 300 MB. They are
    written when the model is made, and read by none of the optimisers.
    """
    optimizer, graphs = _import("tf2onnx.optimizer"), _import("tf2onnx.graph").Graph
    original, written = optimizer.optimize_graph, graphs.update_proto

    def optimize(graph: Any, catch_errors: bool, **more: Any) -> Any:
        graphs.update_proto = lambda self, external_tensor_storage=None: None
        try:
            return original(graph, False, **more)
        except Exception as exc:  # whatever it raises, tf2onnx itself would go on
            raise _GaveUpError from exc
        finally:
            graphs.update_proto = written

    optimizer.optimize_graph = optimize
    try:
        yield
    finally:
        optimizer.optimize_graph = original


@contextlib.contextmanager
def _keeping_transposes() -> Iterator[None]:
    """Lets tf2onnx move and remove what turns channels, but not write it as a Reshape.

    It does so for maps of one pixel, and by sizes that are no longer those of what it moved there:
    a normalisation over channels behind a convolution then answers [N, 1, C, C].
    """
    optimizer = _import("tf2onnx.optimizer.transpose_optimizer").TransposeOptimizer
    original = optimizer.post_optimize_action
    optimizer.post_optimize_action = lambda self: None
    try:
        yield
    finally:
        optimizer.post_optimize_action = original


def _as_erf(context: Any, node: Any, name: str, args: Any) -> None:
    """Writes erfc(x), which ONNX lacks and an exact GELU is made of, as 1 - erf(x)."""
    erf = context.make_node("Erf", node.input).output[0]
    one = context.make_const(f"{name}_one", np.ones((), np.float32)).output[0]
    answers, shapes, types = node.output, node.output_shapes, node.output_dtypes
    context.remove_node(node.name)
    context.make_node("Sub", [one, erf], outputs=answers, shapes=shapes, dtypes=types, name=name)


def _fused(float_graph: Any) -> Any:
    """With BatchNorm folded into the convolutions, so that they are quantised as one."""
    import onnx

    quantization = _import("onnxruntime.quantization.shape_inference")
    with tempfile.TemporaryDirectory() as folder:
        original, fused = (Path(folder) / name for name in ("a.onnx", "b.onnx"))
        onnx.save(float_graph, original)
        with mapped(ConversionError, "onnxruntime cannot prepare this model"):
            quantization.quant_pre_process(original, fused, skip_symbolic_shape=True)
        return onnx.load(fused)


def _quantize(fused: Any, ranges: Ranges, recipe: Recipe, in_float: Sequence[str]) -> Any:
    import onnx

    _import("onnxruntime")
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
    depthwise = [layer.name for layer in onnx_graph.weight_layers(fused) if layer.is_depthwise]
    with mapped(ConversionError, "onnxruntime cannot quantise this model"):
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
    return _sorted(quantizer.model.model)


def _sorted(model: Any) -> Any:
    """The model with every node behind those it takes from, as the standard demands."""
    onnx_model = _import("onnxruntime.quantization.onnx_model").ONNXModel(model)
    onnx_model.topological_sort()
    return onnx_model.model


def _reduces_range(recipe: Recipe) -> bool:
    """Only the integer kernels can overflow; there are none for 16-bit activations."""
    return recipe.activation_bits == 8


def _as_fp16(float_graph: Any) -> Any:
    float16 = _import("onnxruntime.transformers.float16")
    model = copy.deepcopy(float_graph)
    with mapped(ConversionError, "onnxruntime cannot store this model as fp16"):
        return _sorted(float16.convert_float_to_float16(model, keep_io_types=True))
