"""Random members of the student family: what the networks of a latency table are made of.

Single operators in a model of their own are told too slow: nothing before them has left their
input in the cache, and each pays for a whole call. So the probes are whole networks: chains of
inverted residuals as in EfficientNet-Lite0 (Tan and Le 2019, table 1), each with widths,
expansions, kernels and an input size of its own, as a search or pruning would leave them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from edgeclf.metrics.operator_shapes import OperatorShape

# Of Lite0's 16 blocks: kernel, stride, channels.
_BLOCKS = (
    (3, 1, 16), (3, 2, 24), (3, 1, 24), (5, 2, 40), (5, 1, 40), (3, 2, 80), (3, 1, 80), (3, 1, 80),
    (5, 1, 112), (5, 1, 112), (5, 1, 112), (5, 2, 192), (5, 1, 192), (5, 1, 192), (5, 1, 192),
    (3, 1, 320),
)  # fmt: skip
_GROUP = 8  # channels that kernels take at once, and pruning removes
_OTHER_KERNEL = 0.2  # how often a block has the other kernel
_MILLION = 1e6


@dataclass(frozen=True)
class ProbeLayer:
    """An operator in its place in a chain.

    Attributes:
        shape: What it does.
        clipped: Whether it is followed by ReLU6.
        shortcut: Of an addition: the number of the layer whose output is added to the one before.
    """

    shape: OperatorShape
    clipped: bool = False
    shortcut: int | None = None


def random_networks(
    count: int, seed: int, *, most_multiply_adds: float = 100 * _MILLION
) -> list[tuple[ProbeLayer, ...]]:
    """Different networks, always the same ones for a seed.

    Args:
        count: How many.
        seed: Of the random numbers.
        most_multiply_adds: In one network; larger ones are drawn again.
    """
    rng = np.random.default_rng(seed)
    found: list[tuple[ProbeLayer, ...]] = []
    while len(found) < count:
        layers = _random_network(rng)
        if sum(layer.shape.multiply_adds for layer in layers) <= most_multiply_adds:
            found.append(layers)
    return found


def _random_network(rng: np.random.Generator) -> tuple[ProbeLayer, ...]:
    size = 8 * int(rng.integers(6, 21))  # 48..160
    width, pruned = rng.uniform(0.3, 1.1), rng.uniform(0.4, 1.0)
    expansion = float(rng.choice([3, 4, 6, 6]))
    blocks = []
    for number in range(int(rng.integers(3, len(_BLOCKS)))):
        kernel, stride, channels = _BLOCKS[number]
        if rng.random() < _OTHER_KERNEL:
            kernel = 8 - kernel
        wide = None if number == 0 else expansion * rng.uniform(pruned, 1.0)
        blocks.append((kernel, stride, _groups(channels * width * rng.uniform(0.7, 1.2)), wide))
    # Blocks of one stage have one width, so that their outputs can be added.
    for number in range(1, len(blocks)):
        kernel, stride, channels, wide = blocks[number]
        if stride == 1 and _BLOCKS[number][2] == _BLOCKS[number - 1][2]:
            blocks[number] = (kernel, stride, blocks[number - 1][2], wide)
    return tuple(
        network(
            size,
            stem=_groups(rng.uniform(8, 36)),
            blocks=blocks,
            head=_groups(float(np.exp(rng.uniform(np.log(32), np.log(512))))),
            classes=int(np.exp(rng.uniform(np.log(2), np.log(100)))),
        )
    )


def network(
    size: int,
    *,
    stem: int,
    blocks: Sequence[tuple[int, int, int, float | None]],
    head: int,
    classes: int,
) -> Iterator[ProbeLayer]:
    """The layers of a classifier in the order they run.

    Args:
        size: Rows and columns of its input.
        stem: Channels of its first convolution.
        blocks: Kernel, stride, channels and expansion of each; an expansion of None is none.
        head: Channels of its last convolution.
        classes: How many.
    """
    at, number = (size, size, 3), 0
    yield ProbeLayer(OperatorShape("quantize", at, at))
    shape = _conv(at, stem, kernel=3, stride=2)
    yield ProbeLayer(shape, clipped=True)
    at, number = shape.output, 1
    for kernel, stride, channels, expansion in blocks:
        start, start_number = at, number
        if expansion is not None:
            shape = _conv(at, _groups(at[2] * expansion))
            yield ProbeLayer(shape, clipped=True)
            at, number = shape.output, number + 1
        shape = OperatorShape("depthwise", at, _strided(at, at[2], stride), kernel, stride)
        yield ProbeLayer(shape, clipped=True)
        shape = _conv(shape.output, channels)
        yield ProbeLayer(shape)
        at, number = shape.output, number + 2
        if at == start:
            yield ProbeLayer(OperatorShape("add", at, at), shortcut=start_number)
            number += 1
    shape = _conv(at, head)
    yield ProbeLayer(shape, clipped=True)
    vector = (1, 1, head)
    yield ProbeLayer(OperatorShape("pool", shape.output, vector))
    yield ProbeLayer(OperatorShape("dense", vector, (1, 1, classes)))
    yield ProbeLayer(OperatorShape("softmax", (1, 1, classes), (1, 1, classes)))


def _conv(
    at: tuple[int, int, int], channels: int, *, kernel: int = 1, stride: int = 1
) -> OperatorShape:
    return OperatorShape("conv", at, _strided(at, channels, stride), kernel, stride)


def _strided(at: tuple[int, int, int], channels: int, stride: int) -> tuple[int, int, int]:
    return ceil(at[0] / stride), ceil(at[1] / stride), channels


def _groups(channels: float) -> int:
    return max(1, round(channels / _GROUP)) * _GROUP
