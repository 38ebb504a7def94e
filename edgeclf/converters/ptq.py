"""Static int8, the same steps for every format: measure ranges, round, quantise, correct, judge.

A format brings an `Engine`, which runs its models and edits them; everything else is here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from edgeclf.artifact import Precision
from edgeclf.converters.base import LayerError, Recipe, Source
from edgeclf.converters.bias_correction import QuantizedNetwork, correct_biases
from edgeclf.converters.calibration import (
    CalibrationMethod,
    Observations,
    Ranges,
    relative_error,
    spread_indices,
)
from edgeclf.converters.gptq import Factor, RoundingInputs, one_blas_thread, round_weights
from edgeclf.converters.known import ChannelMeans, Known
from edgeclf.converters.layer_inputs import Layer
from edgeclf.converters.same_tensors import same_tensors
from edgeclf.errors import ConversionError, mapped
from edgeclf.image import UInt8Array
from edgeclf.runtimes.base import Float32Array

_METHODS: tuple[CalibrationMethod, ...] = ("mse", "min-max", "average", "percentile")
_FLOAT_LAYERS = (2, 8)  # how many of the worst layers are left in float, one attempt each
_ROUNDING_IMAGES = 128  # that the layers' inputs are taken from
_CORRECTION_IMAGES = 64  # that a bias is corrected by
_ERROR_IMAGES = 8  # that a layer's error is measured on
_MATCHING_IMAGES = 3  # that tell which tensors two formats share

Model = TypeVar("Model")
Activations = Iterator[dict[str, npt.NDArray[Any]]]


class Engine(Protocol[Model]):
    """What a format has to bring: its models, run and edited."""

    def input_name(self, float_graph: Model) -> str:
        """Name of the float graph's input tensor."""

    def operators(self, float_graph: Model) -> Mapping[str, str]:
        """Each layer's output to the name of its operator, in the order they run."""

    def activations(
        self, model: Model, images: Iterable[Float32Array], wanted: Sequence[str] | None
    ) -> Activations:
        """For each normalised image [H, W, 3] the tensors by the float graph's names, in float.

        Images inside are [1, H, W, C]; only `wanted` ones are given, if it is not None. They may be
        an engine's own memory: what is to last longer than until the next image is copied.
        """

    def weight_layers(self, float_graph: Model) -> list[Layer]:
        """The layers whose weights can be rounded."""

    def levels(self, layer: Layer, recipe: Recipe) -> int:
        """Positive levels of the grid that the quantiser will put a layer's weights on."""

    def is_per_tensor(self, layer: Layer) -> bool:
        """Whether all outputs of a layer share one grid."""

    def with_weights(
        self, float_graph: Model, weights: Mapping[str, npt.NDArray[np.float32]]
    ) -> Model:
        """The float graph with other weights, by the layer's name."""

    def quantize(
        self, float_graph: Model, ranges: Ranges, recipe: Recipe, in_float: Sequence[str]
    ) -> Model:
        """Quantises, but for the layers whose outputs are named."""

    def unactivated(self, float_graph: Model) -> list[str]:
        """Outputs of the layers with a bias and no activation function."""

    def alike(self, float_graph: Model) -> Mapping[str, str]:
        """Tensors that the quantiser gives the range of another, whatever theirs is."""

    def in_stretches(self, float_graph: Model, quantized: Model) -> QuantizedNetwork[Model]:
        """A quantised model, whose biases can be corrected."""


