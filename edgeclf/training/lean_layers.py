"""Layers that compute what Keras's do in a fraction of a CPU's time, while a network is trained.

Keras writes BatchNorm as a dozen operations over whole maps, also where its statistics are frozen,
and TensorFlow's gradient of a depthwise 5 x 5 kernel takes ten times that of a 3 x 3 one. In the
block of `lean`

- a BatchNorm that learns is TensorFlow's one operation for it (2.5 to 3.5 times as fast),
- a frozen one is folded into the convolution before it, whose gradient goes through the fold,
- the gradient of a 5 x 5 kernel is put together from three of its 5 x 3 parts (2 to 4 times).

All are the same functions; sums are added up in another order, so results agree to the last bits of
a float32. Nothing of it is in the network that is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from edgeclf.networks.backend import keras, layers, tf


@contextmanager
def lean(model: keras.Model) -> Iterator[None]:
    """The block in which `model` is traced and trained; its layers are Keras's again afterwards.

    Where TensorFlow sees a GPU, nothing changes: what is slow here is what CPUs are slow at.

    Args:
        model: A functional network, which says by ``trainable`` what learns.
    """
    changed = {} if tf.config.list_physical_devices("GPU") else dict(_leaner(model))
    for layer, call in changed.items():
        layer.call = call
    try:
        yield
    finally:
        for layer in changed:
            del layer.call


def _leaner(model: keras.Model) -> Iterator[tuple[Any, Callable[..., Any]]]:
    """The layers that have a faster way, with it."""
    networks = list(_networks(model))
    frozen = {conv: norm for network in networks for conv, norm in _frozen_norms(network)}
    for layer in (layer for network in networks for layer in network.layers):
        if layer.compute_dtype != "float32":
            continue
        if isinstance(layer, layers.BatchNormalization):
            if layer in frozen.values():
                yield layer, _as_it_is
            elif layer.trainable and _is_plain(layer):
                yield layer, _normalizing(layer)
        elif layer in frozen or (_is_depthwise(layer) and layer.kernel_size == (5, 5)):
            yield layer, _convolving(layer, frozen.get(layer))


def _networks(model: keras.Model) -> Iterator[keras.Model]:
    """The model and those within it."""
    yield model
    for layer in model.layers:
        if isinstance(layer, keras.Model) and not isinstance(layer, keras.Sequential):
            yield from _networks(layer)


def _frozen_norms(model: keras.Model) -> Iterator[tuple[Any, Any]]:
    """Convolutions without an activation, each with the frozen BatchNorm that alone reads it."""
    nodes = [node for nodes in model._nodes_by_depth.values() for node in nodes]
    read: dict[int, list[Any]] = {}
    for node in nodes:
        for tensor in node.input_tensors:
            read.setdefault(id(tensor), []).append(node.operation)
    ends = {id(tensor) for tensor in model.outputs}
    for node in nodes:
        layer = node.operation
        if not _is_convolution(layer) or layer.activation is not keras.activations.linear:
            continue
        readers = read.get(id(node.outputs[0]), [])
        if len(readers) != 1 or id(node.outputs[0]) in ends:
            continue
        norm = readers[0]
        if isinstance(norm, layers.BatchNormalization) and not norm.trainable and _is_plain(norm):
            yield layer, norm


def _is_convolution(layer: Any) -> bool:
    if _is_depthwise(layer):
        return True
    plain = isinstance(layer, layers.Conv2D) and layer.groups == 1
    return plain and layer.data_format == "channels_last"


def _is_depthwise(layer: Any) -> bool:
    """Whether it is one that TensorFlow's operation takes, with one output a channel."""
    return (
        isinstance(layer, layers.DepthwiseConv2D)
        and layer.data_format == "channels_last"
        and layer.depth_multiplier == 1
        and tuple(layer.dilation_rate) == (1, 1)
        and tuple(layer.strides) in ((1, 1), (2, 2))
    )


