"""Networks written as TFLite directly; see `LayerWriter`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.converters.flatbuffer.editor import Editor
from edgeclf.converters.flatbuffer.tree import pack, schema
from edgeclf.networks.backend import keras
from edgeclf.networks.convolution import Convolution, Window
from edgeclf.networks.layer_writer import LayerWriter

_VERSION = 1  # of every operator here: the one for floats
_ACTIVATIONS = {"sigmoid": "LOGISTIC", "tanh": "TANH", "hard_silu": "HARD_SWISH"}
_CLIPPED = {None: "RELU", 6.0: "RELU6"}
_FORMAT_VERSION = 3
_CHANNELS = 3  # their axis


def write_tflite(model: keras.Model, output: keras.KerasTensor) -> bytes:
    """A network of one image, or the part up to a tensor of it, as a TFLite file.

    Args:
        model: The network; written is what it does when it is not being trained.
        output: The tensor that is wanted.

    Returns:
        A graph from ``image``, float32 [1, H, W, C], to that tensor, float32.

    Raises:
        UnknownLayerError: It holds a layer that is not written here.
        MissingDependencyError: What TFLite's tables are written with is not installed.
    """
    return _TFLiteWriter(model, [output]).write()


class _TFLiteWriter(LayerWriter[int]):
    """Tensors are their numbers in the graph."""

    def __init__(self, model: keras.Model, outputs: Sequence[keras.KerasTensor]) -> None:
        super().__init__(model, outputs)
        self._graph, self._tree = schema().SubGraphT(), schema().ModelT()
        self._graph.tensors, self._graph.operators = [], []
        self._tree.version, self._tree.subgraphs = _FORMAT_VERSION, [self._graph]
        self._tree.buffers, self._tree.operatorCodes = [schema().BufferT()], []
        self._editor = Editor(self._tree)
        self._options: dict[int, Any] = {}  # of the operators that can apply a ReLU, by output

    def write(self) -> bytes:
        image = self._editor.tensor("image", schema().TensorType.FLOAT32, (1, *self.image_shape))
        self._graph.inputs = [image]
        self._graph.outputs = self.write_layers(image)
        self._editor.sign("image", "scores")
        return pack(self._tree)

    def _add(self, operator: str, inputs: list[int], options: Any = None, **fields: Any) -> int:
        """Adds an operator whose output has the layer's shape."""
        for name, value in fields.items():
            setattr(options, name, value)
        name = self.free_name("")
        output = self._editor.tensor(name, schema().TensorType.FLOAT32, (1, *self.shape))
        self._editor.last(operator, options, inputs, output, _VERSION)
        if hasattr(options, "fusedActivationFunction"):
            self._options[output] = options
        return output

    def _constant(self, part: str, values: npt.ArrayLike, dtype: str = "<f4") -> int:
        array = np.ascontiguousarray(values, dtype)
        return self._editor.constant(self.free_name(part), array)

    def convolution(self, given: int, convolution: Convolution) -> int:
        kernel, window = convolution.kernel, convolution.window
        depthwise = convolution.groups > 1
        if depthwise and kernel.shape[2] != 1:
            raise self.unknown(f"{convolution.groups} groups")
        order = (2, 0, 1, 3) if depthwise else (3, 0, 1, 2)
        weights = self._constant("kernel", kernel.transpose(order))
        options = schema().DepthwiseConv2DOptionsT() if depthwise else schema().Conv2DOptionsT()
        if depthwise:
            options.depthMultiplier = kernel.shape[3] // convolution.groups
        options.dilationHFactor, options.dilationWFactor = convolution.dilations
        return self._add(
            "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
            [given, weights, self._constant("bias", convolution.bias)],
            _placed(options, window),
        )

    def dense(self, given: int, kernel: Any, bias: Any) -> int:
        weights = self._constant("kernel", kernel.T)
        inputs = [given, weights, self._constant("bias", bias)]
        return self._add("FULLY_CONNECTED", inputs, schema().FullyConnectedOptionsT())

    def times(self, given: int, factor: Any) -> int:
        return self.multiplied(given, self._constant("factor", factor))

    def plus(self, given: int, amount: Any) -> int:
        return self.added([given, self._constant("amount", amount)])

    def relu(self, given: int, most: float | None) -> int:
        if most not in _CLIPPED:
            raise self.unknown(f"ReLU up to {most:g}")
        options = self._options.get(given)
        if options is None or options.fusedActivationFunction or not self.is_sole_reader:
            return self._add(_CLIPPED[most], [given])
        kinds = schema().ActivationFunctionType
        options.fusedActivationFunction = getattr(kinds, _CLIPPED[most])
        return given

    def activation(self, given: int, name: str) -> int:
        if name == "silu":
            gate = self._add("LOGISTIC", [given])
            return self.multiplied(given, gate)
        if name not in _ACTIVATIONS:
            raise self.unknown(f"activation {name}")
        return self._add(_ACTIVATIONS[name], [given])

    def softmax(self, given: int) -> int:
        return self._add("SOFTMAX", [given], schema().SoftmaxOptionsT(), beta=1.0)

    def added(self, inputs: Sequence[int]) -> int:
        total, *others = inputs
        for other in others:
            total = self._add("ADD", [total, other], schema().AddOptionsT())
        return total

    def multiplied(self, one: int, other: int) -> int:
        return self._add("MUL", [one, other], schema().MulOptionsT())

    def joined(self, inputs: Sequence[int]) -> int:
        options = schema().ConcatenationOptionsT()
        return self._add("CONCATENATION", list(inputs), options, axis=_CHANNELS)

    def turned(self, given: int, order: Sequence[int]) -> int:
        inputs = [given, self._constant("order", order, "<i4")]
        return self._add("GATHER", inputs, schema().GatherOptionsT(), axis=_CHANNELS)

    def as_rows(self, given: int) -> int:
        return self.as_maps(given)  # RESHAPE as well: channels are last already

    def as_maps(self, given: int) -> int:
        sizes = [-1, *self.shape]
        inputs = [given, self._constant("sizes", sizes, "<i4")]
        return self._add("RESHAPE", inputs, schema().ReshapeOptionsT(), newShape=sizes)

    def padded(self, given: int, rows: tuple[int, int], columns: tuple[int, int]) -> int:
        pads = self._constant("pads", [[0, 0], rows, columns, [0, 0]], "<i4")
        return self._add("PAD", [given, pads], schema().PadOptionsT())

    def pooled(self, given: int, window: Window, *, largest: bool) -> int:
        options = _placed(schema().Pool2DOptionsT(), window)
        options.filterHeight, options.filterWidth = window.sides
        return self._add("MAX_POOL_2D" if largest else "AVERAGE_POOL_2D", [given], options)

    def averaged(self, given: int, *, keepdims: bool) -> int:
        axes = self._constant("axes", [1, 2], "<i4")
        return self._add("MEAN", [given, axes], schema().ReducerOptionsT(), keepDims=keepdims)


def _placed(options: Any, window: Window) -> Any:
    """The options of an operator that goes over maps."""
    options.strideH, options.strideW = window.strides
    same = window.padding == "same"
    options.padding = schema().Padding.SAME if same else schema().Padding.VALID
    return options
