"""Taking the mean error of a quantised layer out of its bias, front to back, in one walk.

Rounded weights and clipped activations no longer sum to what they did, and images are mostly
smooth: so a channel is off by nearly the same everywhere. After Nagel et al., "Data-Free
Quantization through Weight Equalization and Bias Correction" (2019), section 4.2, with means
measured instead of derived. Layers with a ReLU in them are left alone; the next linear one makes up
for it.

What a layer answers depends on the biases before it, which have been changed by then. So the
network is run a stretch at a time, from one such layer to the next: the images wait there, as the
integers that the network holds them in, and nothing before is computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

from edgeclf.runtimes.base import Float32Array

Tensors: TypeAlias = Mapping[str, Any]
Model_co = TypeVar("Model_co", covariant=True)


@dataclass(frozen=True)
class Step:
    """An operator that the image reaches.

    Attributes:
        given: The tensors that it is given and that depend on the image.
        made: The tensors that it computes.
    """

    given: tuple[str, ...]
    made: tuple[str, ...]


@dataclass(frozen=True)
class LinearLayer:
    """A quantised layer whose bias can be corrected.

    Attributes:
        name: What the float graph calls its output.
        step: The operator that adds the bias, among the network's steps.
        output: The tensor that holds its answer, quantised.
    """

    name: str
    step: int
    output: str


@dataclass(frozen=True)
class Stretch:
    """A part of the network.

    Attributes:
        steps: Its operators, by their numbers, in order.
        given: The tensors that come into it.
        wanted: Those of its own that are asked for.
    """

    steps: tuple[int, ...]
    given: tuple[str, ...]
    wanted: tuple[str, ...]


class QuantizedNetwork(Protocol[Model_co]):
    """A quantised model, run in stretches; tensors hold what it stores, mostly integers.

    Attributes:
        model: It, with what was added to its biases.
        steps: In the order they run.
        layers: Those that can be corrected, in that order.
    """

    @property
    def model(self) -> Model_co:
        """See the class."""

    @property
    def steps(self) -> Sequence[Step]:
        """See the class."""

    @property
    def layers(self) -> Sequence[LinearLayer]:
        """See the class."""

    def images(self, image: Float32Array) -> dict[str, Any]:
        """A normalised image [H, W, 3] as the network's own input, by the tensor's name."""

    def opened(self, stretch: Stretch, example: Tensors) -> Callable[[Tensors], dict[str, Any]]:
        """What runs a stretch, with the biases as they are now: from `given` to `wanted`.

        Args:
            stretch: Some of the steps.
            example: What it will be given, of one image.
        """

    def channel_means(self, tensor: str, values: Any) -> Any:
        """The means float [channels] of what a quantised tensor of one image stands for."""

    def add_to_bias(self, layer: LinearLayer, amount: Any) -> None:
        """Adds float [channels] to a layer's bias."""


def correct_biases(
    network: QuantizedNetwork[Any], targets: Mapping[str, Any], images: Iterable[Float32Array]
) -> None:
    """Corrects all layers of a network, one after the other.

    Args:
        network: What is changed.
        targets: For each layer's name the means float [channels] of the float network's answer.
        images: The normalised images [H, W, 3] that those are of.
    """
    waiting = [network.images(image) for image in images]
    for layer, stretch in zip(network.layers, stretches(network), strict=True):
        run = network.opened(stretch, waiting[0])
        total: Any = 0.0
        for number, tensors in enumerate(waiting):
            found = run({name: tensors[name] for name in stretch.given})
            total += network.channel_means(layer.output, found.pop(layer.output))
            waiting[number] = {**tensors, **found}
        network.add_to_bias(layer, targets[layer.name] - total / len(waiting))
        needed = _reached(network.steps, layer.step)
        waiting = [{n: v for n, v in each.items() if n in needed} for each in waiting]


def stretches(network: QuantizedNetwork[Any]) -> list[Stretch]:
    """For each layer the stretch that ends with it and begins with the layer before.

    The layer before is run again, as its bias has changed since.
    """
    steps, found, first = network.steps, list[Stretch](), 0
    for layer in network.layers:
        made_before = {name for step in steps[: layer.step] for name in step.made}
        kept = _reached(steps, layer.step) & made_before  # what the next stretch needs of this one
        made_here = {name for step in steps[first:] for name in step.made}
        wanted = {layer.output, *(kept & made_here)}
        needed, picked = set(wanted), list[int]()
        for number in range(len(steps) - 1, first - 1, -1):
            if needed.intersection(steps[number].made):
                picked.append(number)
                needed.update(steps[number].given)
        made = {name for number in picked for name in steps[number].made}
        found.append(Stretch(tuple(picked[::-1]), tuple(sorted(needed - made)), tuple(wanted)))
        first = layer.step
    return found


def _reached(steps: Sequence[Step], first: int) -> set[str]:
    """The tensors that any step from `first` on is given."""
    return {name for step in steps[first:] for name in step.given}
