"""Keras models from files: loaded for their answers, and as graphs that converters take."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.converters import keras_2_file
from edgeclf.converters.base import TensorFlowGraph
from edgeclf.converters.readers.base import Output, only_input
from edgeclf.converters.written import Known, Written
from edgeclf.errors import ArtifactError, ConversionError, mapped
from edgeclf.networks.backend import keras, layers, tf
from edgeclf.networks.engines import PICTURES, Arrays, Engine, faster

# Keras 2 wrote `groups` for all convolutions; Keras 3 refuses it where it could only be one.
_WITHOUT_GROUPS = (
    layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose,
    layers.DepthwiseConv1D, layers.DepthwiseConv2D,
    layers.SeparableConv1D, layers.SeparableConv2D,
)  # fmt: skip
_OTHER_FLOATS = ("float16", "bfloat16", "float64")
_OTHER_POLICIES = (*_OTHER_FLOATS, "mixed_float16", "mixed_bfloat16")
# What may stand before a layer that gives pictures their size.
_ON_PIXELS = (layers.InputLayer, layers.Rescaling, layers.Normalization)
_SIZED = (layers.Resizing, layers.CenterCrop)
_SHAPING = (layers.Flatten, layers.Identity, layers.Reshape)


def load(path: Path, *, trust: bool) -> keras.Model:
    """A model that computes in float32 and whose layers are called what exporters allow.

    Args:
        path: A ``.keras`` or ``.h5`` file.
        trust: Whether code in the file may run.

    Raises:
        ArtifactError: Keras cannot load it.
        ConversionError: It holds code and is not trusted, is quantised, was never called, or is no
            classifier of one image.
    """
    with (
        mapped(ArtifactError, f"Keras cannot load {path}"),
        keras_2_file.readable(path) as file,
        _reading_keras_2(),
    ):
        try:
            model = keras.saving.load_model(file, compile=False, safe_mode=not trust)
        except ValueError as exc:
            if "Lambda" not in str(exc) and "safe_mode" not in str(exc):
                raise
            raise ConversionError(
                f"{path} holds code (a Lambda layer or the like), which loading it would run. "
                "If you know where it comes from, add --trust."
            ) from exc
    _check(model, path)
    model = _in_float32(model, path)
    for layer in _all_layers(model):
        layer.name = _exportable_name(layer.name)
    return model


def graph_of(
    model: keras.Model, output: int = 0, known: Callable[[], Known] | None = None
) -> TensorFlowGraph:
    """One output of the network as converters take it, without what it does only in training.

    Args:
        model: The network.
        output: Which of its tensors.
        known: Gives what files that are written directly must answer; None leaves all to exporters.
    """

    def scores(image: Any) -> Any:
        with _depthwise(model):
            return answer_of(model, tf.cast(image, model.inputs[0].dtype), output)

    graph = TensorFlowGraph(scores, [variable.value for variable in model.variables])
    if known is None:
        return graph
    return dataclasses.replace(graph, written=Written(model, output, known))


def answer_of(model: keras.Model, images: Any, output: int) -> Any:
    """One of the tensors that a model answers, in whatever structure it answers them."""
    return keras.tree.flatten(model(images, training=False))[output]


class ModelAnswers:
    """What a model answers, by the engine that is chosen for it with the first pictures.

    Args:
        model: From `load`, or an artifact's.
        output: Which of its tensors.
        model_name: What it is called in the log.
    """

    name = "Keras"

    def __init__(self, model: keras.Model, output: int, model_name: str) -> None:
        self._model, self._output, self._what = model, output, f"  answers of {model_name}"
        self._call = tf.function(self._by_layers)
        self._traced: dict[tuple[int, ...], Callable[[Any], Any]] = {}
        self._engine: Engine | None = None
        self._first: npt.NDArray[Any] | None = None

    def of(self, images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Its scores for images [N, ...] of its own layout and type; as many rows as there are."""
        if self._engine is None:
            output = self._model.outputs[self._output]
            self._engine = faster(self, self._model, [output], images, self._what)
            self._first = images[:PICTURES].copy()
        return self._engine(images)[0]

    def known(self) -> Known:
        """The first few images it was asked, which it must have been, and its scores for them."""
        assert self._first is not None, "asked before"
        return self._first, self.of(self._first)

    def __call__(self, images: npt.NDArray[Any]) -> Arrays:
        """See `Plain`; traced once for batches of any size, which is half the time of `untraced`.

        What cannot be traced for any size answers as `untraced` does.
        """
        shape = tuple(images.shape[1:])
        if shape not in self._traced:
            try:
                spec = tf.TensorSpec((None, *shape), self._model.inputs[0].dtype)
                self._traced[shape] = self._call.get_concrete_function(spec)
            except Exception:  # a layer's own code may raise anything
                self._traced[shape] = self._by_layers
        return [np.asarray(self._traced[shape](tf.constant(images)))]

    def untraced(self, images: npt.NDArray[Any]) -> Arrays:
        """See `Plain`."""
        return [np.asarray(self._by_layers(tf.constant(images)))]

    def _by_layers(self, images: Any) -> Any:
        return answer_of(self._model, images, self._output)


def outputs_of(model: keras.Model) -> list[Output]:
    """What a model answers, in the order of `answer_of`."""
    structure = model.outputs if isinstance(model, keras.Sequential) else model.output
    keys = [path[-1:] for path, _ in keras.tree.flatten_with_path(structure)]
    return [
        Output(
            key[0] if key and isinstance(key[0], str) else tensor._keras_history.operation.name,
            tuple(tensor.shape),
            _made_by_softmax(tensor),
        )
        for key, tensor in zip(keys, model.outputs, strict=True)
    ]


