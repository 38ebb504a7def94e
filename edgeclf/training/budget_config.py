"""What `edgeclf.fit` takes, declared once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from edgeclf.converters.source_spec import SourceSpec
from edgeclf.errors import OptionError
from edgeclf.options.declaration import Range, option
from edgeclf.training.config import DataConfig
from edgeclf.training.distillation_config import DistillationConfig

TARGETS = ("int8.tflite", "int8.onnx", "fp32.tflite", "fp32.onnx")
_BUDGET = "what a student may cost on the device"
_LEARNING = "how the students learn"


@dataclass(frozen=True, kw_only=True)
class BudgetConfig(DataConfig):
    """What `edgeclf.fit` takes besides the photos.

    Examples:
        >>> from edgeclf import BudgetConfig, OptionError
        >>> BudgetConfig(teacher="T.keras", device="pi.json", max_latency_ms=0.5).trials
        12
        >>> try:
        ...     BudgetConfig(teacher="T.keras", device="pi.json")
        ... except OptionError as error:
        ...     print(error)
        No limit is given; expected max_latency_ms, max_size_kb or max_memory_mb.
    """

    teacher: str | os.PathLike[str] | None = option(
        None,
        help="whose answers the students learn: the .keras artifact that 'edgeclf train' wrote, "
        "any .tflite or .onnx one, or a model from elsewhere; students start from the layers of "
        "a .keras one",
        metavar="FILE",
        recorded=False,
    )
    device: str | os.PathLike[str] | None = option(
        None,
        help="the table that 'edgeclf profile --table --out device.json' measured on the device, "
        "from which the cost of a student is predicted",
        metavar="FILE",
        recorded=False,
    )
    max_latency_ms: float | None = option(
        None, help="of one picture in the runtime, without decoding", metavar="MS",
        within=Range(above=0), group=_BUDGET,
    )  # fmt: skip
    max_size_kb: float | None = option(
        None, help="of the file, in 1,000 bytes", metavar="KB", within=Range(above=0), group=_BUDGET
    )
    max_memory_mb: float | None = option(
        None, help="of a process that answers pictures, in 10^6 bytes", metavar="MB",
        within=Range(above=0), group=_BUDGET,
    )  # fmt: skip
    to: Sequence[str] = option(
        ("int8.tflite",),
        help="the files to write, each of which has to keep to the budget; the search is judged "
        "by the first",
        metavar="PRECISION.FORMAT",
        group=_BUDGET,
    )
    trials: int = option(
        12, help="how many designs to train", within=Range(least=1), recorded=False,
        group=_LEARNING,
    )  # fmt: skip
    finalists: int = option(
        3,
        help="how many of those that no other beats in accuracy and latency to train again, on "
        "all photos, and convert",
        within=Range(least=1),
        recorded=False,
        group=_LEARNING,
    )
    views: int = option(
        8,
        help="variations of each photo that the teacher answers; the search learns from half of "
        "them",
        within=Range(least=1),
        group=_LEARNING,
    )
    epochs: int = option(
        3,
        help="passes over the views; after a quarter and half of them, designs that are behind "
        "the better half stop",
        within=Range(least=1),
        group=_LEARNING,
    )
    learning_rate: float = option(
        2e-3, help="the peak rate, which falls to zero along a cosine", metavar="RATE",
        within=Range(above=0), group=_LEARNING,
    )  # fmt: skip
    source: SourceSpec = option(
        SourceSpec(), help="what a teacher from elsewhere expects and answers",
        group="teachers from elsewhere", recorded=False,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.teacher is None:
            raise OptionError(
                "No teacher is given; expected --teacher FILE, such as the .keras artifact that "
                "'edgeclf train' writes."
            )
        if not any((self.max_latency_ms, self.max_size_kb, self.max_memory_mb)):
            raise OptionError(
                "No limit is given; expected max_latency_ms, max_size_kb or max_memory_mb."
            )
        if self.device is None:
            raise OptionError(
                "No device is given; expected --device FILE, which 'edgeclf profile --table --out "
                "device.json' writes on the device."
            )
        if len(set(self.to)) < len(self.to) or not set(self.to) <= set(TARGETS):
            raise OptionError(
                f"to is {' '.join(self.to)}; expected some of {', '.join(TARGETS)}, each once."
            )

    def distillation(self) -> DistillationConfig:
        """How a student is taught."""
        names = ("seed", "no_mirror", "views", "epochs", "learning_rate")
        return DistillationConfig(**{name: getattr(self, name) for name in names})
