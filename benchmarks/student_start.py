"""How a student that is narrower than its teacher starts from the teacher's first blocks.

Of each layer the channels stay that tell most: those whose output varies most over photos, times
the squared weights with which the next layer reads them, which is the squared error of leaving one
out and keeping its mean. What lies inside a block is chosen by what its depthwise filter gives to
the projection; the channels between blocks belong to all blocks that are added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_EPSILON = 1e-3  # of Lite0's BatchNorm
Indices = npt.NDArray[np.intp]


class NarrowStart:
    """Fills the stem and blocks of `student` from `teacher`, whose layers have the same names.

    Args:
        student: Built of EfficientNet-Lite's first blocks, of fewer channels here and there.
        teacher: An EfficientNet-Lite.
        images: uint8 [N, H, W, 3] of the teacher's input size, to see what its channels tell.
    """

    def __init__(self, student: Any, teacher: Any, images: npt.NDArray[np.uint8]) -> None:
        self._student, self._teacher = student, teacher
        names = {layer.name for layer in student.layers}
        self._blocks = [f"block{n}" for n in range(16) if f"block{n}_depthwise" in names]
        self._varies = self._variances(images)

    def fill(self) -> None:
        """Sets the weights of all layers but the head's and the dense one's."""
        kept = self._best(self._read("block0", "block0_depthwise_relu6"), self._width("stem_conv"))
        self._set("stem", "conv", slice(None), kept)
        given = {block: group for group in self._groups() for block in group}
        between = {group[0]: self._between(group) for group in self._groups()}
        for block in self._blocks:
            inside = kept
            if self._has(f"{block}_expand_conv"):
                told = self._read(block, f"{block}_depthwise_relu6")
                inside = self._best(told, self._width(f"{block}_expand_conv"))
                self._set(f"{block}_expand", "conv", kept, inside)
            (filters,) = self._of_teacher(f"{block}_depthwise")
            self._student.get_layer(f"{block}_depthwise").set_weights([filters[:, :, inside]])
            self._set_norm(f"{block}_depthwise_bn", inside)
            kept = between[given[block][0]]
            self._set(f"{block}_project", "conv", inside, kept)

    def _variances(self, images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
        import keras

        names = [
            f"{block}_{end}"
            for block in self._blocks
            for end in ("depthwise_relu6", "add", "project_bn")
            if self._has(f"{block}_{end}")
        ]
        normalize = self._teacher.get_layer("normalize")
        ends = [self._teacher.get_layer(name).output for name in names]
        probe = keras.Model(normalize.output, ends)
        found = probe.predict(np.asarray(normalize(images)), batch_size=32, verbose=0)
        return {name: np.var(each, axis=(0, 1, 2)) for name, each in zip(names, found, strict=True)}

    def _groups(self) -> list[list[str]]:
        """Blocks whose outputs are added up, and so have the same channels."""
        groups: list[list[str]] = []
        for block in self._blocks:
            if self._has(f"{block}_add"):
                groups[-1].append(block)
            else:
                groups.append([block])
        return groups

    def _between(self, group: Sequence[str]) -> Indices:
        end = group[-1]
        name = f"{end}_add" if self._has(f"{end}_add") else f"{end}_project_bn"
        following = f"block{int(end.removeprefix('block')) + 1}_expand"
        told = self._varies[name] * self._squared(following)
        return self._best(told, self._width(f"{end}_project_conv"))

    def _read(self, block: str, given: str) -> npt.NDArray[np.float32]:
        return self._varies[given] * self._squared(f"{block}_project")

    def _squared(self, name: str) -> npt.NDArray[np.float32]:
        """For each channel that a convolution and its BatchNorm read, the sum of squares."""
        (kernel,) = self._of_teacher(f"{name}_conv")
        scale, _, _, variance = self._of_teacher(f"{name}_bn")
        return ((kernel * (scale / np.sqrt(variance + _EPSILON))) ** 2).sum(axis=(0, 1, 3))

    @staticmethod
    def _best(told: npt.NDArray[np.float32], count: int) -> Indices:
        return np.sort(np.argsort(-told, kind="stable")[:count])

    def _has(self, layer: str) -> bool:
        return any(each.name == layer for each in self._student.layers)

    def _width(self, layer: str) -> int:
        return int(self._student.get_layer(layer).get_weights()[0].shape[-1])

    def _of_teacher(self, layer: str) -> list[npt.NDArray[np.float32]]:
        return self._teacher.get_layer(layer).get_weights()

    def _set(self, name: str, kind: str, rows: Any, columns: Indices) -> None:
        (kernel,) = self._of_teacher(f"{name}_{kind}")
        self._student.get_layer(f"{name}_{kind}").set_weights([kernel[:, :, rows][..., columns]])
        self._set_norm(f"{name}_bn", columns)

    def _set_norm(self, layer: str, kept: Indices) -> None:
        weights = [each[kept] for each in self._of_teacher(layer)]
        self._student.get_layer(layer).set_weights(weights)
