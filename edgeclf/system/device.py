"""Where a model can run: a type of its own, which the command line reads without an engine."""

from __future__ import annotations

from typing import Literal

Device = Literal["cpu", "cuda", "gpu", "npu"]
