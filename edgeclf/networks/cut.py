"""Cutting channels out of a network: the same layers, narrower, with the weights that are left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeclf.errors import OptionError
from edgeclf.networks.backend import keras, layers
from edgeclf.networks.channel_groups import ChannelGraph, ChannelGroup, channel_groups

Indices = npt.NDArray[np.intp]


def cut(
    model: keras.Model,
    kept: Mapping[str, Sequence[int] | Indices],
    graph: ChannelGraph | None = None,
) -> keras.Model:
    """A new model that has only some channels of the old one, which stays as it is.

    Where the channels that go were zero wherever they are read, the answers are the same.

    Args:
        model: From `build_classifier`, or another that `channel_groups` can follow.
        kept: For the name of a group the numbers of the channels that stay, in the order they are
            to have; groups that are not named keep all of theirs.
        graph: What `channel_groups` says of the model, if it was asked already.

    Returns:
        A model of the same layers by name, type and order; the weights are copies.

    Raises:
        ConversionError: The model cannot be cut; the message names the layer.
        OptionError: There is no such group or channel, none of a group stays, or the group is
            that of the image or the classes.
    """
    graph = graph or channel_groups(model)
    chosen = {name: _checked(graph.groups, name, numbers) for name, numbers in kept.items()}
    everything = {name: np.arange(group.channels) for name, group in graph.groups.items()}
    left = {**everything, **chosen}

    def narrower(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        width = sum(len(left[name]) for name in graph.outputs[layer.name])
        if isinstance(layer, layers.Conv2D) and not isinstance(layer, layers.DepthwiseConv2D):
            config["filters"] = width
        elif isinstance(layer, layers.Dense):
            config["units"] = width
        elif isinstance(layer, layers.Reshape):
            config["target_shape"] = (*config["target_shape"][:-1], width)
        return type(layer).from_config(config)

    narrow = keras.models.clone_model(model, clone_function=narrower)
    for layer in model.layers:
        if layer.weights:
            rows = _joined(graph, left, graph.inputs[layer.name])
            columns = _joined(graph, left, graph.outputs[layer.name])
            weights = _left(layer, rows, columns)
            narrow.get_layer(layer.name).set_weights(weights)
    return narrow


def _checked(groups: Mapping[str, ChannelGroup], name: str, numbers: Any) -> Indices:
    group = groups.get(name)
    if group is None or group.fixed:
        able = ", ".join(each.name for each in groups.values() if not each.fixed)
        raise OptionError(f"Channels of {name!r} cannot be chosen; expected a group of {able}.")
    chosen: Indices = np.asarray(numbers, np.intp)
    if (
        chosen.ndim != 1
        or not len(chosen)
        or len(set(chosen.tolist())) < len(chosen)
        or not 0 <= chosen.min() <= chosen.max() < group.channels
    ):
        raise OptionError(
            f"Channels of {name!r} to keep are {numbers!r}; expected at least one of 0 to "
            f"{group.channels - 1}, none of them twice."
        )
    return chosen


def _joined(graph: ChannelGraph, left: Mapping[str, Indices], names: tuple[str, ...]) -> Indices:
    """The channels that stay of several groups, one behind the other."""
    starts = np.cumsum([0, *(graph.groups[name].channels for name in names)])
    parts = [left[name] + start for name, start in zip(names, starts, strict=False)]
    return np.concatenate(parts) if parts else np.empty(0, np.intp)


def _left(layer: keras.layers.Layer, rows: Indices, columns: Indices) -> list[npt.NDArray[Any]]:
    """The weights of a layer for the channels that stay: `rows` of its input, `columns` given."""
    weights = layer.get_weights()
    if isinstance(layer, layers.DepthwiseConv2D):  # kernel [rows, columns, I, 1], bias [I]
        return [w[:, :, rows] if w.ndim == 4 else w[rows] for w in weights]
    if isinstance(layer, layers.Conv2D | layers.Dense):  # kernel [..., I, O], bias [O]
        return [w[..., rows, :][..., columns] if w.ndim > 1 else w[columns] for w in weights]
    return [w[columns] if w.ndim == 1 and len(w) > 1 else w for w in weights]
