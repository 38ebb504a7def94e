"""What `edgeclf.prune` takes, declared once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeclf.errors import OptionError
from edgeclf.options.declaration import Range, option
from edgeclf.training.config import DataConfig
from edgeclf.training.distillation_config import DistillationConfig

_BUDGET = "how much of it to keep"
_LEARNING = "how it learns back what it lost"


@dataclass(frozen=True, kw_only=True)
class PruningConfig(DataConfig):
    """What `edgeclf.prune` takes besides the model and the photos.

    Examples:
        >>> from edgeclf import OptionError, PruningConfig
        >>> PruningConfig(keep=0.5).epochs
        4
        >>> try:
        ...     PruningConfig()
        ... except OptionError as error:
        ...     print(error)
        Neither keep nor max_latency_ms is given; expected one of them, such as keep 0.5.
    """

    keep: float | None = option(
        None,
        help="the share of the multiply-adds that may remain: at 0.25, three quarters are pruned",
        metavar="SHARE",
        within=Range(above=0, below=1),
        group=_BUDGET,
    )
    max_latency_ms: float | None = option(
        None,
        help="instead of a share, keep as much as is predicted to answer one picture in this time",
        metavar="MS",
        within=Range(above=0),
        group=_BUDGET,
    )
    device: str | os.PathLike[str] | None = option(
        None,
        help="the table that 'edgeclf profile --table' measured on the device, which "
        "max_latency_ms is predicted from",
        metavar="FILE",
        group=_BUDGET,
    )
    target: Literal["int8.tflite", "int8.onnx", "fp32.tflite", "fp32.onnx"] = option(
        "int8.tflite", help="the file that is to keep to max_latency_ms", group=_BUDGET
    )
    name: str | None = option(
        None, help="what the artifact is called; by default NAME-pruned", recorded=False
    )
    teacher: str | os.PathLike[str] | None = option(
        None,
        help="another artifact to learn back from; by default the model itself, unpruned",
        metavar="FILE",
        recorded=False,
        group=_LEARNING,
    )
    views: int = option(
        8, help="variations of each photo that the teacher answers", within=Range(least=1),
        group=_LEARNING,
    )  # fmt: skip
    epochs: int = option(4, help="passes over all views", within=Range(least=1), group=_LEARNING)
    temperature: float = option(
        4.0, help="softens both answers before they are compared", within=Range(least=1),
        group=_LEARNING,
    )  # fmt: skip
    label_weight: float = option(
        0.2,
        help="share of the true labels in the loss, the rest being the teacher's",
        metavar="SHARE",
        within=Range(least=0, most=1),
        group=_LEARNING,
    )
    learning_rate: float = option(
        2e-3, help="the peak rate, which falls to zero along a cosine", metavar="RATE",
        within=Range(above=0), group=_LEARNING,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name is not None and (not self.name or Path(self.name).name != self.name):
            raise OptionError(
                f"name is {self.name!r}; expected one that a file can have, without a folder."
            )
        if self.keep is None and self.max_latency_ms is None:
            raise OptionError(
                "Neither keep nor max_latency_ms is given; expected one of them, such as keep 0.5."
            )
        if self.keep is not None and self.max_latency_ms is not None:
            raise OptionError(
                f"keep is {self.keep} and max_latency_ms {self.max_latency_ms}; expected one of "
                "them."
            )
        if self.max_latency_ms is not None and self.device is None:
            raise OptionError(
                f"max_latency_ms is {self.max_latency_ms} and device is not given; expected the "
                "file that 'edgeclf profile --table --out device.json' writes on the device."
            )
        if self.max_latency_ms is None and self.device is not None:
            raise OptionError(
                f"device is {os.fspath(self.device)!r} and keep {self.keep}, which needs none; "
                "expected max_latency_ms beside a device, instead of keep."
            )

    def distillation(self) -> DistillationConfig:
        """How the pruned network is taught."""
        names = ("seed", "no_mirror", "views", "epochs", "temperature", "label_weight",
                 "learning_rate")  # fmt: skip
        return DistillationConfig(**{name: getattr(self, name) for name in names})
