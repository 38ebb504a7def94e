"""What `edgeclf.distill` takes, declared once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeclf.converters.source_spec import SourceSpec
from edgeclf.errors import OptionError
from edgeclf.networks.registry import SMALLEST_INPUT
from edgeclf.options.declaration import Range, option
from edgeclf.training.config import DataConfig

_LEAST_SEEDS = 3


@dataclass(frozen=True, kw_only=True)
class DistillationConfig(DataConfig):
    """What `edgeclf.distill` takes besides the teacher and the photos.

    Examples:
        >>> from edgeclf import DistillationConfig
        >>> DistillationConfig(temperature=2.0, seeds=5).views
        8
    """

    student: str = option(
        "student",
        help="the network, see 'edgeclf backbones'; student has about 100,000 parameters, "
        "student-xs to student-xl 20,000 to 2,000,000",
        metavar="NAME",
    )
    student_size: int | None = option(
        None, help="rows and columns of the student's images; by default the network's own",
        within=Range(least=SMALLEST_INPUT),
    )  # fmt: skip
    soft_targets: Literal["offline", "online"] = option(
        "offline",
        help="how the teacher answers: offline, each view once, kept beside the decoded photos for "
        "the next student of the same teacher, photos, views and seed; or online, other views in "
        "every epoch, while the student trains, and none is kept",
    )
    views: int = option(
        8, help="variations of each photo that the teacher answers; online, in every epoch",
        within=Range(least=1),
    )  # fmt: skip
    epochs: int = option(3, help="passes over all views", within=Range(least=1))
    temperature: float = option(
        4.0,
        help="softens both answers before they are compared; above 1, the ratios between wrong "
        "classes count too",
        within=Range(least=1),
    )
    label_weight: float = option(
        0.2,
        help="share of the true labels in the loss, the rest being the teacher's; at 1 the student "
        "learns the labels alone, by the same steps",
        metavar="SHARE",
        within=Range(least=0, most=1),
    )
    feature_weight: float = option(
        0.0,
        help="weight of the teacher's pooled features beside its answers; 0 leaves them out, more "
        "needs a .keras teacher",
        metavar="WEIGHT",
        within=Range(least=0),
    )
    learning_rate: float = option(
        2e-3, help="the peak rate, which falls to zero along a cosine", metavar="RATE",
        within=Range(above=0),
    )  # fmt: skip
    seeds: int = option(
        1,
        help="from how many seeds to train, 1 or at least 3: of several, each time by the labels "
        "alone too, and NAME.distillation.html tells whether distillation helped; the views stay "
        "those of the first seed",
        within=Range(least=1),
        recorded=False,
    )
    int8: bool = option(
        False,
        help="with several seeds: convert every student to int8 TFLite too, by the usual recipe "
        "and calibrated on the photos to learn from, and compare those files as well",
        recorded=False,
    )
    source: SourceSpec = option(
        SourceSpec(), help="what a teacher from elsewhere expects and answers",
        group="teachers from elsewhere", recorded=False,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if 1 < self.seeds < _LEAST_SEEDS:
            raise OptionError(
                f"seeds is {self.seeds}; expected 1, or at least {_LEAST_SEEDS} to tell the "
                "teacher's part from chance."
            )
        if self.int8 and self.seeds == 1:
            raise OptionError(
                "int8 is True and seeds 1; expected seeds of at least "
                f"{_LEAST_SEEDS}, whose students it compares. One student becomes int8 by 'edgeclf "
                "convert'."
            )
        if self.soft_targets == "online" and self.seeds > 1:
            raise OptionError(
                f"seeds is {self.seeds} and soft_targets 'online'; expected 'offline' beside "
                "several seeds: the students distilled and alone are compared on the same views, "
                "which are kept."
            )
