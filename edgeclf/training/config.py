"""How a classifier is trained: the choices that most users leave alone, in one place."""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict, dataclass
from typing import Any

from edgeclf.errors import OptionError

STRATEGIES = ("none", "mirrored", "multi-worker")


@dataclass(frozen=True)
class TrainingConfig:
    """The settings of a training run beyond its length and seed.

    Attributes:
        batch_size: Photos a step.
        learning_rate: The peak rate of the passes over augmented photos, which falls to zero along
            a cosine; None is 3e-4 from given weights and 2e-3 from none.
        label_smoothing: The share of each label that is spread over all classes, 0 to below 1.
            After Szegedy et al., "Rethinking the Inception Architecture" (2016), section 7.
        augmentation: How strongly training photos are varied, 0 (not at all) to 2 (twice as much).
        balanced: Whether photos of rare classes count more, so that all classes count the same.
        early_stopping: After how many epochs without a smaller loss on 15 % of the training photos,
            set aside, the run stops; the best weights are kept. None never stops and sets no
            photo aside. The evaluation photos decide nothing.
        deterministic: Whether TensorFlow may only use operations that always give the same bits,
            in this process from then on; slower.
        mixed_precision: Whether a GPU computes in float16; weights stay float32.
        distribute: ``none``; ``mirrored``, over the devices of this machine; ``multi-worker``, over
            the machines that TF_CONFIG lists. A batch is split among them.
        tensorboard: Whether events for TensorBoard are written into the run folder.

    Raises:
        OptionError: A value cannot work.
    """

    batch_size: int = 32
    learning_rate: float | None = None
    label_smoothing: float = 0.05
    augmentation: float = 1.0
    balanced: bool = False
    early_stopping: int | None = None
    deterministic: bool = False
    mixed_precision: bool = False
    tensorboard: bool = False
    distribute: str = "none"

    def __post_init__(self) -> None:
        rate = self.learning_rate
        for fits, name, value, expected in (
            (self.batch_size >= 1, "batch size", self.batch_size, "at least 1"),
            (rate is None or 0 < rate < math.inf, "learning rate", rate, "more than 0, say 3e-4"),
            (0 <= self.label_smoothing < 1, "label smoothing", self.label_smoothing,
             "0 to below 1"),
            (0 <= self.augmentation <= 2, "strength of augmentation", self.augmentation, "0 to 2"),
            (self.early_stopping is None or self.early_stopping >= 1, "patience of early stopping",
             self.early_stopping, "at least 1 epoch"),
            (self.distribute in STRATEGIES, "way to distribute", self.distribute,
             " or ".join(STRATEGIES)),
            (self.early_stopping is None or self.distribute != "multi-worker",
             "way to distribute", self.distribute, "none or mirrored beside early stopping"),
        ):  # fmt: skip
            if not fits:
                raise OptionError(f"The {name} is {value}; expected {expected}.")

    def settings(self) -> dict[str, Any]:
        """All choices as plain JSON types."""
        return asdict(self)


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that `training_config_from` reads."""
    default = TrainingConfig()
    group = parser.add_argument_group("how it learns")
    group.add_argument("--early-stopping", type=int, metavar="EPOCHS", help="stop after that many "
                       "without a smaller loss on 15 %% of the training photos, set aside, and "
                       "keep the best weights")  # fmt: skip
    group.add_argument("--learning-rate", type=float, metavar="RATE",
                       help="peak rate (default: 3e-4, without weights 2e-3)")  # fmt: skip
    group.add_argument("--batch-size", type=int, metavar="N", default=default.batch_size,
                       help="photos a step (default: %(default)s)")  # fmt: skip
    group.add_argument("--label-smoothing", type=float, metavar="SHARE",
                       default=default.label_smoothing,
                       help="share of a label for all classes (default: %(default)s)")  # fmt: skip
    group.add_argument("--augmentation", type=float, metavar="STRENGTH",
                       default=default.augmentation, help="how strongly photos are varied, 0 to 2 "
                       "(default: %(default)s)")  # fmt: skip
    group.add_argument("--class-weights", choices=("equal", "balanced"), default="equal",
                       help="balanced: photos of rare classes count more")  # fmt: skip
    group.add_argument("--deterministic", action="store_true",
                       help="the same bits every time, on the same machine; slower")  # fmt: skip
    group.add_argument("--mixed-precision", action="store_true",
                       help="compute in float16, on a GPU")  # fmt: skip
    group.add_argument("--distribute", choices=STRATEGIES, default=default.distribute,
                       help="mirrored: over this machine's devices; multi-worker: over the "
                       "machines in TF_CONFIG (default: %(default)s)")  # fmt: skip
    group.add_argument("--tensorboard", action="store_true",
                       help="write events for TensorBoard into the run folder")  # fmt: skip


def training_config_from(args: argparse.Namespace) -> TrainingConfig:
    """The recipe that was asked for on the command line."""
    return TrainingConfig(
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        label_smoothing=args.label_smoothing,
        augmentation=args.augmentation,
        balanced=args.class_weights == "balanced",
        early_stopping=args.early_stopping,
        deterministic=args.deterministic,
        mixed_precision=args.mixed_precision,
        tensorboard=args.tensorboard,
        distribute=args.distribute,
    )
