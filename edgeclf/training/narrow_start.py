"""Students of any width that start from a teacher's first layers.

A narrow student has room for some of the channels of its teacher's layers: it takes those that
matter most for the teacher's loss (`edgeclf.training.pruning`), and so what they know of edges,
textures and colours. BatchNorm then measures its statistics again, as each layer is given less than
it was trained on.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from edgeclf.errors import ConversionError
from edgeclf.image import UInt8Array
from edgeclf.networks.backend import keras, layers
from edgeclf.networks.channel_groups import ChannelGraph, channel_groups
from edgeclf.networks.cut import cut
from edgeclf.networks.keras_model import in_batches
from edgeclf.networks.student_design import StudentDesign, build
from edgeclf.system.progress import log
from edgeclf.training.distillation import inherit_weights
from edgeclf.training.fit import Examples, use_seed
from edgeclf.training.pruning import Scores, importance, strongest
from edgeclf.training.teachers import Teacher

_HEAD = "head_conv"  # reads other features in a student that has fewer blocks
_MOST_PHOTOS = 256  # that importance is measured on
_MOST_BATCHES = 10  # for BatchNorm


class NarrowStarts:
    """Builds students that start from one teacher.

    Args:
        teacher: Only one with a Keras model gives weights.
        examples: Photos uint8 [N, H, W, 3] of the teacher's input size and their classes, in any
            order; some of them tell which channels matter.
        seed: Decides which.
    """

    def __init__(self, teacher: Teacher, examples: Examples, seed: int) -> None:
        self._teacher, self._examples, self._seed = teacher, examples, seed

    def start(
        self, design: StudentDesign, images: UInt8Array, seed: int
    ) -> tuple[keras.Model, int]:
        """A student before it is taught, and how many layers it has from the teacher.

        Args:
            design: Which.
            images: uint8 [N, h, w, 3] of its input size, to learn from.
            seed: Decides the weights that are not from the teacher.
        """
        use_seed(seed)
        student = build(design, len(self._teacher.labels))
        if self._teacher.model is None:
            return student, 0
        graph = self._graph
        if graph is None:
            return student, inherit_weights(student, self._teacher.model)
        counts = _counts(student, graph)
        whole = graph.counts()
        if all(count == whole[name] for name, count in counts.items()):
            return student, inherit_weights(student, self._teacher.model)
        narrow = cut(self._teacher.model, strongest(self._scores, counts), graph)
        inherited = inherit_weights(student, narrow)
        _measure_statistics(student, images, seed)
        return student, inherited

    @cached_property
    def _graph(self) -> ChannelGraph | None:
        """The teacher's channels; None where they cannot be followed."""
        assert self._teacher.model is not None
        try:
            return channel_groups(self._teacher.model)
        except ConversionError as exc:
            log(f"narrow students start from nothing: {exc}")
            return None

    @cached_property
    def _scores(self) -> Scores:
        images, targets = self._examples
        rows = np.sort(np.random.default_rng(self._seed).permutation(len(images))[:_MOST_PHOTOS])
        assert self._teacher.model is not None
        return importance(self._teacher.model, images[rows], targets[rows], self._graph)


def _counts(student: keras.Model, graph: ChannelGraph) -> dict[str, int]:
    """How many channels of each of the teacher's groups a student has room for, but of its head."""
    widths = {layer.name: layer.output.shape[-1] for layer in student.layers if layer.weights}
    counts = {}
    for name, group in graph.prunable.items():
        found = [widths[maker] for maker in group.makers if maker in widths]
        if found and found[0] <= group.channels and name != _HEAD:
            counts[name] = int(found[0])
    return counts


def _measure_statistics(student: keras.Model, images: UInt8Array, seed: int) -> None:
    """Lets BatchNorm take the mean of some batches, in an order that `seed` decides."""
    norms = [each for each in student.layers if isinstance(each, layers.BatchNormalization)]
    momenta = [norm.momentum for norm in norms]
    order = np.random.default_rng(seed).permutation(len(images))
    for number, rows in enumerate(list(in_batches(order))[:_MOST_BATCHES]):
        for norm in norms:
            norm.momentum = number / (number + 1)
        student(np.asarray(images[np.sort(rows)]), training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
