"""Which channels a trained network can best do without, and the network without them.

A channel's importance is how much the loss of each photo would change if it were gone, to first
order: the gradient with respect to a gate on the channel, squared and summed over the photos.
After Molchanov et al., "Importance Estimation for Neural Network Pruning" (2019), equation 8 with
the gates of section 3.3; here one gate stands at every place where the channel is read, so that
what a residual carries on counts wherever it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.errors import ConversionError, OptionError
from edgeclf.image import UInt8Array
from edgeclf.networks.backend import keras, layers, ops, tf
from edgeclf.networks.channel_groups import ChannelGraph, channel_groups
from edgeclf.networks.cut import Indices, cut
from edgeclf.networks.keras_model import BATCH_SIZE
from edgeclf.system.progress import track

# What int8 kernels for AVX-512 compute side by side at least: of the demo's student, 24 channels
# took as long as 32. Of the last 16, half may go.
CHANNELS_AT_ONCE = 16
FEWEST_CHANNELS = 8
Scores = Mapping[str, npt.NDArray[np.float64]]


def importance(
    model: keras.Model,
    images: UInt8Array,
    targets: npt.NDArray[np.int64],
    graph: ChannelGraph | None = None,
) -> dict[str, npt.NDArray[np.float64]]:
    """How much each channel that can be removed matters for the loss of photos.

    Args:
        model: From `build_classifier`, trained; BatchNorm uses its moving statistics.
        images: uint8 [N, H, W, 3] of its input size.
        targets: int64 [N], their classes.
        graph: What `channel_groups` says of the model, if it was asked already.

    Returns:
        For the name of each group float64 [channels], at least 0; the mean over the photos.

    Raises:
        ConversionError: The model cannot be cut; the message names the layer.
        OptionError: There are no photos.
    """
    graph = graph or channel_groups(model)
    if not len(images):
        raise OptionError("There are no photos to tell by which channels matter; expected some.")
    gates = {name: _Gate(group.channels) for name, group in graph.prunable.items()}
    logits = _gated(model, graph, gates)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def squares(batch: Any, classes: Any) -> Any:
        for gate in gates.values():
            gate.open(tf.shape(batch)[0])
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([gate.values for gate in gates.values()])
            total = loss(classes, logits(batch, training=False))
        slopes = tape.gradient(total, [gate.values for gate in gates.values()])
        return [tf.reduce_sum(tf.square(slope), 0) for slope in slopes]

    sums = {name: np.zeros(group.channels) for name, group in graph.prunable.items()}
    starts = range(0, len(images), BATCH_SIZE)
    for start in track(starts, "importance of channels", len(starts)):
        rows = slice(start, start + BATCH_SIZE)
        found = squares(tf.constant(images[rows]), tf.constant(targets[rows]))
        for name, square in zip(sums, found, strict=True):
            sums[name] += square.numpy()
    return {name: total / len(images) for name, total in sums.items()}


def removals(graph: ChannelGraph, scores: Scores) -> Iterator[dict[str, int]]:
    """How many channels each group has as they go, from all of them to the fewest.

    Again and again the weakest channels of that group go which lose the least importance for the
    time that is saved, by `ChannelGraph.work`: 16 of them at a time, so that multiples of 16 stay,
    and of the last 16, eight.

    Args:
        graph: From `channel_groups`.
        scores: From `importance`.
    """
    ranked = {name: np.sort(scores[name]) for name in graph.prunable}
    counts = {name: len(ordered) for name, ordered in ranked.items()}
    now = graph.work(counts)
    while True:
        yield dict(counts)
        best: tuple[float, str, int, float] | None = None
        for name, ordered in ranked.items():
            fewer = _fewer(counts[name])
            if fewer == counts[name]:
                continue
            after = graph.work({**counts, name: fewer})
            rate = _between(ordered, fewer, counts[name]) / (now - after)
            if best is None or rate < best[0]:
                best = rate, name, fewer, after
        if best is None:
            return
        _, name, counts[name], now = best


def give_back(
    graph: ChannelGraph,
    scores: Scores,
    counts: Mapping[str, int],
    fits: Callable[[Mapping[str, int]], bool],
) -> dict[str, int]:
    """How many channels each group has once it was given back what fits.

    A step of `removals` can go far below a budget, and channels that went early may fit again in
    what it leaves. They come back as they go: first those that matter most for the time they take.

    Args:
        graph: From `channel_groups`.
        scores: From `importance`.
        counts: One of `removals`.
        fits: Whether so many channels are within the budget.
    """
    ranked = {name: np.sort(scores[name]) for name in graph.prunable}
    counts = dict(counts)
    while True:
        now = graph.work(counts)
        rates: list[tuple[float, dict[str, int]]] = []
        for name, ordered in ranked.items():
            more = {**counts, name: _more(counts[name], len(ordered))}
            if more != counts:
                gain = _between(ordered, counts[name], more[name])
                rates.append((gain / (graph.work(more) - now), more))
        rates.sort(key=lambda each: -each[0])
        taken = next((more for _, more in rates if fits(more)), None)
        if taken is None:
            return counts
        counts = taken


def counts_within(graph: ChannelGraph, scores: Scores, keep: float) -> dict[str, int]:
    """How many channels each group keeps, so that at most a share of the multiply-adds remains.

    Args:
        graph: From `channel_groups`.
        scores: From `importance`.
        keep: The share of the network's multiply-adds, more than 0, less than 1.

    Returns:
        What `give_back` makes of the first of `removals` that is within the share, or the last of
        them where none is.

    Raises:
        OptionError: `keep` is out of its range.
    """
    if not 0 < keep < 1:
        raise OptionError(f"keep is {keep}; expected more than 0, less than 1.")
    budget = keep * graph.multiply_adds()

    def fits(counts: Mapping[str, int]) -> bool:
        return graph.multiply_adds(counts) <= budget

    counts: dict[str, int] = {}
    for counts in removals(graph, scores):
        if fits(counts):
            break
    return give_back(graph, scores, counts, fits)


def choose_channels(graph: ChannelGraph, scores: Scores, keep: float) -> dict[str, Indices]:
    """The channels to keep, so that at most a share of the multiply-adds remains.

    Args:
        graph: From `channel_groups`.
        scores: From `importance`.
        keep: The share of the network's multiply-adds, more than 0, less than 1.

    Returns:
        For the name of each group, the numbers of its channels that stay, in order; as many as
        `counts_within` says.

    Raises:
        OptionError: `keep` is out of its range.
    """
    return strongest(scores, counts_within(graph, scores, keep))


def strongest(scores: Scores, counts: Mapping[str, int]) -> dict[str, Indices]:
    """The numbers, in order, of so many channels of each group that matter the most."""
    return {
        name: np.sort(np.argsort(scores[name], kind="stable")[len(scores[name]) - count :])
        for name, count in counts.items()
    }


def prune_channels(model: keras.Model, scores: Scores, keep: float) -> keras.Model:
    """A network without the channels that matter least, which has to be trained again.

    Args:
        model: From `build_classifier`; it stays as it is.
        scores: From `importance`.
        keep: The share of its multiply-adds that may remain, more than 0, less than 1.

    Raises:
        ConversionError: The model cannot be cut; the message names the layer.
        OptionError: `keep` is out of its range.
    """
    graph = channel_groups(model)
    return cut(model, choose_channels(graph, scores, keep), graph)


def _fewer(count: int) -> int:
    """The next smaller number of channels a group may have; itself where there is none."""
    if count > CHANNELS_AT_ONCE:
        return (count - 1) // CHANNELS_AT_ONCE * CHANNELS_AT_ONCE
    return min(count, FEWEST_CHANNELS)


class _Gate:
    """Multiplies the channels of a group, by ones: for each photo and channel one number."""

    def __init__(self, channels: int) -> None:
        self._channels = channels
        self.values: Any = None  # float32 [N, channels], while a graph is traced

    def open(self, photos: Any) -> None:
        self.values = tf.ones((photos, self._channels))


class _Gates(layers.Layer):
    """The gates of all channels that a layer reads; lets everything through unless one is open."""

    def __init__(self, gates: list[_Gate | int]) -> None:
        super().__init__()
        self._gates = gates

    def call(self, features: Any) -> Any:
        """The features, each channel times its gate."""
        if all(isinstance(gate, int) or gate.values is None for gate in self._gates):
            return features
        count = ops.shape(features)[0]
        values = [
            tf.ones((count, gate)) if isinstance(gate, int) else gate.values for gate in self._gates
        ]
        factors = ops.concatenate(values, axis=-1)
        places = [1] * (len(features.shape) - 2)
        return features * ops.reshape(factors, (count, *places, features.shape[-1]))


def _gated(model: keras.Model, graph: ChannelGraph, gates: Mapping[str, _Gate]) -> keras.Model:
    """The network up to its logits, with its own weights, and a gate wherever channels are read."""

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        dense = isinstance(layer, layers.Conv2D | layers.Dense)
        read = graph.inputs[layer.name]
        if not dense or isinstance(layer, layers.DepthwiseConv2D) or not {*read} & {*gates}:
            return layer(*args, **kwargs)
        at = [gates.get(name, graph.groups[name].channels) for name in read]
        return layer(_Gates(at)(args[0]), *args[1:], **kwargs)

    twin = keras.models.clone_model(model, call_function=call)
    twin.set_weights(model.get_weights())
    if "logits" not in {layer.name for layer in twin.layers}:
        raise ConversionError(
            f"{model.name!r} has no layer 'logits'; expected a network that 'edgeclf train' or "
            "'distill' wrote."
        )
    return keras.Model(twin.input, twin.get_layer("logits").output)


def _more(count: int, channels: int) -> int:
    """The number that `_fewer` took a group of so many channels from; all of them where none."""
    more = channels
    while (fewer := _fewer(more)) > count:
        more = fewer
    return more


def _between(ordered: npt.NDArray[np.float64], fewer: int, more: int) -> float:
    """What the channels matter that a group has with the larger number and not with the smaller."""
    return float(ordered[len(ordered) - more : len(ordered) - fewer].sum())