def _made_by_softmax(tensor: Any) -> bool:
    """Whether a softmax makes a tensor, but for what only changes its shape."""
    layer, node, index = tensor._keras_history
    if isinstance(layer, keras.Model):
        return _made_by_softmax(layer.outputs[index])
    if isinstance(layer, _SHAPING):
        return _made_by_softmax(layer._inbound_nodes[node].input_tensors[0])
    activation = getattr(layer, "activation", None)
    return type(layer).__name__ == "Softmax" or activation is keras.activations.softmax


def input_shape(model: keras.Model) -> tuple[int | None, ...]:
    """The shape it takes; one that is open is what the model itself makes of it first."""
    shape: tuple[int | None, ...] = tuple(model.input_shape)
    if len(shape) != 4 or None not in shape[1:3]:
        return shape
    for layer in _all_layers(model):
        if isinstance(layer, _SIZED):
            return (shape[0], layer.height, layer.width, shape[3])
        if not isinstance(layer, (*_ON_PIXELS, keras.Model)):
            break
    return shape


@contextlib.contextmanager
def _reading_keras_2() -> Iterator[None]:
    """Lets layers be made from what Keras 2 said of them."""

    def from_config(original: Any, config: dict[str, Any]) -> Any:
        return original(**{name: v for name, v in config.items() if (name, v) != ("groups", 1)})

    for each in _WITHOUT_GROUPS:
        each.from_config = classmethod(from_config)
    try:
        yield
    finally:
        for each in _WITHOUT_GROUPS:
            del each.from_config


def _check(model: keras.Model, path: Path) -> None:
    inputs = getattr(model, "inputs", None)
    if not model.built or inputs is None:
        raise ConversionError(
            f"{path} was never called, so its layers have no shapes. Call the model once on an "
            "image, or give it a keras.Input, and save it again."
        )
    only_input([tensor.name for tensor in inputs], path)
    for layer in _all_layers(model):
        mode = getattr(layer.dtype_policy, "quantization_mode", None)
        if mode is None:
            continue
        raise ConversionError(
            f"{path} was quantised by Keras (quantize({mode!r})); what is quantised already cannot "
            "be converted again. Take the model from before."
        )


def _in_float32(model: keras.Model, path: Path) -> keras.Model:
    """The model itself, or one of the same weights where it computes in other floats."""
    if not _uses_other_floats(model):
        return model
    from keras.src.saving.serialization_lib import SafeModeScope

    with (
        mapped(ConversionError, f"Keras cannot build {path} in float32"),
        SafeModeScope(False),  # what it could run has run when the file was loaded
    ):
        plain = type(model).from_config(_with_float32(model.get_config()))
        plain.set_weights(model.get_weights())
    if _uses_other_floats(plain):
        raise ConversionError(
            f"{path} computes in {', '.join(_OTHER_FLOATS)} or a mix of them by code of its own. "
            "Build it with the dtype policy float32, load its weights and save it again."
        )
    return plain


def _uses_other_floats(model: keras.Model) -> bool:
    computed = [layer.compute_dtype for layer in _all_layers(model)]
    return any(dtype in _OTHER_FLOATS for dtype in (model.inputs[0].dtype, *computed))


def _with_float32(config: Any) -> Any:
    """A config with each dtype and each dtype policy of other floats replaced."""
    if isinstance(config, list | tuple):
        return type(config)(map(_with_float32, config))
    if not isinstance(config, dict):
        return config
    changed = {name: _with_float32(value) for name, value in config.items()}
    if changed.get("class_name") == "DTypePolicy":
        name = changed["config"]["name"]
        changed["config"]["name"] = "float32" if name in _OTHER_POLICIES else name
    if isinstance(changed.get("dtype"), str) and changed["dtype"] in _OTHER_POLICIES:
        changed["dtype"] = "float32"
    return changed


def _all_layers(model: keras.Model) -> list[Any]:
    """The model, its layers, and those within them."""
    return list(model._flatten_layers())


def _exportable_name(name: str) -> str:
    """A name that TensorFlow takes for a scope, at the root too."""
    return re.sub(r"^[^A-Za-z0-9]+", "", re.sub(r"[^A-Za-z0-9_-]", "_", name)) or "layer"


def _is_depthwise(layer: Any) -> bool:
    """Whether a convolution has a group for each channel, and TensorFlow a depthwise one for it."""
    if not isinstance(layer, layers.Conv2D) or layer.data_format != "channels_last":
        return False
    strides, dilations = set(layer.strides), set(layer.dilation_rate)
    has_kernel = len(strides) == 1 and 1 in (*strides, max(dilations))
    return layer.groups > 1 and layer.kernel.shape[2] == 1 and has_kernel


@contextlib.contextmanager
def _depthwise(model: keras.Model) -> Iterator[None]:
    """Lets convolutions with a group for each channel run as what they are.

    Keras hands grouped convolutions to XLA, and engines are many times slower at a convolution of
    as many groups as channels than at a depthwise one.
    """
    changed = [layer for layer in _all_layers(model) if _is_depthwise(layer)]
    for layer in changed:
        layer.convolution_op = partial(_depthwise_convolution, layer)
    try:
        yield
    finally:
        for layer in changed:
            del layer.convolution_op


def _depthwise_convolution(layer: Any, inputs: Any, kernel: Any) -> Any:
    rows, columns, _, filters = kernel.shape
    return tf.nn.depthwise_conv2d(
        inputs,
        tf.reshape(kernel, (rows, columns, layer.groups, filters // layer.groups)),
        strides=(1, *layer.strides, 1),
        padding=layer.padding.upper(),
        dilations=layer.dilation_rate,
    )