class StaticInt8(Generic[Model]):
    """Quantises one float graph by several recipes and keeps what they share.

    Args:
        engine: The format's.
        float_graph: The float network.
        source: Where calibration images and normalisation come from.
    """

    def __init__(self, engine: Engine[Model], float_graph: Model, source: Source) -> None:
        self._engine, self._float_graph, self._source = engine, float_graph, source
        self._known: Known | None = None
        self._percentiles: Ranges | None = None
        self._rounded: dict[tuple[int, ...], Model] = {}
        self._worst: list[LayerError] = []
        self._before: StaticInt8[Any] | None = None  # another format's, which has measured already
        self._same: dict[str, str | None] | None = None  # our tensors to those of that one

    def quantize(self, recipe: Recipe) -> tuple[Model, tuple[LayerError, ...], list[str]]:
        """Quantises by one recipe.

        Returns:
            The quantised model, each layer's error, and the outputs of the layers left in float.
        """
        measured = self._source.measured
        if self not in measured:
            self._before = next(iter(measured), None)
        in_float = self._layers_for_float(recipe)
        with one_blas_thread():
            rounded = self._round(recipe)
        quantized = self._engine.quantize(rounded, self._calibrate(recipe), recipe, in_float)
        quantized = self._correct_biases(quantized)
        errors = self._layer_errors(quantized)
        if not self._worst:  # of the first, plain attempt: what a fallback goes by
            self._worst = sorted(errors, key=lambda e: -e.error)
        if self not in measured:
            measured.append(self)
        return quantized, tuple(errors), in_float

    def _activations(
        self, model: Model, images: UInt8Array, wanted: Sequence[str] | None = None
    ) -> Activations:
        metadata = self._source.metadata
        with mapped(
            ConversionError,
            f"The network of {metadata.name} cannot be run on the calibration images, given to its "
            f"input {self._engine.input_name(self._float_graph)!r}",
            "Without int8 in --to, no images are needed; or start from another export of it.",
        ):
            yield from self._engine.activations(model, self._normalized(images), wanted)

    def _normalized(self, images: UInt8Array) -> Iterator[Float32Array]:
        return (self._source.metadata.normalization.apply(image) for image in images)

    def _images(self, count: int | None = None) -> UInt8Array:
        images = self._source.calibration
        assert images is not None  # the pipeline refuses int8 without
        if count is None:
            return images
        picked: UInt8Array = images[spread_indices(len(images), count)]
        return picked

    def known(self) -> Known:
        """What one look at the photos tells of the float graph; taken over where it is known."""
        if self._known is None:
            layers = self._engine.weight_layers(self._float_graph)
            linear = self._engine.unactivated(self._float_graph)
            if self._before is None:
                self._known = self._look(None, layers, linear)
            else:
                found = self._taken_over(self._before.known(), layers)
                missing = self._not_in(found.ranges["mse"])
                unknown = [layer for layer in layers if layer.name not in found.factors]
                without_mean = [name for name in linear if name not in found.means]
                if missing or unknown or without_mean:
                    found.update(self._look(missing, unknown, without_mean))
                self._known = found
        return self._known

    def _look(
        self, ranged: Sequence[str] | None, layers: Sequence[Layer], linear: Sequence[str]
    ) -> Known:
        """Runs the float graph on all photos, once.

        Args:
            ranged: Tensors whose ranges are wanted; None for all.
            layers: Whose weights will be rounded.
            linear: Tensors whose channels' means are wanted.
        """
        images = self._images()
        for_rounding, for_means = (
            set(spread_indices(len(images), count))
            for count in (_ROUNDING_IMAGES, _CORRECTION_IMAGES)
        )
        observations, inputs, means = Observations(), RoundingInputs(layers), ChannelMeans(linear)
        wanted = None
        if ranged is not None:
            wanted = list(dict.fromkeys([*ranged, *linear, *(layer.given for layer in layers)]))
        for number, tensors in enumerate(self._activations(self._float_graph, images, wanted)):
            names = tensors if ranged is None else ranged
            observations.add({name: tensors[name] for name in names if name in tensors})
            if number in for_rounding:
                inputs.add(tensors)
            if number in for_means:
                means.add(tensors)
        return Known(observations.ranges(), inputs.factors(), means.means())

    def _taken_over(self, theirs: Known, layers: Sequence[Layer]) -> Known:
        """What another format's look tells of our graph of the same network."""
        same, alike = self._same_tensors(), self._engine.alike(self._float_graph)
        ranges = {}
        for method, known in theirs.ranges.items():
            found = {name: known[other] for name, other in same.items() if other in known}
            ranges[method] = found | {name: found[o] for name, o in alike.items() if o in found}
        means = {n: theirs.means[other] for n, other in same.items() if other in theirs.means}
        return Known(ranges, self._factors_of(theirs, layers), means)

    def _factors_of(self, theirs: Known, layers: Sequence[Layer]) -> dict[str, Factor]:
        """Those of another format's layers that have our weights and are given our tensors."""
        before, same = self._before, self._same_tensors()
        assert before is not None
        others, found = before._engine.weight_layers(before._float_graph), {}
        for layer in layers:
            for other in others:
                if same.get(layer.given) == other.given and layer.has_weights_of(other):
                    if other.name in theirs.factors:
                        found[layer.name] = theirs.factors[other.name]
                    break
        return found

    def _same_tensors(self) -> dict[str, str | None]:
        if self._same is None:
            assert self._before is not None
            images = self._images(_MATCHING_IMAGES)
            self._same = same_tensors(
                self._activations(self._float_graph, images),
                self._before._activations(self._before._float_graph, images),
            )
        return self._same

    def _not_in(self, known: Ranges) -> list[str]:
        """Our tensors besides the input that another format's look told nothing of."""
        given = self._engine.input_name(self._float_graph)
        return [name for name in self._same_tensors() if name not in (given, *known)]

    def _calibrate(self, recipe: Recipe) -> Ranges:
        method = recipe.calibration
        assert method is not None
        ranges = dict(self.percentiles() if method == "percentile" else self.known().ranges[method])
        # Not what the photos happened to hold, but what bytes can be: the scale is 1 / std.
        extremes = np.array([[0] * 3, [255] * 3], np.uint8)
        values = self._source.metadata.normalization.apply(extremes)
        name = self._engine.input_name(self._float_graph)
        ranges[name] = (float(values.min()), float(values.max()))
        return ranges

    def percentiles(self) -> Ranges:
        """The ranges of the one method that needs another look at the photos."""
        if self._percentiles is None:
            known: Ranges = {}
            if self._before is not None:
                theirs, same = self._before.percentiles(), self._same_tensors()
                known = {name: theirs[other] for name, other in same.items() if other in theirs}
            wanted = None if self._before is None else self._not_in(known)
            if wanted is None or wanted:
                observations = Observations(percentiles=True)
                for tensors in self._activations(self._float_graph, self._images(), wanted):
                    observations.add(tensors)
                known |= observations.ranges()["percentile"]
            self._percentiles = known
        return self._percentiles

    def _layers_for_float(self, recipe: Recipe) -> list[str]:
        if recipe.float_layers and not self._worst:
            self.quantize(Recipe(recipe.precision, recipe.calibration))
        return [layer.tensor for layer in self._worst[: recipe.float_layers]]

    def _round(self, recipe: Recipe) -> Model:
        """The float graph with its weights on int8's grid; made once for each grid."""
        layers = self._engine.weight_layers(self._float_graph)
        if not layers:  # ONNX Runtime does not run a model for no tensor at all
            return self._float_graph
        levels = {layer.name: self._engine.levels(layer, recipe) for layer in layers}
        key = tuple(levels.values())
        if key not in self._rounded:
            factors = self.known().factors
            rounded = {
                layer.name: round_weights(
                    layer.weights,
                    factors[layer.name],
                    levels[layer.name],
                    per_tensor=self._engine.is_per_tensor(layer),
                )
                for layer in layers
                if layer.name in factors
            }
            self._rounded[key] = self._engine.with_weights(self._float_graph, rounded)
        return self._rounded[key]

    def _correct_biases(self, quantized: Model) -> Model:
        network = self._engine.in_stretches(self._float_graph, quantized)
        if not network.layers:
            return quantized
        images = self._normalized(self._images(_CORRECTION_IMAGES))
        correct_biases(network, self.known().means, images)
        return network.model

    def _layer_errors(self, quantized: Model) -> list[LayerError]:
        """Each layer's error in the whole network, with the errors of those before it."""
        images = self._images(_ERROR_IMAGES)
        operators = self._engine.operators(self._float_graph)
        errors: dict[str, list[float]] = {}
        for reference, other in zip(
            self._activations(self._float_graph, images),
            self._activations(quantized, images),
            strict=True,
        ):
            for name in operators.keys() & reference.keys() & other.keys():
                if reference[name].shape == other[name].shape:
                    errors.setdefault(name, []).append(relative_error(reference[name], other[name]))
        return [LayerError(name, operator, float(np.mean(errors[name])))
                for name, operator in operators.items() if name in errors]  # fmt: skip


def fallback_recipes(precision: Precision) -> list[Recipe]:
    """The ways to a precision, in the order to try them; the same for every format."""
    if precision == "int8-full":  # what a microcontroller takes has no float layers
        return [Recipe(precision, method) for method in _METHODS]
    if precision != "int8":
        return [Recipe(precision)]
    return [
        *(Recipe("int8", method) for method in _METHODS),
        *(Recipe("int8", _METHODS[0], float_layers=count) for count in _FLOAT_LAYERS),
        Recipe("int8", _METHODS[0], activation_bits=16),
        Recipe("fp16"),
    ]
