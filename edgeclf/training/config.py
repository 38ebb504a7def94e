"""What `edgeclf.train` takes, declared once; and the part of it that `edgeclf.distill` shares."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from edgeclf.errors import OptionError
from edgeclf.networks.registry import SMALLEST_INPUT
from edgeclf.options.declaration import Options, Range, option

_LEARNING = "how it learns"


@dataclass(frozen=True, kw_only=True)
class DataConfig(Options):
    """The photos of a run, and where its results go."""

    evaluation: str | os.PathLike[str] | None = option(
        None,
        help="other photos of the same classes, to judge by; by default the rows of split eval, "
        "else eval/ beside the data, else 15 % of them, set aside",
        metavar="DIR",
        recorded=False,
    )
    out: str | os.PathLike[str] | None = option(
        None, help="where results go; by default runs/NAME, NAME being the data set's",
        metavar="DIR", recorded=False,
    )  # fmt: skip
    seed: int = option(
        0, help="decides weights, order, variations and any split", within=Range(least=0)
    )
    skip_unreadable: bool = option(
        False,
        help="leave out files that cannot be read, and count them in a printed line and in the "
        "artifact, instead of refusing the whole set",
        recorded=False,
    )
    no_mirror: bool = option(
        False,
        help="never mirror a photo: for classes that differ by left and right, such as arrows, "
        "digits and letters",
    )


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(DataConfig):
    """What `edgeclf.train` takes besides the photos.

    Examples:
        >>> from edgeclf import OptionError, TrainingConfig
        >>> TrainingConfig(early_stopping=3, class_weights="balanced").batch_size
        32
        >>> try:
        ...     TrainingConfig(label_smoothing=2.0)
        ... except OptionError as error:
        ...     print(error)
        label_smoothing is 2.0; expected at least 0, less than 1.
    """

    backbone: str = option(
        "efficientnet-lite0", help="the network, see 'edgeclf backbones'", metavar="NAME"
    )
    weights: str | os.PathLike[str] = option(
        "imagenet",
        help="where it starts: imagenet, a file of its weights (.weights.h5, .keras, .h5), or none",
        metavar="imagenet|none|FILE",
    )
    input_size: int | None = option(
        None, help="rows and columns of its images; by default the network's own",
        within=Range(least=SMALLEST_INPUT),
    )  # fmt: skip
    download: bool = option(
        False, help="let Keras fetch ImageNet weights that are not on this machine", recorded=False
    )
    epochs: int = option(
        5,
        help="passes over augmented photos, after a head was fitted to frozen features; without "
        "weights there are only these passes, over the whole network",
        within=Range(least=1),
    )
    search: int | None = option(
        None,
        help="vary learning rate, augmentation and, for a student from nothing, the width in so "
        "many trials, of which the first is what was asked for, and train the best; they are "
        "judged by 15 % of the training photos, set aside, and kept in NAME-teacher.search.db, "
        "from where a search that was stopped goes on",
        within=Range(least=1),
    )
    early_stopping: int | None = option(
        None,
        help="stop after so many epochs without a smaller loss on 15 % of the training photos, "
        "set aside, and keep the best weights; the evaluation photos decide nothing",
        metavar="EPOCHS",
        within=Range(least=1),
        group=_LEARNING,
    )
    learning_rate: float | None = option(
        None,
        help="the peak rate of the passes over augmented photos, which falls to zero along a "
        "cosine; by default 3e-4, without weights 2e-3",
        metavar="RATE",
        within=Range(above=0),
        group=_LEARNING,
    )
    batch_size: int = option(32, help="photos a step", within=Range(least=1), group=_LEARNING)
    label_smoothing: float = option(
        0.05, help="the share of each label that is spread over all classes", metavar="SHARE",
        within=Range(least=0, below=1), group=_LEARNING,
    )  # fmt: skip
    augmentation: float = option(
        1.0, help="how strongly photos are varied, from not at all to twice as much",
        metavar="STRENGTH", within=Range(least=0, most=2), group=_LEARNING,
    )  # fmt: skip
    class_weights: Literal["equal", "balanced"] = option(
        "equal",
        help="equal counts every photo the same, balanced every class, so that photos of rare "
        "ones count more",
        group=_LEARNING,
    )
    deterministic: bool = option(
        False,
        help="let TensorFlow use only operations that give the same bits every time on the same "
        "machine, in this process from then on; slower",
        group=_LEARNING,
    )
    mixed_precision: bool = option(
        False, help="compute in float16, on a GPU; weights stay float32", group=_LEARNING
    )
    distribute: Literal["none", "mirrored", "multi-worker"] = option(
        "none",
        help="mirrored splits each batch over this machine's devices, multi-worker over the "
        "machines that TF_CONFIG lists",
        group=_LEARNING,
    )
    tensorboard: bool = option(
        False, help="write events for TensorBoard into the run folder", group=_LEARNING
    )
    mlflow: str | None = option(
        None,
        help="log the finished run to MLflow there: a tracking server's address, or sqlite:///FILE",
        metavar="URI",
        recorded=False,
        group=_LEARNING,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.distribute != "multi-worker":
            return
        if self.mlflow is not None:
            raise OptionError(
                "distribute is 'multi-worker' and mlflow given; expected none or mirrored beside "
                "it, as each machine would log the run. Leave it out, and log the file that comes "
                "of it with 'edgeclf register'."
            )
        for name in ("early_stopping", "search"):
            if getattr(self, name) is not None:
                raise OptionError(
                    f"distribute is 'multi-worker' and {name} {getattr(self, name)}; expected "
                    f"none or mirrored beside it. Use {name} on one machine, then train on several "
                    "with what it found."
                )
