"""The operators of a small network by their shapes alone: what its latency is predicted from."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

KINDS = ("quantize", "conv", "depthwise", "add", "pool", "dense", "softmax")


@dataclass(frozen=True)
class OperatorShape:
    """One operator as an engine runs it, with BatchNorm and ReLU6 folded into it.

    Attributes:
        kind: One of `KINDS`: ``quantize`` is the bytes of the image becoming the numbers of the
            first convolution, ``pool`` the global average.
        input: Rows, columns and channels of what it reads; of an addition, of either.
        output: Those of what it writes; a vector is (1, 1, length).
        kernel: Rows and columns of a convolution's kernel.
        stride: Rows and columns from one output of a convolution to the next.
    """

    kind: str
    input: tuple[int, int, int]
    output: tuple[int, int, int]
    kernel: int = 1
    stride: int = 1

    @property
    def multiply_adds(self) -> int:
        """Multiplications with an addition for one image; 0 where nothing is multiplied."""
        if self.kind == "conv":
            return prod(self.output) * self.kernel**2 * self.input[2]
        if self.kind == "depthwise":
            return prod(self.output) * self.kernel**2
        return prod(self.output) * prod(self.input) if self.kind == "dense" else 0

    @property
    def weights(self) -> int:
        """Numbers in its kernel."""
        if self.kind == "conv":
            return self.kernel**2 * self.input[2] * self.output[2]
        if self.kind == "depthwise":
            return self.kernel**2 * self.output[2]
        return prod(self.output) * prod(self.input) if self.kind == "dense" else 0

    @property
    def biases(self) -> int:
        """Numbers added to its outputs, one a channel."""
        return self.output[2] if self.kind in ("conv", "depthwise", "dense") else 0