def _is_plain(norm: Any) -> bool:
    """Whether a BatchNorm is over the last of four dimensions, with scale and offset."""
    over_channels = norm.axis in (-1, 3) and len(norm.input.shape) == 4
    return bool(over_channels and norm.scale and norm.center and not norm.synchronized)


def _as_it_is(inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
    return inputs


def _normalizing(norm: Any) -> Callable[..., Any]:
    """BatchNorm with the batch's own statistics in one operation."""

    def call(inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not training or mask is not None:
            return layers.BatchNormalization.call(norm, inputs, training=training, mask=mask)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.convert_to_tensor(norm.gamma),
            offset=tf.convert_to_tensor(norm.beta),
            mean=tf.zeros((0,)),
            variance=tf.zeros((0,)),
            epsilon=norm.epsilon,
            is_training=True,
        )
        # Its variance is an estimate for all there could be, Keras keeps that of what there was.
        count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), tf.float32)
        variance *= (count - 1) / count
        for kept, found in ((norm.moving_mean, mean), (norm.moving_variance, variance)):
            kept.assign(kept * norm.momentum + found * (1 - norm.momentum))
        return outputs

    return call


def _convolving(layer: Any, norm: Any | None) -> Callable[..., Any]:
    """A convolution with the frozen BatchNorm behind it, if there is one."""
    depthwise = _is_depthwise(layer)
    strides, padding = [1, *layer.strides, 1], layer.padding.upper()

    def call(inputs: Any) -> Any:
        kernel = tf.convert_to_tensor(layer.kernel)
        bias = tf.convert_to_tensor(layer.bias) if layer.use_bias else None
        if norm is not None:
            scale = tf.math.rsqrt(norm.moving_variance + norm.epsilon) * norm.gamma
            offset = norm.beta - norm.moving_mean * scale
            kernel *= tf.reshape(scale, (-1, 1)) if depthwise else scale
            bias = offset if bias is None else bias * scale + offset
        if not depthwise:
            outputs = tf.nn.conv2d(inputs, kernel, strides, padding)
        elif kernel.shape[:2] == (5, 5) and padding == "SAME":
            outputs = _depthwise_5x5(inputs, kernel, strides)
        else:
            outputs = tf.nn.depthwise_conv2d(inputs, kernel, strides, padding)
        if bias is not None:
            outputs = tf.nn.bias_add(outputs, bias)
        return layer.activation(outputs)

    return call


def _depthwise_5x5(inputs: Any, kernel: Any, strides: list[int]) -> Any:
    """`tf.nn.depthwise_conv2d` of a 5 x 5 kernel with "same" padding, and a faster gradient.

    oneDNN has fast code for kernels of up to three columns. The three in the middle are one such
    gradient as they are. For the first and the last, not the picture is moved by two columns but
    what comes back, which is no larger: one of the three columns then lies over the one that is
    wanted, and what is moved over the edge had met nothing but padding.
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def convolution(inputs: Any, kernel: Any) -> Any:
        outputs = tf.nn.depthwise_conv2d(inputs, kernel, strides, "SAME")

        def gradient(coming: Any) -> tuple[Any, Any]:
            to_inputs = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=tf.shape(inputs),
                filter=kernel,
                out_backprop=coming,
                strides=strides,
                padding="SAME",
            )

            def columns(moved: Any) -> Any:
                return tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                    input=inputs,
                    filter_sizes=[5, 3, kernel.shape[2], 1],
                    out_backprop=moved,
                    strides=strides,
                    padding="SAME",
                )

            left = tf.pad(coming[:, :, 1:], [[0, 0], [0, 0], [0, 1], [0, 0]])
            right = tf.pad(coming[:, :, :-1], [[0, 0], [0, 0], [1, 0], [0, 0]])
            # One column of what comes back is `stride` columns of the picture.
            first, last = (0, 2) if strides[1] == 1 else (1, 1)
            to_kernel = tf.concat(
                [
                    columns(left)[:, first : first + 1],
                    columns(coming),
                    columns(right)[:, last : last + 1],
                ],
                axis=1,
            )
            return to_inputs, to_kernel

        return outputs, gradient

    return convolution(inputs, kernel)
